"""Failed expectations on the pages of circuits.

Expectations belong to the plan of a run and not to a circuit, which may have been finished before they were written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from markupsafe import escape

from circuitlang.base.diagnostics import CircuitError, InputError
from circuitlang.base.printable import lines
from circuitlang.plan.model import Plan
from circuitlang.reporting.page_places import Place
from circuitlang.results.assertions import assertions
from circuitlang.results.types import Summary

# The place on a page where its circuit's failed expectations stand.
PLACE = Place("report.html", "expectations")


def note_failed(plan: Plan, finished: Mapping[str, Summary], folder: Path) -> list[CircuitError]:
    """Write the failed expectations of a run's finished circuits onto their pages, in place of those before.

    Returns the errors about pages that can't be written. A page that says the same already is left alone.
    """
    failed: dict[str, list[str]] = {}
    for assertion in assertions(plan, finished):
        if assertion.kind == "expectation" and assertion.computed and not assertion.holds:
            failed.setdefault(assertion.circuit, []).append(assertion.says)
    errors = []
    for name in finished:
        says = (f'<p class="note">Failed expectation: {escape(lines(text))}.</p>\n' for text in failed.get(name, []))
        try:
            PLACE.fill(folder / name, "".join(says))
        except InputError:
            # A folder that is damaged is not to be given new hashes.
            continue
        except CircuitError as error:
            errors.append(error)
    return errors
