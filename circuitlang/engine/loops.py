"""Files of the engine whose loops numba compiles, where it is there to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from types import ModuleType


@cache
def compiled(name: str) -> ModuleType | None:
    """The file of this name; None where numba is not installed, or where it can't keep what it compiles, which it
    doesn't do without."""
    try:
        return import_module(f"circuitlang.engine.{name}")
    except (ImportError, RuntimeError):
        return None


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """So many threads, which wait for loops to run."""
    return ThreadPoolExecutor(threads)
