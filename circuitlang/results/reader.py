"""Folder → result: what `write` wrote, read back without torch."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from circuitlang.base import source
from circuitlang.base.deferred import np
from circuitlang.base.diagnostics import Finding, InputError, SpecError, listing
from circuitlang.base.plain_files import inside, is_there, read_plain
from circuitlang.plan.model import Plan, digest
from circuitlang.plan.yaml import read_plan
from circuitlang.results.manifest import SUMS, written
from circuitlang.results.split import Split
from circuitlang.results.types import ChannelSources, Circuit, KeptKernels, LayerEdit, Result, Summary
from circuitlang.results.validation import sound_circuit, sound_split, sound_summary
from circuitlang.results.visualised_channels import BUDGET, NOTHING, visualised_amount

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KERNEL = ("target", "source", "score", "weight", "effective")
_CHANGE = ("rows", "gain", "offset")
_WIRE = ("source", "origin", "channel")
_LONGEST = 200  # letters of a reason
_AGAIN = "run its spec again: what is damaged is made anew"

T = TypeVar("T", bound=msgspec.Struct)


def read_summary(folder: Path) -> Summary:
    """Read `circuit.json`. Raises InputError where it isn't there or isn't one."""
    if not is_there(folder / "circuit.json"):
        inside = [circuit.name for circuit in circuits(folder)]
        cure = (
            f"give that of a circuit in it: {listing(inside)}"
            if inside
            else "give the folder of a circuit, or of a run"
        )
        raise InputError(Finding("E312", f"{folder} holds no circuit", None, "circuit.json is missing", cure))
    return read_json(folder, "circuit.json", Summary, sound_summary)


def read(folder: Path, later: bool = False) -> Result:
    """A finished result, without its images; the circuit in it is read now or `later`. Raises InputError."""
    summary = read_summary(folder)
    content = partial(_read_circuit, folder, summary)
    return Result(summary, content if later else content())


def _read_circuit(folder: Path, summary: Summary) -> Circuit:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / "circuit.safetensors"
    content = read_file(folder, path.name)
    try:
        circuit = _circuit(summary, load(content))
        sound_circuit(summary, circuit)
    except KeyError as error:
        raise InputError(Finding("E312", f"{path} lacks {error}", None, "it is not of this circuit.json")) from None
    except (SafetensorError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise InputError(Finding("E312", f"{path} can't be read", None, str(error), _AGAIN)) from None
    return circuit


def _circuit(summary: Summary, arrays: Mapping[str, NDArray[Any]]) -> Circuit:
    paths = [layer.path for layer in summary.layers]
    kernels = tuple(KeptKernels(**{name: arrays[f"{path}.kernel.{name}"] for name in _KERNEL}) for path in paths)
    # A folder of an earlier version says nothing of constant kernels.
    none = np.zeros(0, np.int64)
    changes = tuple(
        LayerEdit(
            **{name: arrays[f"{path}.change.{name}"] for name in _CHANGE},
            constant=arrays.get(f"{path}.change.constant", none),
        )
        for path in paths
    )
    *wires, target = (
        ChannelSources(**{name: arrays[f"{path}.wire.{name}"] for name in _WIRE}) for path in (*paths, "target")
    )
    return Circuit(kernels, tuple(wires), target, changes)


def read_split(folder: Path) -> Split:
    """Read `split.json`. Raises InputError where it isn't there or isn't one."""
    if not is_there(folder / "split.json"):
        raise InputError(Finding("E312", f"{folder} holds no split", None, "split.json is missing"))
    return read_json(folder, "split.json", Split, sound_split)


def read_json(folder: Path, name: str, kind: type[T], sound: Callable[[T], None]) -> T:
    """Read a JSON file of a folder and validate it by `sound`. Raises InputError."""
    content = read_file(folder, name)
    try:
        value: T = _decoded(content, kind, sound)
    except (ValueError, RecursionError, OverflowError) as error:
        # A damaged file may repeat a long piece.
        reason = str(error)[:_LONGEST]
        raise InputError(Finding("E312", f"{folder / name} can't be read", None, reason, _AGAIN)) from None
    return value


# A run reads each of its circuits several times: it checks them, draws the overview and compares them.
@lru_cache(maxsize=64)
def _decoded(content: bytes, kind: Any, sound: Callable[[Any], None]) -> Any:
    value = msgspec.json.decode(content, type=kind)
    sound(value)
    return value


def read_file(folder: Path, name: str) -> bytes:
    """A file of a finished circuit, split or comparison, as it was written. Raises InputError."""
    try:
        content = read_plain(folder / name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(Finding("E312", f"{folder / name} can't be read", None, reason, _AGAIN)) from None
    _unchanged(folder, name, content)
    return content


def unchanged(folder: Path, name: str) -> None:
    """Raises InputError where a file that is there is not as it was written."""
    if is_there(folder / name):
        read_file(folder, name)


def _unchanged(folder: Path, name: str, content: bytes) -> None:
    expected = written(folder).get(name)
    if expected is not None and digest(content) != expected:
        label = f"it is not as it was written: its hash is not the one in {SUMS}"
        raise InputError(Finding("E312", f"{folder / name} was changed", None, label, _AGAIN))


def visualised(folder: Path) -> int:
    """Return the number of channels of which the diagram of a finished circuit has feature visualisations, or the one
    that stands for a word. A page that isn't there lacks none."""
    with suppress(OSError):
        match = re.search(rb'data-visualised="([a-z]+|\d+)"', read_plain(folder / "diagram.html")[:200])
        return visualised_amount(match[1].decode()) if match else NOTHING
    return BUDGET


