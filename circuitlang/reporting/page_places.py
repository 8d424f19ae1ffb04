"""Places on the pages of circuits for what belongs to a run, which fills them at its end.

A circuit may have been finished before its run was asked for an expectation or a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from circuitlang.results.manifest import written
from circuitlang.results.reader import read_file
from circuitlang.results.writer import write_files

# Bytes of a page that its head has at most.
_HEAD = 1 << 16


@dataclass(frozen=True)
class Place:
    """A place on a page, between two comments."""

    page: str
    name: str

    @property
    def _ends(self) -> tuple[str, str]:
        return f"<!-- {self.name} -->", f"<!-- end of {self.name} -->"

    @property
    def empty(self) -> Markup:
        """The place as a template has it."""
        return Markup("".join(self._ends))

    def fill(self, folder: Path, content: str) -> None:
        """Put content into the place on the page of a circuit, unless the page has none or it is there.

        Raises InputError if a file of the folder was changed, and OutputError.
        """
        begin, end = (mark.encode() for mark in self._ends)
        block, page = begin + content.encode() + end, folder / self.page
        if not page.is_file():
            return
        with page.open("rb") as file:
            head = file.read(_HEAD)
        if block in head or begin not in head:
            return
        files = {name: read_file(folder, name) for name in written(folder)}
        if self.page not in files:
            return
        before, _, rest = files[self.page].partition(begin)
        files[self.page] = before + block + rest.partition(end)[2]
        write_files(files, folder)
