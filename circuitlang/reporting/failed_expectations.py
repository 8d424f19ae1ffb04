"""Failed expectations on the pages of circuits.

Expectations belong to the plan of a run and not to a circuit, which may have been finished before they were written.
So a page has a place for them, and the end of a run fills it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup, escape

from circuitlang.base.diagnostics import CircuitError, InputError
from circuitlang.base.printable import lines
from circuitlang.plan.model import Plan
from circuitlang.results.assertions import assertions
from circuitlang.results.manifest import written
from circuitlang.results.reader import read_file
from circuitlang.results.types import Summary
from circuitlang.results.writer import write_files

_PAGE = "report.html"
_BEGIN, _END = "<!-- expectations -->", "<!-- end of expectations -->"
# The place on a page where its circuit's failed expectations stand.
PLACE = Markup(_BEGIN + _END)
# Bytes of a page that its head has at most.
_HEAD = 1 << 16


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
        try:
            _renew(folder / name, failed.get(name, []))
        except InputError:
            # A folder that is damaged is not to be given new hashes.
            continue
        except CircuitError as error:
            errors.append(error)
    return errors


def _renew(folder: Path, failed: list[str]) -> None:
    """Put failed expectations onto the page of a circuit, unless it has none or they are there."""
    says = "".join(f'<p class="note">Failed expectation: {escape(lines(text))}.</p>\n' for text in failed)
    block = (_BEGIN + says + _END).encode()
    if not (folder / _PAGE).is_file():
        return
    with (folder / _PAGE).open("rb") as page:
        head = page.read(_HEAD)
    if block in head or _BEGIN.encode() not in head:
        return
    files = {name: read_file(folder, name) for name in written(folder)}
    if _PAGE not in files:
        return
    before, _, rest = files[_PAGE].partition(_BEGIN.encode())
    files[_PAGE] = before + block + rest.partition(_END.encode())[2]
    write_files(files, folder)
