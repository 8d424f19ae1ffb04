"""Scores and responses that were computed before, kept by what they follow from in the user's cache.

A file is named by a hash of the network, the pictures, the target, for scores the criterion with its parameters, and
the code of the engine, so that what is found is what would be computed. Beyond `LIMIT` bytes, those go that were not
used the longest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from circuitlang.base.atomic_files import PARTIAL, write_atomically
from circuitlang.base.cache_folder import cache_folder
from circuitlang.base.checksummed import BLANK, intact, report, seal
from circuitlang.base.diagnostics import Finding, OutputError
from circuitlang.plan.model import digest
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, Scores

LIMIT = 2 << 30
# The most bytes of a feature's responses to a set of pictures that are kept, lest they drive out all scores.
LARGEST = 64 << 20
_ENDING = ".safetensors"
# What the engine's own hash is of.
_HERE = "circuitlang."
# The packages that scores and responses depend on.
_ROOMS = ("engine", "plan", "plugins")


@dataclass(frozen=True)
class ScoreCache:
    """Where the scores of one circuit are, whatever its size: files in a folder that the plan alone tells, by a key
    that tells the network and the pictures too."""

    folder: Path
    key: str

    def has(self, size: int | None) -> bool:
        """Whether there are scores; `size` where they are for one."""
        with suppress(OSError):
            return self._path(size).is_file()
        return False

    def scores(self, size: int | None, compute: Callable[[], Scores]) -> Scores:
        """The scores, from the file or computed and kept; `size` where they are for one."""
        found = self.read(size)
        if found is None:
            found = compute()
            self.put(size, found)
        return found

    def put(self, size: int | None, scores: Scores) -> None:
        """Keep scores, if that can be; `size` where they are for one."""
        with suppress(OSError):
            path, tensors = self._path(size), {name: each.contiguous() for name, each in scores.items()}
            write_atomically(path, seal(save(tensors, {"sha256": BLANK}), path.name))
            _shrink(LIMIT)

    def keep(self, what: str, tensors: Scores) -> None:
        """Keep something else that follows from the same and from `what`, unless it is too large."""
        if sum(each.numel() * each.element_size() for each in tensors.values()) <= LARGEST:
            self.derived(what).put(None, tensors)

    def read(self, size: int | None = None) -> Scores | None:
        """What is there; a file that can't be read, or isn't as it was written, is as good as none, and goes."""
        path = self._path(size)
        with suppress(OSError):
            content = path.read_bytes()
            with suppress(SafetensorError, ValueError):
                if intact(content, path.name):
                    found: Scores = load(content)
                    os.utime(path)
                    return found
            report(path)
            path.unlink()
        return None

    def derived(self, what: str) -> ScoreCache:
        """Where something else is kept that follows from the same and from `what`."""
        return ScoreCache(self.folder, digest(f"{self.key}\n{what}".encode())[:40])

    def _path(self, size: int | None) -> Path:
        return self.folder / (self.key + ("" if size is None else f"-{size}") + _ENDING)


def score_cache(basis: str, extensions: Collection[str], *contents: str) -> ScoreCache:
    """Return the cache of a circuit's scores.

    `basis` is `Plan.basis` of the circuit, `extensions` are names of criteria and ablations that may lie outside the
    engine, and `contents` are hashes of what the plan only names.
    """
    code = _engine(), outside(extensions)
    return ScoreCache(folder() / basis[:24], digest("\n".join((basis, *contents, *code)).encode())[:40])


def responses(basis: str, *contents: str) -> ScoreCache:
    """Return the cache of the network's own responses.

    `basis` is `Plan.network` of a circuit, and `contents` are as for `score_cache`.
    """
    return ScoreCache(_responses() / basis[:24], digest("\n".join((basis, *contents, _engine())).encode())[:40])


def anything(scores: str, network: str) -> bool:
    """Whether there may be scores or responses, as far as `Plan.basis` and `Plan.network` alone can tell."""
    with suppress(OSError):
        return (folder() / scores[:24]).is_dir() or (_responses() / network[:24]).is_dir()
    return False


def folder() -> Path:
    """Where scores are kept."""
    return cache_folder() / "scores"


def _responses() -> Path:
    return folder().with_name("responses")


def held() -> tuple[int, int]:
    """How many files there are, and their bytes."""
    sizes = [size for _, size, _ in _files()]
    return len(sizes), sum(sizes)


def clear() -> None:
    """Remove everything. Raises OutputError."""
    try:
        _shrink(0)
        for path in _of_both(f"{PARTIAL}*"):
            path.unlink(missing_ok=True)
    except OSError as error:
        message, cure = f"can't clear the cache in {folder().parent}", "make it writable, or remove it by hand"
        raise OutputError(Finding("E390", message, None, error.strerror or str(error), cure)) from None


def _of_both(pattern: str) -> list[Path]:
    """Files of scores and of responses. A cache that can't be listed holds none."""
    found: list[Path] = []
    for place in (folder(), _responses()):
        with suppress(OSError):
            found += place.glob(f"*/{pattern}")
    return found


def _files() -> list[tuple[float, int, Path]]:
    """When each was used, its size and place."""
    found = []
    for path in _of_both(f"*{_ENDING}"):
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


def outside(names: Collection[str]) -> str:
    """A hash of the code of criteria and ablations, where one of these names lies outside the engine: of all there are,
    and all of their packages, since they may use each other and what lies beside them."""
    known = (CRITERIA.declarations, ABLATIONS.declarations)
    modules = {each[name].module for each in known for name in names if name in each}
    if all(module.startswith(_HERE) for module in modules):
        return ""
    modules |= {each[name].module for each in known for name in each}
    tops = {module.partition(".")[0] for module in modules if not module.startswith(_HERE)}
    return "\n".join(digest(path.read_bytes()) for top in sorted(tops) for path in _sources(top))


def _sources(package: str) -> list[Path]:
    """The files of a package, or of a module that is in none."""
    spec = find_spec(package)
    if spec is None:
        return []
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    found = [path for place in places for path in sorted(place.rglob("*.py"))]
    return found or ([Path(spec.origin)] if spec.origin and spec.has_location else [])


@cache
def _engine() -> str:
    """Return a hash of the source of every package that scores and responses depend on."""
    package = Path(__file__).parents[2]
    files = sorted(path for room in _ROOMS for path in (package / room).rglob("*.py"))
    return digest("\n".join(digest(path.read_bytes()) for path in files).encode())
