"""Result → folder, whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from circuitlang.engine.result import Divided, Result
from circuitlang.errors import Finding, OutputError
from circuitlang.output.contracts import FORMATS
from circuitlang.output.read import parts

_PARTIAL = ".partial-"
_OLD = ".old-"
# One of these is in a folder of ours, and it is of our making with all the rest.
_MARKS = {"circuit.json", "split.json", "comparison.json"}
_MADE = _MARKS | {
    "circuit.safetensors", "diagram.html", "diagram.svg", "embedding.svg", "metrics.json", "module.pt2", "report.html",
    "report.txt",
}  # fmt: skip


def write(result: Result, folder: Path) -> None:
    """Every registered format's files in `folder`, in place of what was there. Raises OutputError."""
    files: dict[str, bytes] = {}
    for name in FORMATS.declarations:
        files.update(FORMATS.load(name)(result))
    write_files(files, folder)


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Files in `folder`, in place of what was there. Raises OutputError."""
    with _errors(folder):
        write_folder(folder, files)


def write_split(divided: Divided, folder: Path) -> None:
    """The files of a split in `folder`, in place of what was there; the folders beside it of parts that an earlier one
    had more go. Raises OutputError."""
    from circuitlang.output.split_files import split_files

    with _errors(folder):
        write_folder(folder, split_files(divided))
        there = {kind.id for kind in divided.split.kinds}
        for place in parts(folder.parent, folder.name):
            if place.name not in there:
                shutil.rmtree(place, ignore_errors=True)


def claim(folder: Path) -> None:
    """Raises OutputError where something else than what is written here has a folder's name."""
    with _errors(folder):
        _refuse(folder, ())


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put files into a folder that appears, or is replaced, in one step; what others put there stays.

    Raises OSError where something else has the folder's name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{os.getpid()}-", dir=folder.parent))
    try:
        for name, content in files.items():
            _write_through(partial / name, content)
        partial.chmod(0o777 & ~_umask())
        with in_turn(folder.parent):
            clean(folder.parent)
            _refuse(folder, files)
            _swap(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refuse(folder: Path, files: Collection[str]) -> None:
    if os.path.lexists(folder) and not _is_ours(folder, files):
        raise FileExistsError(errno.EEXIST, "something else has this name already")


def _is_ours(folder: Path, files: Collection[str]) -> bool:
    """Whether a folder is a circuit's, a split's or a comparison's, or has nothing in it but what these have."""
    if folder.is_symlink():
        return False
    try:
        names = {each.name for each in folder.iterdir()}
    except NotADirectoryError:
        return False
    except FileNotFoundError:
        # Another run is putting its own there.
        return True
    return not names.isdisjoint(_MARKS) or all(name in files or _made(name) for name in names)


def _made(name: str) -> bool:
    """Whether a file of this name in a folder of ours is of our making."""
    # A comparison has a diagram for each of its pairs.
    return name in _MADE or (name.startswith("diagram") and name.endswith(".svg"))


def _swap(partial: Path, folder: Path) -> None:
    if not folder.exists():
        partial.rename(folder)
        return
    # A folder can't be renamed onto another; the old one steps aside under a name that `clean` knows.
    aside = folder.with_name(f"{_OLD}{folder.name}")
    folder.rename(aside)
    try:
        partial.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise
    _replaced(aside, folder)


def _replaced(aside: Path, folder: Path) -> None:
    """Remove a folder that another has replaced, but bring over what others had put there."""
    for each in aside.iterdir() if aside.is_dir() else ():
        if not _made(each.name) and not os.path.lexists(folder / each.name):
            each.rename(folder / each.name)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Runs that write into one folder take turns; where folders can't be locked, they hope for the best."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes, elsewhere: str = "choose another folder with --out") -> None:
    """One file, in place of what was there, in one step. Raises OutputError, which says how to write it `elsewhere`."""
    with _errors(path, elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f"{_PARTIAL}{os.getpid()}-", dir=path.parent)
        os.close(descriptor)
        partial = Path(name)
        try:
            _write_through(partial, content)
            partial.chmod(0o666 & ~_umask())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def clean(parent: Path) -> None:
    """Remove what killed runs left half done, and bring back a folder that one was about to replace."""
    for path in parent.glob(f"{_PARTIAL}*"):
        owner = path.name.removeprefix(_PARTIAL).split("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in parent.glob(f"{_OLD}*"):
        original = path.with_name(path.name.removeprefix(_OLD))
        if original.exists():
            _replaced(path, original)
        else:
            path.rename(original)


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _errors(path: Path, elsewhere: str = "choose another folder with --out") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cures = {
            errno.ENOSPC: "make room, then run again: finished circuits are kept",
            errno.EACCES: elsewhere,
            errno.EROFS: elsewhere,
            errno.EPERM: elsewhere,
            errno.ENOTDIR: f"a file is in the way: {elsewhere}",
            errno.EEXIST: f"{elsewhere}, or move {path.name} away",
            errno.EISDIR: f"a folder is in the way: {elsewhere}",
        }
        cure = cures.get(error.errno or 0, "")
        raise OutputError(Finding("E390", f"can't write {path}", None, error.strerror or str(error), cure)) from None
