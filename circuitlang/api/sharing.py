"""Results on the Hugging Face Hub: pushed with a page that says what they claim, pulled at a commit and verified."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from circuitlang.base.atomic_files import PARTIAL
from circuitlang.base.diagnostics import Finding, InputError, OutputError
from circuitlang.base.hub_address import HubAddress, hub_address
from circuitlang.results.packed.files import SHARDS
from circuitlang.results.shared_folder import CARD, SharedFolder, refuse_names, shared_files, shared_folder

_MODE = 0o755


@dataclass(frozen=True)
class Shared:
    """A folder of results, and the commit of the Hub that has the same.

    Attributes:
        folder: The folder, read and verified.
        address: The repository at that commit.
        files: Number of files.
        size: Bytes of these files.
    """

    folder: SharedFolder
    address: HubAddress
    files: int
    size: int


def push(folder: Path, address: str, licence: str = "", private: bool = False, message: str = "") -> Shared:
    """Put the results in a folder into a repository of the Hub, in one commit, with a page made for them.

    The repository is made if it isn't there, `private` or not. Results are verified first. Raises InputError.
    """
    from circuitlang.base.hub_client import commit
    from circuitlang.reporting.hub_card import hub_card

    place = hub_address(address)
    shared = shared_folder(folder)
    files = shared_files(folder)
    refuse_names(files, str(folder))
    card = hub_card(shared, place, licence).encode()
    size = sum(path.stat().st_size for path in files.values()) + len(card)
    text = message or f"circuitlang push {shared.name}"
    return Shared(shared, commit(place, {**files, CARD: card}, text, private), len(files) + 1, size)


def pull(address: str, folder: Path | None = None) -> Shared:
    """Copy the results of a repository of the Hub into a new folder, by default `runs/REPO`, and verify them.

    The folder appears whole or not at all. Raises InputError, and OutputError if the folder can't be written.
    """
    from circuitlang.base.hub_client import fetch, hub_files

    place = hub_address(address)
    target = folder or Path("runs") / place.name
    _refuse(target)
    there = hub_files(place)
    refuse_names(there.sizes, str(there.address))
    # Files of the Hub's own are hidden, as .gitattributes; so are the shards of a packed run, which are results.
    names = [name for name in there.sizes if not _is_hidden(name)]
    with _staged(target) as stage:
        for name in names:
            path = stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fetch(there.address, name), path)
        shared = _verified(stage, there.address)
    return Shared(
        SharedFolder(target, shared.kind, shared.plan, shared.summaries),
        there.address,
        len(names),
        sum(there.sizes[name] for name in names),
    )


def _verified(stage: Path, address: HubAddress) -> SharedFolder:
    """Read what was copied from a repository. Raises InputError, in which the repository stands for the folder."""
    try:
        return shared_folder(stage)
    except InputError as error:
        cure = "nothing was written; another commit may be whole"
        raise InputError(
            Finding("E384", finding.message.replace(str(stage), str(address)), None, finding.label, cure)
            for finding in error.findings
        ) from None


def _is_hidden(name: str) -> bool:
    first, *others = name.split("/")
    return any(part.startswith(".") for part in others) or (first.startswith(".") and first != SHARDS)


def _refuse(folder: Path) -> None:
    """Raises OutputError if a folder has something already."""
    try:
        if not any(folder.iterdir()):
            return
        label = "nothing was written"
    except FileNotFoundError:
        return
    except OSError as error:
        label = error.strerror or str(error)
    raise OutputError(Finding("E385", f"{folder} is there already", None, label, "name another folder"))


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, which takes its name once the block ends. Raises OutputError."""
    stage = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder.parent))
        stage.chmod(_MODE)
        yield stage
        # An empty folder is replaced; one that has been filled meanwhile is not.
        os.replace(stage, folder)  # noqa: PTH105
    except OSError as error:
        label = "it was filled meanwhile" if error.errno == errno.ENOTEMPTY else error.strerror or str(error)
        raise OutputError(Finding("E385", f"can't write into {folder}", None, label, "name another folder")) from None
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)
