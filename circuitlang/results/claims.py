"""Claims: who computes what of a run that several processes share, on one machine or on many.

A claim is a file of its own in `.claims` of the run's folder. To take one is to create its file, which only one process
can, on NFS too; no lock is needed. Its owner touches it all the while. A claim that was not touched for the length of a
lease is stale, since its owner died or lost the file system, and the next who wants it renames it and takes it anew.
Ages are told by the clock of the file system alone, whatever the clocks of the machines say.

Claims save work and guard nothing: circuits appear whole or not at all, and are the same whoever computes them. Should
two processes take one claim, because one of them was suspended for longer than a lease, both write the same.
"""

from __future__ import annotations

import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from circuitlang.base.atomic_files import write_atomically
from circuitlang.base.plain_files import inside, read_plain

FOLDER = ".claims"
# Seconds for which a claim stands without a sign of life.
LEASE = 120.0
_HELD, _DONE, _COSTS = ".held", ".done", "costs.json"

T = TypeVar("T")


class Claim(msgspec.Struct, frozen=True):
    """A claim: the host and the process that hold it, a token that no other has, and the circuits that it is about."""

    host: str
    process: int
    token: str
    circuits: list[str]


class Done(msgspec.Struct, frozen=True):
    """A claim that was worked off: its circuits, the reasons why some failed, by id, and the seconds that it took."""

    circuits: list[str]
    failed: dict[str, str] = {}
    seconds: float = 0.0


class Held(msgspec.Struct, frozen=True):
    """A claim that is held, and the seconds since its owner gave the last sign of life."""

    claim: Claim
    silent: float


class Claims:
    """The claims of a run, as one process takes them.

    Args:
        run: Folder of the run.
        lease: Seconds for which a claim stands without a sign of life; `LEASE` by default.

    Attributes:
        token: Name of the process in its claims, which no other has.
    """

    def __init__(self, run: Path, lease: float | None = None) -> None:
        self._folder, self._lease = run / FOLDER, LEASE if lease is None else lease
        self.token = secrets.token_hex(8)
        self._mine: set[Path] = set()
        self._guard = threading.Lock()

    def take(self, name: str, circuits: list[str]) -> bool:
        """Take a claim unless another process holds it. Raises OSError if the folder can't be written."""
        path = self._folder / f"{name}{_HELD}"
        claim = Claim(platform.node(), os.getpid(), self.token, circuits)
        if not self._create(path, claim) and not (self._is_stale(path) and self._create(path, claim)):
            return False
        with self._guard:
            self._mine.add(path)
        return True

    def release(self, name: str, done: Done | None = None) -> None:
        """Give a claim back; `done` is noted for the others first."""
        path = self._folder / f"{name}{_HELD}"
        if done is not None:
            write_atomically(self._folder / f"{name}{_DONE}", msgspec.json.encode(done), mode=0o644)
        with self._guard:
            self._mine.discard(path)
        self._remove(path)

    def is_done(self, name: str) -> bool:
        """Return whether a claim was worked off."""
        return (self._folder / f"{name}{_DONE}").exists()

    def note_costs(self, costs: Mapping[str, float]) -> None:
        """Note the expected work for circuits, by id, beside what others have noted. Raises OSError."""
        before = costs_of(self._folder.parent)
        if not costs.keys() <= before.keys():
            write_atomically(self._folder / _COSTS, msgspec.json.encode({**before, **costs}), mode=0o644)

    def forget(self, name: str) -> None:
        """Forget that a claim was worked off: what it left is gone, or had failed."""
        with suppress(OSError):
            (self._folder / f"{name}{_DONE}").unlink()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Give signs of life for all claims within the block, and give back those that are left when it ends."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ended = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(ended,), name="claims", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            ended.set()
            keeper.join()
            for path in list(self._mine):
                self.release(path.name.removesuffix(_HELD))

    def _remove(self, path: Path) -> None:
        # A claim that was taken away is another's now.
        if (claim := _read(path, Claim)) is not None and claim.token == self.token:
            with suppress(OSError):
                path.unlink()

    def _keep(self, ended: threading.Event) -> None:
        while not ended.wait(self._lease / 6):
            with self._guard:
                mine = list(self._mine)
            for path in mine:
                if (claim := _read(path, Claim)) is not None and claim.token == self.token:
                    with suppress(OSError):
                        os.utime(path)

    def _create(self, path: Path, claim: Claim) -> bool:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(claim))
        return True

    def _is_stale(self, path: Path) -> bool:
        """Return whether a claim was stale, and is out of the way."""
        before = _read(path, Claim)
        silent = silence(path, self._folder)
        if silent is None or silent <= self._lease:
            return False
        aside = path.with_suffix(f".{self.token}")
        try:
            path.rename(aside)
        except OSError:
            return False
        moved = _read(aside, Claim)
        if before is not None and moved is not None and before.token != moved.token:
            # Another was faster, and has taken it anew: it is put back.
            with suppress(OSError):
                os.link(aside, path)
            aside.unlink(missing_ok=True)
            return False
        aside.unlink(missing_ok=True)
        return True


def held(run: Path) -> list[Held]:
    """Return the claims of a run that are held."""
    claims = []
    for path in sorted(inside(run / FOLDER, f"*{_HELD}")):
        claim, silent = _read(path, Claim), silence(path, run / FOLDER)
        if claim is not None and silent is not None:
            claims.append(Held(claim, silent))
    return claims


def costs_of(run: Path) -> Mapping[str, float]:
    """Return the expected floating-point operations of circuits, by id, as far as they are noted."""
    return _read(run / FOLDER / _COSTS, dict[str, float]) or {}


def worked_off(run: Path) -> list[Done]:
    """Return the claims of a run that were worked off."""
    paths = sorted(inside(run / FOLDER, f"*{_DONE}"))
    return [done for path in paths if (done := _read(path, Done)) is not None]


def failures(run: Path) -> Mapping[str, str]:
    """Return the circuits that failed, with the reasons, as far as claims tell."""
    reasons: dict[str, str] = {}
    for done in worked_off(run):
        reasons |= done.failed
    return reasons


def _read(path: Path, kind: type[T]) -> T | None:
    """Return what a file says; None if it is gone, or not whole yet."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(read_plain(path), type=kind)
    return None


def silence(path: Path, folder: Path) -> float | None:
    """Return the seconds since a claim was touched, by the clock of the file system; None if it is gone."""
    probe = folder / f".now-{secrets.token_hex(8)}"
    try:
        probe.touch()
        return max(probe.stat().st_mtime - path.stat().st_mtime, 0.0)
    except FileNotFoundError:
        return None
    except OSError:
        # The folder can't be written, and this machine's clock must do.
        with suppress(OSError):
            return max(time.time() - path.stat().st_mtime, 0.0)
        return None
    finally:
        probe.unlink(missing_ok=True)
