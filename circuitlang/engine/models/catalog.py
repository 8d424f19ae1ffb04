"""Names of models, known without importing the packages that build them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

_BUILDER = re.compile(r'^@register_model\((?:name="(?P<name>\w+)")?\)\n(?:@.*\n)*def (?P<function>\w+)', re.MULTILINE)


def names() -> list[str]:
    """Models as the language names them: the bundled ones, then torchvision's image classifiers."""
    return ["bundled.doodle", *_torchvision()]


def _torchvision() -> list[str]:
    """The builders that torchvision's own text registers."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return []
    files = (Path(spec.origin).parent / "models").glob("*.py")
    matches = (match for path in files for match in _BUILDER.finditer(path.read_text(encoding="utf-8")))
    return sorted(match["name"] or match["function"] for match in matches)
