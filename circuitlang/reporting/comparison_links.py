"""Links from the diagrams of circuits to those of the comparisons that they are in.

Comparisons belong to the plan of a run and not to a circuit, which may have been finished before they were asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from markupsafe import escape

from circuitlang.base.diagnostics import CircuitError, InputError
from circuitlang.base.printable import lines
from circuitlang.plan.model import Plan
from circuitlang.reporting.diagram.diagram_names import diagram_names
from circuitlang.reporting.page_places import Place
from circuitlang.results.comparison_folders import folder_names, read_comparison

# The place on a diagram's page for links to comparisons.
PLACE = Place("diagram.html", "comparisons")


def link_comparisons(plan: Plan, finished: Iterable[str], folder: Path) -> list[CircuitError]:
    """Write links to the comparisons of a run onto the diagrams of its finished circuits, in place of those before.

    Returns the errors about pages that can't be written. A page that has the same links already is left alone.
    """
    links: dict[str, str] = {}
    for name in folder_names(plan.comparisons, [circuit.id for circuit in plan.circuits]):
        with suppress(InputError):
            comparison = read_comparison(folder / name)
            pairs = diagram_names(comparison, "html") if comparison.has("diagram_html") else {}
            for page, pair in pairs.items():
                ends = [comparison.members[number].name for number in (pair.first, pair.second)]
                for mine, other in (ends, ends[::-1]):
                    href = f"../{quote(name)}/{page}"
                    links[mine] = links.get(mine, "") + f'<a href="{href}">beside {escape(lines(other))}</a>'
    errors = []
    for circuit in finished:
        try:
            PLACE.fill(folder / circuit, links.get(circuit, ""))
        except InputError:
            # A folder that is damaged is not to be given new hashes.
            continue
        except CircuitError as error:
            errors.append(error)
    return errors
