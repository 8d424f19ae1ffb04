"""Functions that numba compiles once and keeps: machine code, which is run as it lies on the disk.

It is therefore kept with its hash, and what a disk has changed is compiled again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import IndexDataCacheFile

from circuitlang.base.atomic_files import write_atomically
from circuitlang.base.checksummed import report

_HASH = ".sha256"


def loops(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function without Python's lock, and keep what is compiled; `options` as of numba's `njit`."""

    def compile_(function: Callable[..., Any]) -> Any:
        compiled: Any = njit(cache=True, nogil=True, **options)(function)
        kept = compiled._cache
        # Files of a numba that keeps it elsewhere stay as they are.
        if type(getattr(kept, "_cache_file", None)) is IndexDataCacheFile:
            place, stamp = kept._impl.filename_base, kept._impl.locator.get_source_stamp()
            kept._cache_file = _Hashed(kept.cache_path, place, stamp)
        return compiled

    return compile_


class _Hashed(IndexDataCacheFile):
    """numba's files, with the hash of each beside it."""

    def _load_index(self) -> Any:
        return super()._load_index() if _intact(Path(self._index_path)) else {}

    def _load_data(self, name: str) -> Any:
        if not _intact(Path(self._data_path(name))):
            # As where the file is gone: it is compiled again.
            raise FileNotFoundError(name)
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[Any]:
        beside = Path(filepath + _HASH)
        # Until the new hash is there, nothing is believed.
        beside.unlink(missing_ok=True)
        with super()._open_for_write(filepath) as file:
            yield file
            file.flush()
            hashed = _hash(Path(filepath).name, Path(file.name).read_bytes())
        write_atomically(beside, hashed.encode())


def _intact(path: Path) -> bool:
    with suppress(OSError):
        content, expected = path.read_bytes(), Path(str(path) + _HASH).read_bytes()
        if _hash(path.name, content).encode() == expected:
            return True
        report(path)
    return False


def _hash(name: str, content: bytes) -> str:
    return hashlib.sha256(name.encode() + content).hexdigest()
