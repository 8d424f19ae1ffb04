"""Names of models, known without importing the packages that build them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BUILDER = re.compile(
    r'^@register_model\((?:name="(?P<name>\w+)")?\)\n(?:[@ )].*\n)*def (?P<function>\w+)', re.MULTILINE
)
_ATTENTION = re.compile(r"^class \w*Attention\b|\bMultiheadAttention\(", re.MULTILINE)


@dataclass(frozen=True)
class KnownModel:
    """A model as the language names it; `attention` marks one that is not, or not only, made of convolutions."""

    name: str
    attention: bool = False


def known_models() -> list[KnownModel]:
    """Return the bundled models, then torchvision's image classifiers by name."""
    return [KnownModel("bundled.doodle"), *sorted(_torchvision("*.py"), key=lambda model: model.name)]


@cache
def names_in(source: str) -> Collection[str]:
    """Return the names of all models of a source; none where they are not known without importing a package."""
    return frozenset(model.name for model in _torchvision("**/*.py")) if source == "torchvision" else ()


def _torchvision(files: str) -> Iterator[KnownModel]:
    """Yield the builders that torchvision's own text registers; those of a file that has attention are marked."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    for path in (Path(spec.origin).parent / "models").glob(files):
        text = path.read_text(encoding="utf-8")
        attention = _ATTENTION.search(text) is not None
        for match in _BUILDER.finditer(text):
            yield KnownModel(match["name"] or match["function"], attention)
