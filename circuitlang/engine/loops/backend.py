"""Import compiled loops, if numba is installed."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

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
    """Return a pool of threads that run loops; the same pool for each number of threads."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads)
