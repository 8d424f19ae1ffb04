"""What turns an SVG into pictures of other kinds: a package that most people don't need."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from circuitlang.errors import Finding, InputError


def converter() -> Any:
    """The module `vl_convert`. Raises InputError where it isn't installed."""
    if find_spec("vl_convert") is None:
        cure = "pip install 'circuitlang[images]'"
        raise InputError(Finding("E361", "what writes PNG and PDF is not installed", None, "", cure))
    return importlib.import_module("vl_convert")
