"""The codes of findings: `CODE.md` in this folder is the page of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """The page of a code, in Markdown; its first line is `# CODE: title`."""

    code: str
    text: str

    @property
    def title(self) -> str:
        return self.text.split("\n", 1)[0].partition(": ")[2]

    @property
    def summary(self) -> str:
        """The first paragraph below the title, on one line."""
        return self.text.split("\n\n")[1].replace("\n", " ")


def codes() -> list[str]:
    """Every code that has a page, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.md"))


def path(code: str) -> Path:
    """Return the file that the page of a code is in."""
    return _FOLDER / f"{code}.md"


def page(code: str) -> Page | None:
    """The page of a code, if there is one."""
    return Page(code, path(code).read_text(encoding="utf-8")) if code in codes() else None
