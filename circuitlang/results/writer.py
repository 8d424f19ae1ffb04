"""Result → folder, whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from circuitlang.base.atomic_files import write_atomically, write_through
from circuitlang.base.diagnostics import Finding, InputError, OutputError
from circuitlang.base.plain_files import read_plain
from circuitlang.plan.labels import Labels
from circuitlang.plan.model import is_folder_name
from circuitlang.results.comparison import Comparison
from circuitlang.results.edit import EditResult
from circuitlang.results.folder_lock import NEW, OLD, bring_over, folder_lock, staged
from circuitlang.results.labelling import labelled, labelled_comparison
from circuitlang.results.manifest import SUMS, manifest, written
from circuitlang.results.outputs import FORMATS, ComparisonResult
from circuitlang.results.ownership import PACKED, RUN_FILES, is_lock, refuse_file, refuse_folder, refuse_packed
from circuitlang.results.reader import parts, read_summary
from circuitlang.results.rendering import rendered, rendered_comparison, rendered_edit, rendered_split
from circuitlang.results.split import SplitResult
from circuitlang.results.types import Result

# The format whose texts have labels in their midst.
_REPORT = "report"
_ELSEWHERE = "choose another folder with --out"


def write(
    result: Result, folder: Path, asked: Collection[str] | None = None, again: Collection[str] | None = None
) -> Result:
    """Write the files of a circuit into `folder`, in place of what was there, and return it with its absent formats.

    `asked` are the formats that it is to have, all registered ones if None. Where only some of these are to be rendered
    `again`, the other files that are there stay. Raises OutputError.
    """
    files, result = rendered(result, asked, again)
    if again is not None:
        with output_errors(folder):
            there = {name: read_plain(folder / name) for name in written(folder)}
        files = {**there, **files}
    write_files(files, folder)
    return result


def relabel(result: Result, folder: Path) -> None:
    """Write a finished circuit's labels into its files, of which only those with texts are made anew. Raises
    OutputError."""
    summary = result.summary
    formats = FORMATS.declarations.keys() - set(summary.unrendered) - summary.missing.keys()
    files, _ = rendered(result, formats, [_REPORT])
    with output_errors(folder):
        there = {name: read_plain(folder / name) for name in written(folder)}
    write_files({**labelled(there, summary), **files}, folder)


def relabel_comparison(comparison: Comparison, labels: Labels | None, folder: Path) -> None:
    """Write labels into the files of a finished comparison, unless they are there. Raises OutputError."""
    with output_errors(folder):
        there = {name: read_plain(folder / name) for name in written(folder)}
    files = labelled_comparison(there, comparison, labels)
    if files != there:
        write_files(files, folder)


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Files in `folder`, in place of what was there. Raises OutputError."""
    with output_errors(folder):
        write_folder(folder, files)


def write_comparison(result: ComparisonResult, folder: Path, asked: Collection[str] | None = None) -> ComparisonResult:
    """Write the files of a comparison into `folder`, in place of what was there, and return it with its absent
    formats. Raises OutputError."""
    files, result = rendered_comparison(result, asked)
    write_files(files, folder)
    return result


def write_edit(result: EditResult, folder: Path, asked: Collection[str] | None = None) -> EditResult:
    """Write the files of an edit into `folder`, in place of what was there, and return it with its absent formats.
    Raises OutputError."""
    files, result = rendered_edit(result, asked)
    write_files(files, folder)
    return result


def write_split(result: SplitResult, folder: Path, asked: Collection[str] | None = None) -> SplitResult:
    """Write the files of a split into `folder`, in place of what was there, and return it with its absent formats.

    Folders beside it go that are of parts which only an earlier split had. Raises OutputError.
    """
    files, result = rendered_split(result, asked)
    with output_errors(folder):
        write_folder(folder, files)
        there = {kind.id for kind in result.split.kinds}
        with folder_lock(folder.parent):
            for place in parts(folder.parent, folder.name):
                if place.name not in there and _is_part(place, folder.name):
                    _remove(place)
    return result


def claim(folder: Path) -> None:
    """Raises OutputError where something else than what is written here has a folder's name, or nothing can have it."""
    with output_errors(folder):
        if not is_folder_name(folder.name):
            raise OSError(errno.EINVAL, "no folder can have this name on every system")
        refuse_folder(folder)


def claim_lock(path: Path) -> None:
    """Raises OutputError where a file that is no lock has a lock's name."""
    with output_errors(path, "call the spec by another name"):
        refuse_file(path, is_lock)


