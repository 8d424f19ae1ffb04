"""Images in zip, tar and Parquet files, unpacked into the user's cache folder once for each content of an archive.

An archive may come from a stranger. Names that lead out of it, links, devices, encrypted members, members of one name
and archives that unpack to much more than images do are refused. Nothing in an archive is run, and only files whose
names end like an image's are unpacked.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, cast

from circuitlang.base.cache_folder import cache_folder
from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.images import parquet_files

# Endings of the files in an archive that are unpacked; others, such as notes, are left out.
_IMAGES = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".npy", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
)
MOST_FILES = 1_000_000
# Bytes of one file, and of all: images hardly shrink, so that an archive that unpacks to much more holds none.
MOST_BYTES = 1 << 29
MOST_ALL = 1 << 30
MOST_TIMES = 20
_PIECE = 1 << 20
# Errors of the readers of archives.
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
    gzip.BadGzipFile,
)  # fmt: skip
# Version of the layout of unpacked archives.
_LAYOUT = "1"


def unpacked(path: Path) -> Path:
    """Return the folder that has the images of an archive, which is unpacked if it was not before.

    Raises InputError for archives that are damaged or refused, and where the cache can't be written.
    """
    try:
        folder = cache_folder() / "archives" / _digest(path)
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
        try:
            _unpack(path, partial)
            # Another process may have been faster.
            with suppress(OSError):
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder
    except _DAMAGED as error:
        raise _refused(path, f"it is damaged: {error}") from None
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from None
    except ValueError as error:
        raise _refused(path, str(error)) from None


def _refused(path: Path, reason: str) -> InputError:
    cure = "unpack it yourself, and name the folder"
    return InputError(Finding("E303", f"{path.name} can't be used as images", None, reason, cure))


def _digest(path: Path) -> str:
    hashed = hashlib.sha256(_LAYOUT.encode())
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            hashed.update(piece)
    return hashed.hexdigest()[:40]


def _unpack(path: Path, folder: Path) -> None:
    """Write the images of an archive into a folder. Raises ValueError for what is refused."""
    left = limit = max(MOST_ALL, MOST_TIMES * path.stat().st_size)
    names: set[str] = set()
    for number, (name, file) in enumerate(_members(path, limit)):
        if number >= MOST_FILES:
            raise ValueError(f"it has more than {MOST_FILES:,} files")
        target = _safe(name)
        if name in names:
            raise ValueError(f"it has two files of the name {name!a}")
        names.add(name)
        if target.suffix.lower() not in _IMAGES or any(part.startswith((".", "__MACOSX")) for part in target.parts):
            continue
        left -= _write(file, folder / target, min(left, MOST_BYTES), name)
    if not names:
        raise ValueError("it is empty")


def _members(path: Path, limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the content of each file, folders left out. Raises ValueError for links and devices."""
    name = path.name.lower()
    if name.endswith(parquet_files.ENDING):
        return parquet_files.members(path)
    return _zipped(path) if name.endswith(".zip") else _tarred(path, limit)


def _zipped(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"{member.filename!a} is a link or a device")
            if member.flag_bits & 1:
                raise ValueError(f"{member.filename!a} is encrypted")
            if not member.is_dir():
                with archive.open(member) as file:
                    yield member.filename, file


def _tarred(path: Path, limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    # Headers are read into memory, so that what is decompressed is counted before it gets there.
    with _decompressed(path) as file, tarfile.open(fileobj=_Counted(file, limit), mode="r|") as archive:
        for entry in archive:
            if entry.isdir():
                _safe(entry.name)
                continue
            content = archive.extractfile(entry) if entry.isreg() else None
            if content is None:
                raise ValueError(f"{entry.name!a} is a link or a device")
            yield entry.name, content


def _decompressed(path: Path) -> IO[bytes]:
    match path.suffix.lower():
        case ".gz" | ".tgz":
            return cast(IO[bytes], gzip.open(path))
        case ".bz2":
            return bz2.open(path)
        case ".xz":
            return lzma.open(path)
    return path.open("rb")


class _Counted(io.BufferedIOBase):
    """A stream of which no more than so many bytes are read. Raises ValueError beyond them."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._left = file, most

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes."""
        content = self._file.read(-1 if size is None else size)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError("it unpacks to more than images do")
        return content


def _safe(name: str) -> PurePosixPath:
    """Return a member's name as a path within the archive. Raises ValueError if it leads out of it."""
    path = PurePosixPath(name)
    parts = path.parts
    odd = any(letter in name for letter in "\\:\0") or not name.isprintable()
    if not parts or path.is_absolute() or ".." in parts or odd or len(name.encode(errors="replace")) > 1000:
        raise ValueError(f"{name[:80]!a} is not the name of a file in it")
    return path


def _write(file: IO[bytes], path: Path, most: int, name: str) -> int:
    """Write a member's content, counted as it is read: its header may say less. Returns the number of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("xb") as target:
        while piece := file.read(_PIECE):
            count += len(piece)
            if count > most:
                raise ValueError(f"{name!a} unpacks to more than images do")
            target.write(piece)
    return count
