"""Folder → result: what `write` wrote, read back without torch."""

from __future__ import annotations

import glob
from contextlib import suppress
from pathlib import Path

import msgspec
from safetensors import SafetensorError
from safetensors.numpy import load_file

from circuitlang import source
from circuitlang.compiler.plan import Plan, read_plan
from circuitlang.engine.result import Change, Circuit, Kernels, Result, Split, Summary, Wire
from circuitlang.errors import Finding, InputError, SpecError, listing

_KERNEL = ("target", "source", "score", "weight", "effective")
_CHANGE = ("rows", "gain", "offset")
_WIRE = ("source", "origin", "channel")


def read_summary(folder: Path) -> Summary:
    """What `circuit.json` says. Raises InputError where it isn't there or isn't one."""
    path = folder / "circuit.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Summary)
    except FileNotFoundError:
        inside = [each.name for each in circuits(folder)]
        cure = (
            f"give that of a circuit in it: {listing(inside)}"
            if inside
            else "give the folder of a circuit, or of a run"
        )
        raise InputError(Finding("E312", f"{folder} holds no circuit", None, "circuit.json is missing", cure)) from None
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(Finding("E312", f"{path} can't be read", None, str(error))) from None


def read(folder: Path) -> Result:
    """A finished result, without its pictures. Raises InputError."""
    summary = read_summary(folder)
    path = folder / "circuit.safetensors"
    try:
        arrays = load_file(path)
        kernels = tuple(
            Kernels(**{name: arrays[f"{layer.path}.kernel.{name}"] for name in _KERNEL}) for layer in summary.layers
        )
        changes = tuple(
            Change(**{name: arrays[f"{layer.path}.change.{name}"] for name in _CHANGE}) for layer in summary.layers
        )
        *wires, target = (
            Wire(**{name: arrays[f"{path}.wire.{name}"] for name in _WIRE})
            for path in (*(layer.path for layer in summary.layers), "target")
        )
    except (OSError, SafetensorError) as error:
        raise InputError(Finding("E312", f"{path} can't be read", None, str(error))) from None
    except KeyError as error:
        raise InputError(Finding("E312", f"{path} lacks {error}", None, "it is not of this circuit.json")) from None
    return Result(summary, Circuit(kernels, tuple(wires), target, changes))


def read_split(folder: Path) -> Split:
    """What `split.json` says. Raises InputError where it isn't there or isn't one."""
    path = folder / "split.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Split)
    except FileNotFoundError:
        raise InputError(Finding("E312", f"{folder} holds no split", None, "split.json is missing")) from None
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(Finding("E312", f"{path} can't be read", None, str(error))) from None


def read_file(folder: Path, name: str) -> bytes:
    """A file of a finished circuit as it is. Raises InputError."""
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        cure = "run its spec again after the folder is removed"
        reason = error.strerror or str(error)
        raise InputError(Finding("E312", f"{folder / name} can't be read", None, reason, cure)) from None


def visualised(folder: Path) -> bool:
    """Whether the diagram of a finished circuit shows what excites each of its channels."""
    try:
        with (folder / "diagram.html").open("rb") as file:
            return b'data-visualised="all"' in file.read(200)
    except OSError:
        return False


def circuits(folder: Path) -> list[Path]:
    """The folders of circuits: `folder` itself, or those in it, by name."""
    if (folder / "circuit.json").is_file():
        return [folder]
    return _of_the_run(folder, "circuit.json")


def splits(folder: Path) -> list[Path]:
    """The folders of splits: `folder` itself, or those in it, by name."""
    if (folder / "split.json").is_file():
        return [folder]
    return _of_the_run(folder, "split.json")


def _of_the_run(folder: Path, file: str) -> list[Path]:
    """The folders in a run's that have such a file, by name; not those that its plan, if it has one, has no more."""
    found = sorted(path.parent for path in folder.glob(f"*/{file}") if not path.parent.name.startswith("."))
    plan = plan_of(folder)
    if plan is None:
        return found
    into = {each.id: each.into is not None for each in plan.circuits}
    split = {name for name in into if into[name]}
    return [each for each in found if each.name in into or each.name.rpartition("-part")[0] in split]


def plan_of(folder: Path) -> Plan | None:
    """The plan that a run left in its folder, if there is one that can be read."""
    with suppress(OSError, UnicodeDecodeError, SpecError):
        return read_plan(source.read(folder / "plan.yaml"))[0]
    return None


def parts(folder: Path, name: str) -> list[Path]:
    """In the folder of a run, those of the circuits of a split's parts, by number; some may be of an earlier split."""
    found = {}
    for path in folder.glob(f"{glob.escape(name)}-part*/circuit.json"):
        number = path.parent.name.removeprefix(f"{name}-part")
        if number.isdecimal():
            found[int(number)] = path.parent
    return [found[number] for number in sorted(found)]
