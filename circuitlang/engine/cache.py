"""Scores that were computed before, kept by what they follow from in the user's cache.

A file is named by a hash of the network, the pictures, the target, the criterion with its parameters and the code of
the engine, so that what is found is what would be computed. Beyond `LIMIT` bytes, those go that were not used the
longest.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from circuitlang.compiler.plan import Choice, digest
from circuitlang.engine import known
from circuitlang.engine.contracts import CRITERIA, Scores

LIMIT = 2 << 30
_ENDING = ".safetensors"


@dataclass(frozen=True)
class Shelf:
    """Where the scores of one circuit are, whatever its size: files in a folder that the plan alone tells, by a key
    that tells the network and the pictures too."""

    folder: Path
    key: str

    def has(self, size: int | None) -> bool:
        """Whether there are scores; `size` where they are for one."""
        return self._path(size).is_file()

    def scores(self, size: int | None, compute: Callable[[], Scores]) -> Scores:
        """The scores, from the file or computed and kept; `size` where they are for one."""
        path = self._path(size)
        # A file that can't be read, or written, is as good as none.
        with suppress(OSError, SafetensorError):
            found: Scores = load(path.read_bytes())
            os.utime(path)
            return found
        scores = compute()
        self.put(size, scores)
        return scores

    def put(self, size: int | None, scores: Scores) -> None:
        """Keep scores, if that can be; `size` where they are for one."""
        with suppress(OSError):
            known.write(self._path(size), save({name: each.contiguous() for name, each in scores.items()}))
            _shrink(LIMIT)

    def beside(self, what: str) -> Shelf:
        """Where something else is kept that follows from the same and from `what`."""
        return Shelf(self.folder, digest(f"{self.key}\n{what}".encode())[:40])

    def _path(self, size: int | None) -> Path:
        return self.folder / (self.key + ("" if size is None else f"-{size}") + _ENDING)


def shelf(basis: str, choice: Choice, *contents: str) -> Shelf:
    """The shelf of a plan's circuit; `basis` is `Plan.basis` of it, `contents` hash what the plan only names."""
    return Shelf(folder() / basis[:24], digest("\n".join((basis, *contents, _code(choice))).encode())[:40])


def anything(basis: str) -> bool:
    """Whether there may be scores, as far as the plan alone can tell."""
    return (folder() / basis[:24]).is_dir()


def folder() -> Path:
    """Where scores are kept."""
    return known.folder().parent / "scores"


def held() -> tuple[int, int]:
    """How many files there are, and their bytes."""
    sizes = [size for _, size, _ in _files()]
    return len(sizes), sum(sizes)


def clear() -> None:
    """Remove all scores."""
    _shrink(0)


def _files() -> list[tuple[float, int, Path]]:
    """When each was used, its size and place."""
    found = []
    for path in folder().glob(f"*/*{_ENDING}"):
        # Another process may have removed it.
        with suppress(OSError):
            about = path.stat()
            found.append((about.st_mtime, about.st_size, path))
    return found


def _shrink(limit: int) -> None:
    """Remove the files that were not used the longest until there are no more bytes than this."""
    files = sorted(_files())
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()
        total -= size


def _code(choice: Choice) -> str:
    """A hash of what computes the scores: the engine, and where they lie outside of it the criterion and its bases."""
    names = {choice.name, *(value for value in choice.parameters.values() if isinstance(value, str))}
    outside = []
    for name in sorted(names & CRITERIA.declarations.keys()):
        spec = find_spec(CRITERIA.declarations[name].module)
        if spec is not None and spec.origin is not None:
            outside.append(digest(Path(spec.origin).read_bytes()))
    return "\n".join((_engine(), *outside))


@cache
def _engine() -> str:
    """A hash of the engine's source."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return digest("\n".join(digest(path.read_bytes()) for path in files).encode())
