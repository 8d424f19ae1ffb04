"""An edit of a network as an object."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from circuitlang.api.frames import framed
from circuitlang.results.edit import EditResult, Response
from circuitlang.results.edits import read_edit

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class LoadedEdit:
    """An edit of a network: a part of it scaled or patched, and what became of targets and classes. A notebook shows
    its page.

    `result` has everything that was measured, `folder` its files.

    Examples:
        >>> edit = circuitlang.edit(None, "conv4:[45, 53]", scale=0, on="images/dogs/*", measure=["conv5:34"])
        >>> edit["conv5:34"].change < -0.5, edit.result.images
        (True, 40)
    """

    folder: Path
    result: EditResult

    @cached_property
    def metrics(self) -> dict[str, float]:
        """All numbers by the keys that `expect` has for them: `conv5:34.change`, `same_top`.

        Examples:
            >>> edit = circuitlang.edit(None, "conv4:45", scale=0, on="images/dogs/*", measure=["conv5:34", "classes"])
            >>> edit.metrics["conv5:34.change"] < 0, edit.metrics["same_top"] <= 1
            (True, True)
        """
        return self.result.flat()

    def __getitem__(self, target: str) -> Response:
        """Return the numbers of a target by its text. Raises KeyError."""
        return {response.target: response for response in self.result.responses}[target]

    def to_frame(self) -> pandas.DataFrame:
        """Return a data frame of pandas with a row for each target. Raises InputError if pandas is not installed.

        Examples:
            >>> edit = circuitlang.edit(None, "conv4:3", scale=0.5, on="images/dogs/*", measure=["conv5:34", "fc1:3"])
            >>> list(edit.to_frame().index)
            ['conv5:34', 'fc1:3']
        """
        from circuitlang.api.tables import edit_frame

        return edit_frame(self.result)

    def __repr__(self) -> str:
        from circuitlang.reporting.text.edit_sentences import claims

        return f"<edit {self.result.plan.name}: {' '.join(claims(self.result))}>"

    def _repr_html_(self) -> str:
        from circuitlang.base.plain_files import read_plain
        from circuitlang.reporting.html.edit_page import edit_page

        page = self.folder / "report.html"
        with suppress(OSError):
            return framed(read_plain(page).decode(errors="replace"), page)
        return framed(edit_page(self.result).decode(errors="replace"), page)


def load_edit(folder: Path) -> LoadedEdit:
    """Read an edit from its folder. Raises InputError."""
    return LoadedEdit(folder, read_edit(folder))
