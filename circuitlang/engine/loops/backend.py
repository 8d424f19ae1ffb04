"""The one place that says what is compiled: numba is used where it is installed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Literal

# The modules of this package whose loops numba compiles.
Loops = Literal["scoring", "elimination", "sparse_runner"]


@cache
def compiled(name: Loops) -> ModuleType | None:
    """Return a module of compiled loops, or None where numba is not installed or can't write its cache."""
    try:
        return import_module(f"circuitlang.engine.loops.{name}")
    except (ImportError, RuntimeError):
        return None


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """So many threads, which wait for loops to run."""
    return ThreadPoolExecutor(threads)
