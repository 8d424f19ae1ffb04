"""Files about all circuits of a run: the page `index.html`, and `sweep.json`. They are renewed while the run lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from circuitlang.base.diagnostics import CircuitError, Finding, reason
from circuitlang.base.plain_files import read_plain
from circuitlang.base.source import resolved
from circuitlang.base.versions import version
from circuitlang.plan.model import Plan, digest
from circuitlang.reporting.failed_expectations import note_failed
from circuitlang.results.comparison import Comparison
from circuitlang.results.edit import EditResult
from circuitlang.results.finished_run import FinishedRun, read_finished
from circuitlang.results.outcomes import CircuitOutcome, SplitOutcome
from circuitlang.results.run_listener import RunListener
from circuitlang.results.sweep_grouping import sweeps
from circuitlang.results.writer import RunFiles, run_files

# Time between two renewals, in multiples of the time that the last one took: the page of many circuits is slow to draw.
PAUSE = 20
# Seconds between two renewals at least, so that the page of a short run is not drawn for every circuit.
SHORTEST = 1.0


class RunOverview(RunListener):
    """Overview files of a run, written at its start, while it lasts and at its end.

    `failures` says why one of the files could not be made when they were last written; the circuits don't depend on
    them. `identities` are those of the plan's circuits, by id. Of a run that is `finished` already nothing is written
    before its end, and nothing at all if the files say the same.
    """

    def __init__(self, plan: Plan, identities: Mapping[str, str], folder: Path, finished: bool = False) -> None:
        self._plan, self._identities, self._folder = plan, identities, folder
        self.failures: list[CircuitError] = []
        self._outdated = False
        self._written, self._duration = time.monotonic(), 0.0
        self._is_written = False
        self._edits: Mapping[str, EditResult] = {}
        if not finished:
            self.write()

    def results(self) -> FinishedRun:
        """Return the results of the run that are in its folder."""
        return read_finished(self._plan, self._identities, self._folder)

    def finished(self, outcome: CircuitOutcome | SplitOutcome) -> None:
        """Renew the files for a finished circuit or split, if the last renewal was long enough ago."""
        self._outdated |= not outcome.cached
        if time.monotonic() - self._written >= max(SHORTEST, PAUSE * self._duration):
            self.renew()

    def renew(self) -> None:
        """Write the files if circuits were finished since they were written."""
        if self._outdated:
            self.write()

    def complete(self) -> None:
        """Write the files if this run has not written them."""
        if not self._is_written:
            self.write()

    def write(
        self, comparisons: Mapping[str, Comparison] | None = None, edits: Mapping[str, EditResult] | None = None
    ) -> None:
        """Write the files, with the comparisons by the names of their folders and the edits by their names, unless they
        are there."""
        self._edits = edits or {}
        begin = time.monotonic()
        if not self._is_there(comparisons or {}):
            with run_files(self._folder) as files:
                # Read under the lock, so that a run beside this one can't be overwritten with older content.
                self.failures = [*_write(files, self._makers(self.results(), comparisons or {}))]
        self._outdated, self._is_written, self._written = False, True, time.monotonic()
        self._duration = self._written - begin

    def note_expectations(self) -> list[CircuitError]:
        """Put failed expectations, and links to comparisons, onto the pages of circuits. Returns the errors about pages
        that can't be written."""
        from circuitlang.reporting.comparison_links import link_comparisons

        finished = self.results().circuits
        failed = note_failed(self._plan, finished, self._folder)
        return failed + link_comparisons(self._plan, finished, self._folder)

    def _mark(self, finished: FinishedRun, comparisons: Mapping[str, Comparison]) -> bytes:
        """Return the last line of the page, by which it is known again: a hash of all that it is made of."""
        # The page is the same wherever its plan is run.
        plan = msgspec.structs.replace(self._plan, base="")
        made_of = plan, self._identities, finished.circuits, finished.splits, comparisons
        edits = (self._edits,) if self._edits else ()
        content = msgspec.json.encode((resolved(self._folder).name, version("circuitlang"), made_of, *edits))
        return f"<!-- {digest(content)} -->\n".encode()

    def _is_there(self, comparisons: Mapping[str, Comparison]) -> bool:
        """Return whether both files are there, and the page is the one that would be made."""
        with suppress(Exception):  # as of a page, whatever goes wrong is said when it is made
            page, finished = read_plain(self._folder / "index.html"), self.results()
            swept = bool(sweeps(self._plan.circuits, finished.circuits))
            same = page.endswith(self._mark(finished, comparisons))
            return same and swept == (self._folder / "sweep.json").is_file()
        return False

    def _makers(
        self, finished: FinishedRun, comparisons: Mapping[str, Comparison]
    ) -> dict[str, Callable[[], bytes | None]]:
        """Return by file the function that makes its content, or None where there is nothing to write."""

        def page() -> bytes:
            # The imports of pages are slow.
            from circuitlang.reporting.html.run_index import index
            from circuitlang.reporting.thumbnail import stored_thumbnail

            name, images = resolved(self._folder).name, {}
            for circuit in finished.circuits:
                if image := stored_thumbnail(self._folder / circuit):
                    images[circuit] = image
            page = index(name, self._plan, finished.circuits, finished.splits, comparisons, images, self._edits)
            return page + self._mark(finished, comparisons)

        def data() -> bytes | None:
            from circuitlang.reporting.ci.sweep_json import sweep_data

            swept = sweeps(self._plan.circuits, finished.circuits)
            return sweep_data(swept) if swept else None

        return {"index.html": page, "sweep.json": data}


def _write(files: RunFiles, makers: Mapping[str, Callable[[], bytes | None]]) -> Iterator[CircuitError]:
    for name, make in makers.items():
        try:
            content = make()
        except Exception as error:  # a defect in a page must not cost the circuits
            cure = "run again: every circuit is kept, and only this is made"
            yield CircuitError(Finding("E393", f"{name} could not be made", None, reason(error), cure))
            continue
        if content is not None:
            files.put(name, content)
        else:
            # A file that another plan left here is about other circuits.
            files.remove(name)