def claim_run(folder: Path, names: Collection[str], planned: bool = False) -> None:
    """Raises OutputError with everything in a run's folder that is somebody else's and has the name of one of the run's
    own files, or of a folder among `names`; and with names that the file system can't tell apart. Where it is
    `planned`, the plan that is there stays."""
    with output_errors(folder):
        _refuse_run(folder)
    findings = list(_alike(folder, names))
    files = [name for name in RUN_FILES if not (planned and name == "plan.yaml")]
    for name in (*files, *names, PACKED):
        try:
            with output_errors(folder / name):
                if name in RUN_FILES:
                    refuse_file(folder / name, RUN_FILES[name])
                elif name == PACKED:
                    refuse_packed(folder / name)
                else:
                    refuse_folder(folder / name)
        except OutputError as error:
            findings += error.findings
    if findings:
        raise OutputError(findings)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put files, and their hashes, into a folder that appears, or is replaced, in one step; what others put there
    stays.

    Raises OSError where something else has the folder's name.
    """
    with folder_lock(folder.parent), staged(folder.parent, folder.name) as stage:
        refuse_folder(folder)
        (stage / NEW).mkdir()
        for name, content in {**files, SUMS: manifest(files)}.items():
            write_through(stage / NEW / name, content)
        _swap(stage, folder)


def _swap(stage: Path, folder: Path) -> None:
    if not folder.exists():
        (stage / NEW).rename(folder)
        return
    # A folder can't be renamed onto another; the old one steps aside to where the next turn would find it.
    folder.rename(stage / OLD)
    try:
        (stage / NEW).rename(folder)
    except BaseException:
        (stage / OLD).rename(folder)
        raise
    bring_over(stage / OLD, folder)
    shutil.rmtree(stage / OLD)


class RunFiles:
    """The files that a run writes beside the folders of its circuits, in its turn: nobody else's are replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, content: bytes) -> None:
        """A file in place of what was there. Raises OutputError."""
        path = self._folder / name
        # Staged, where `write_file` is not: the next turn removes what a killed run leaves.
        with output_errors(path), staged(self._folder, name) as stage:
            refuse_file(path, RUN_FILES[name])
            write_through(stage / NEW, content)
            (stage / NEW).replace(path)

    def remove(self, name: str) -> None:
        """Remove what an earlier run wrote. Raises OutputError."""
        path = self._folder / name
        with output_errors(path), suppress(FileExistsError, IsADirectoryError):
            refuse_file(path, RUN_FILES[name])
            path.unlink(missing_ok=True)


@contextmanager
def packed_place(path: Path) -> Iterator[Path]:
    """Provide the path of a file that takes the place of one of packed circuits when the block ends. Use it in the turn
    of its folder. Raises OutputError."""
    with output_errors(path), staged(path.parent, path.name) as stage:
        refuse_packed(path)
        yield stage / NEW
        with (stage / NEW).open("rb") as file:
            os.fsync(file.fileno())
        (stage / NEW).replace(path)


@contextmanager
def run_files(folder: Path) -> Iterator[RunFiles]:
    """Keep other processes from writing into a run's folder within the block; it is made first. Raises OutputError."""
    with output_errors(folder), folder_lock(folder):
        yield RunFiles(folder)


def write_file(path: Path, content: bytes, elsewhere: str = _ELSEWHERE, mode: int | None = None) -> None:
    """Write one file in one step, in place of what was there, with this mode or as the umask has it.

    Raises OutputError, which says how to write it `elsewhere`.
    """
    with output_errors(path, elsewhere):
        if _is_stream(path):
            # In place of a device or a pipe there would be a file from now on, for everybody.
            with path.open("wb") as stream:
                stream.write(content)
            return
        write_atomically(path, content, mode=0o666 & ~_umask() if mode is None else mode, durable=True)


def _is_stream(path: Path) -> bool:
    """Return whether a path is a stream to write to, not a place for a file. Raises OSError for a disk or a socket."""
    with suppress(FileNotFoundError, NotADirectoryError):
        mode = path.stat().st_mode
        if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
            raise OSError(errno.EINVAL, "it is no place for a file")
        # The standard streams are links, to files too.
        return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or path.parent == Path("/dev")
    return False


def _is_part(place: Path, split: str) -> bool:
    """Return whether a folder is that of a circuit of a part of a split."""
    with suppress(InputError):
        part = read_summary(place).part
        return part is not None and part.of == split
    return False


def _remove(folder: Path) -> None:
    """Remove a folder of ours, but for what others put there."""
    with suppress(OSError), staged(folder.parent, folder.name) as stage:
        (stage / NEW).mkdir()
        folder.rename(stage / OLD)
        bring_over(stage / OLD, stage / NEW)
        shutil.rmtree(stage / OLD)
        if any((stage / NEW).iterdir()):
            (stage / NEW).rename(folder)


def _alike(folder: Path, names: Collection[str]) -> Iterator[Finding]:
    """Yield all but the first of names that differ in capitals alone, where a file system takes them for the same."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.casefold(), name)
        if other != name and ignores_case(folder):
            label = f"here this is the same name as {other}"
            yield Finding("E390", f"can't write {folder / name}", None, label, "call one of them by another name")


def ignores_case(folder: Path) -> bool:
    """Return whether a file system ignores case, as far as a folder's name shows it."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    with suppress(OSError):
        return place.name.swapcase() != place.name and place.with_name(place.name.swapcase()).samefile(place)
    return False


def _refuse_run(folder: Path) -> None:
    """Raises OSError where a run can't have this folder: a link leads elsewhere, to a place that may be anybody's, or
    a file is in the way."""
    if folder.is_symlink():
        raise FileExistsError(errno.EEXIST, "it is a link to another place")
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    if os.path.lexists(there) and not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def output_errors(path: Path, elsewhere: str = _ELSEWHERE) -> Iterator[None]:
    """Turn an OSError about a path into an OutputError with its cure."""
    try:
        if "\0" in str(path):
            raise OSError(errno.EINVAL, "no file can have this name")
        yield
    except OSError as error:
        cures = {
            errno.ENOSPC: "make room, then run again: finished circuits are kept",
            errno.EDQUOT: "make room, then run again: finished circuits are kept",
            errno.EACCES: elsewhere,
            errno.EROFS: elsewhere,
            errno.EPERM: elsewhere,
            errno.ENOTDIR: f"a file is in the way: {elsewhere}",
            errno.EEXIST: f"{elsewhere}, or move {path.name} away",
            errno.EISDIR: f"a folder is in the way: {elsewhere}",
            errno.ELOOP: f"a link is in the way: {elsewhere}",
            errno.EINVAL: "call it by another name",
            errno.ENAMETOOLONG: "call it by a shorter name",
        }
        cure = cures.get(error.errno or 0, "")
        raise OutputError(Finding("E390", f"can't write {path}", None, error.strerror or str(error), cure)) from None
