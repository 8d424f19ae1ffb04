"""A folder that several processes write into: they take turns, and the next one tidies up after one that was killed.

A lock of the operating system on a file in the folder says whose turn it is. It ends with its process, however that
ends, and processes in other containers see it. In its turn a writer stages what it writes in a folder of a name that
nobody else uses; since no other has a turn then, all such folders that it finds are left over.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from circuitlang.base.plain_files import read_plain
from circuitlang.results.manifest import SUMS, written
from circuitlang.results.ownership import TAKEN, made

LOCK = ".circuitlang.lock"
_PREFIX = ".circuitlang-"
# No link is followed, and no pipe waited for; Windows has neither flag.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# As systems say that a file system has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EBADF)
# Seconds between two looks at a lock that another process holds; to write a folder takes a few hundredths.
_POLL = 0.01
# As tempfile names a folder.
_STAGE = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")
# In a stage: the name that what is staged will have, what comes there, and what was there before.
TARGET, NEW, OLD = "target", "new", "old"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a folder within the block; it is made and tidied first. Raises OSError.

    Where the file system has no locks, processes hope for the best, and nothing is tidied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(folder / LOCK)
    if descriptor is None:
        yield
        return
    try:
        tidy(folder)
        yield
    finally:
        _release(folder / LOCK, descriptor)


def _lock(path: Path) -> int | None:
    """The descriptor of a file that is locked until it is closed; None where there are no locks."""
    from filelock import lock_descriptor

    while True:
        descriptor = _open(path)
        try:
            lock_descriptor(descriptor, poll_interval=_POLL)
            if _names(path, descriptor):
                return descriptor
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                return None
            raise
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _release(path: Path, descriptor: int) -> None:
    """Remove a lock's file and let the next process have its turn."""
    # Windows removes no file that anybody has open.
    if sys.platform == "win32":
        os.close(descriptor)
    # Elsewhere it is removed while it is held: whoever waits for it sees that it is gone, and takes a new one.
    with suppress(OSError):
        path.unlink()
    if sys.platform != "win32":
        os.close(descriptor)


def _open(path: Path) -> int:
    """A lock's file, which may be another user's. Raises OSError where something else has its name.

    `filelock.FileLock` would refuse a file that another user left, take a pipe for a lock, and leave its file behind.
    """
    if sys.platform == "win32" and path.is_symlink():
        raise FileExistsError(errno.EEXIST, TAKEN)
    try:
        descriptor = os.open(path, _FLAGS | os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        descriptor = os.open(path, _FLAGS | os.O_RDONLY)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileExistsError(errno.EEXIST, TAKEN)


def _names(path: Path, descriptor: int) -> bool:
    """Return whether a path still is that of an open file."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    return False


@contextmanager
def staged(folder: Path, name: str) -> Iterator[Path]:
    """A folder in this one to make ready in what will have the name there; nothing of it stays. Use it in a turn."""
    stage = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
    try:
        (stage / TARGET).write_bytes(os.fsencode(name))
        yield stage
    finally:
        _discard(stage)


def tidy(folder: Path) -> None:
    """Remove what killed writers left, and bring back a folder that one was about to replace. Use it in a turn.

    Only folders that are named and filled as a stage is are touched; no link is followed.
    """
    for stage in [path for path in folder.iterdir() if _STAGE.fullmatch(path.name) and is_folder(path)]:
        with suppress(OSError):
            if not os.path.lexists(stage / TARGET):
                # Killed before there was anything in it, or after. Others are not empty, and stay.
                stage.rmdir()
                continue
            name = _target(stage)
            if name and is_folder(stage / OLD):
                _bring_back(stage / OLD, folder / name)
            if name is not None:
                _discard(stage)


def _bring_back(old: Path, place: Path) -> None:
    """The folder that was about to be replaced, where that did not come to pass; else what others had put there."""
    if not os.path.lexists(place):
        old.rename(place)
    elif is_folder(place):
        bring_over(old, place)
        shutil.rmtree(old)


def is_folder(path: Path) -> bool:
    """Return whether there is a folder itself, not a link to one."""
    with suppress(OSError):
        return stat.S_ISDIR(path.lstat().st_mode)
    return False


def bring_over(old: Path, new: Path) -> None:
    """Move what others put into a folder of ours into the one that takes its place, which has its own of ours."""
    # Folders of versions that wrote no hashes are known by names.
    listed = {*written(old), SUMS} if written(old) else {path.name for path in old.iterdir() if made(path.name)}
    for path in old.iterdir():
        if path.name not in listed and not os.path.lexists(new / path.name):
            path.rename(new / path.name)


def _target(stage: Path) -> str | None:
    """The name that what a stage holds was to have, empty where that was not written yet; None where it is no stage."""
    with suppress(OSError, ValueError):
        name = os.fsdecode(read_plain(stage / TARGET, 1024))
        sound = Path(name).name == name and "\0" not in name and name != ".." and not name.startswith(_PREFIX)
        return name if sound else None
    return None


def _discard(stage: Path) -> None:
    """Remove a stage, what makes it one last; not where it holds a folder that could not be brought back."""
    if is_folder(stage / OLD):
        return
    with suppress(OSError):
        for path in stage.iterdir():
            if path.name != TARGET:
                shutil.rmtree(path) if is_folder(path) else path.unlink()
        (stage / TARGET).unlink(missing_ok=True)
        stage.rmdir()