def circuits(folder: Path) -> list[Path]:
    """The folders of circuits: `folder` itself, or those in it, by name."""
    if is_there(folder / "circuit.json"):
        return [folder]
    return _of_the_run(folder, "circuit.json")


def splits(folder: Path) -> list[Path]:
    """The folders of splits: `folder` itself, or those in it, by name."""
    if is_there(folder / "split.json"):
        return [folder]
    return _of_the_run(folder, "split.json")


def _of_the_run(folder: Path, file: str) -> list[Path]:
    """The folders in a run's that have such a file, by name; not those that its plan, if it has one, has no more."""
    folders = sorted(path.parent for path in inside(folder, f"*/{file}") if not path.parent.name.startswith("."))
    plan = plan_of(folder)
    if plan is None:
        return folders
    into = {circuit.id: circuit.into is not None for circuit in plan.circuits}
    split = {name for name in into if into[name]}
    return [folder for folder in folders if folder.name in into or folder.name.rpartition("-part")[0] in split]


def planned_folders(folder: Path, file: str, names: Callable[[Plan], Collection[str]]) -> list[Path]:
    """Return the folders that have a file: `folder` itself, or those in it, by name; of a run, those among the `names`
    of its plan alone."""
    if is_there(folder / file):
        return [folder]
    there = sorted(path.parent for path in inside(folder, f"*/{file}") if not path.parent.name.startswith("."))
    plan = plan_of(folder)
    if plan is None:
        return there
    wanted = names(plan)
    return [place for place in there if place.name in wanted]


def plan_of(folder: Path) -> Plan | None:
    """The plan that a run left in its folder, if there is one that can be read."""
    with suppress(OSError, ValueError, SpecError):
        return read_plan(source.read(folder / "plan.yaml"))[0]
    return None


def parts(folder: Path, name: str) -> list[Path]:
    """In the folder of a run, those of the circuits of a split's parts, by number; some may be of an earlier split."""
    circuits = {}
    for path in inside(folder, f"{glob.escape(name)}-part*/circuit.json"):
        number = path.parent.name.removeprefix(f"{name}-part")
        if number.isdecimal():
            circuits[int(number)] = path.parent
    return [circuits[number] for number in sorted(circuits)]
