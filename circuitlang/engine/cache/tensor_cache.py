"""Store scores and responses in the user's cache folder, and read them back.

A file is named by a hash of all that its content follows from: the network, the images, the target, the criterion with
its parameters (for scores), and the code of the engine. Beyond `LIMIT` bytes, the least recently used files are
removed. Torch is not imported before one is read or written.
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

from circuitlang.base.atomic_files import write_atomically
from circuitlang.base.checksummed import BLANK, intact, report, seal
from circuitlang.engine.cache.cache_files import ENDING, clear, folder, held, responses_folder, shrink
from circuitlang.plan.model import Choice, digest
from circuitlang.plugins.hypothesis_tests import TESTS
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, Scores
from circuitlang.plugins.transforms import TRANSFORMS

__all__ = [
    "LARGEST",
    "LIMIT",
    "ScoreCache",
    "anything",
    "clear",
    "engine_version",
    "folder",
    "held",
    "outside",
    "responses",
    "score_cache",
    "stage_cache",
]

LIMIT = 2 << 30
# Larger tensors than this, in bytes, are not stored beside scores, so that they do not drive out all scores.
LARGEST = 64 << 20
# The prefix of modules that the engine's own hash covers.
_OWN_PREFIX = "circuitlang."
# The packages that scores and responses depend on.
_PACKAGES = ("engine", "plan", "plugins")


@dataclass(frozen=True)
class ScoreCache:
    """The stored scores of one circuit, of every size.

    `folder` follows from the plan alone; `key` follows from the network and the images too.
    """

    folder: Path
    key: str

    def has(self, size: int | None) -> bool:
        """Return whether scores are stored; `size` is None if they are the same for every size."""
        with suppress(OSError):
            return self.path(size).is_file()
        return False

    def scores(self, size: int | None, compute: Callable[[], Scores]) -> Scores:
        """Return stored scores, or compute and store them; `size` is as for `has`."""
        scores = self.read(size)
        if scores is None:
            scores = compute()
            self.put(size, scores)
        return scores

    def put(self, size: int | None, scores: Scores) -> None:
        """Store scores, or do nothing if the folder can't be written; `size` is as for `has`."""
        from safetensors.torch import save

        with suppress(OSError):
            path, tensors = self.path(size), {name: score.contiguous() for name, score in scores.items()}
            write_atomically(path, seal(save(tensors, {"sha256": BLANK}), path.name))
            shrink(LIMIT)

    def keep(self, what: str, tensors: Scores) -> None:
        """Store tensors that follow from the same inputs and from `what`, unless they are larger than `LARGEST`."""
        if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) <= LARGEST:
            self.derived(what).put(None, tensors)

    def read(self, size: int | None = None) -> Scores | None:
        """Return stored scores, or None; a file that is damaged is removed and counts as missing."""
        from safetensors.torch import load

        path = self.path(size)
        with suppress(OSError):
            content = path.read_bytes()
            with suppress(SafetensorError, ValueError):
                if intact(content, path.name):
                    scores: Scores = load(content)
                    os.utime(path)
                    return scores
            report(path)
            path.unlink()
        return None

    def derived(self, what: str) -> ScoreCache:
        """Return the cache of tensors that follow from the same inputs and from `what`."""
        return ScoreCache(self.folder, digest(f"{self.key}\n{what}".encode())[:40])

    def path(self, size: int | None) -> Path:
        return self.folder / (self.key + ("" if size is None else f"-{size}") + ENDING)


def score_cache(basis: str, extensions: Collection[str], *contents: str) -> ScoreCache:
    """Return the cache of a circuit's scores.

    `basis` is `Plan.basis` of the circuit, `extensions` are names of criteria and ablations that may lie outside the
    engine, and `contents` are hashes of what the plan only names.
    """
    code = engine_version(), outside(extensions)
    return ScoreCache(folder() / basis[:24], digest("\n".join((basis, *contents, *code)).encode())[:40])


def stage_cache(cache: ScoreCache, choice: Choice) -> ScoreCache:
    """Return the cache of the stages of a schedule, by their budgets; see `protocols.Scoring.stage`."""
    return cache.derived(f"stages of {choice}")


def responses(basis: str, *contents: str) -> ScoreCache:
    """Return the cache of the network's own responses.

    `basis` is `Plan.network` of a circuit, and `contents` are as for `score_cache`.
    """
    return ScoreCache(
        responses_folder() / basis[:24], digest("\n".join((basis, *contents, engine_version())).encode())[:40]
    )


def anything(scores: str, network: str) -> bool:
    """Return whether scores or responses may be stored, from `Plan.basis` and `Plan.network` alone."""
    with suppress(OSError):
        return (folder() / scores[:24]).is_dir() or (responses_folder() / network[:24]).is_dir()
    return False


def outside(names: Collection[str]) -> str:
    """Return a hash of the code of third-party extensions, or "" if none of the names is one.

    It covers all packages that register any, because extensions may use each other and other modules of their package.
    """
    known = (CRITERIA.declarations, ABLATIONS.declarations, TESTS.declarations, TRANSFORMS.declarations)
    modules = {cached[name].module for cached in known for name in names if name in cached}
    if all(module.startswith(_OWN_PREFIX) for module in modules):
        return ""
    modules |= {cached[name].module for cached in known for name in cached}
    tops = {module.partition(".")[0] for module in modules if not module.startswith(_OWN_PREFIX)}
    return "\n".join(digest(path.read_bytes()) for top in sorted(tops) for path in _sources(top))


def _sources(package: str) -> list[Path]:
    """Return the source files of a package, or the file of a top-level module."""
    spec = find_spec(package)
    if spec is None:
        return []
    folders = [Path(location) for location in spec.submodule_search_locations or ()]
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return files or ([Path(spec.origin)] if spec.origin and spec.has_location else [])


@cache
def engine_version() -> str:
    """Return a hash of the source of every package that scores and responses depend on."""
    package = Path(__file__).parents[2]
    files = sorted(path for room in _PACKAGES for path in (package / room).rglob("*.py"))
    return digest("\n".join(digest(path.read_bytes()) for path in files).encode())
