"""Build a model as all sources do: read circuitlang's own arguments, call the builder, load weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.models.checkpoint_reader import Checkpoint, read
from circuitlang.engine.models.state_dicts import fill

# Arguments that say where weights come from, and not what the network is.
OWN = ("weights", "state")


def said(arguments: Mapping[str, Any], word: str, otherwise: str) -> str:
    """Return the name that an argument gives, `none` for no argument. Raises InputError for anything but a name."""
    value = arguments.get(word, otherwise)
    if value is None:
        return "none"
    if not isinstance(value, str):
        label = "a file, a name, or none" if word == "weights" else "a name"
        raise InputError(Finding("E202", f"{word} can't be {value!r:.60}", None, label))
    return value


def options_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the builder. Raises InputError where a state dict of no file is named."""
    if "state" in arguments and said(arguments, "weights", "none") == "none":
        message = "state names a part of a weights file, and no file is named"
        raise InputError(Finding("E315", message, None, "", "add weights=FILE, or leave state= away"))
    return {word: value for word, value in arguments.items() if word not in OWN}


@contextmanager
def building(name: str) -> Iterator[None]:
    """Turn errors of a builder inside the block into findings: arguments of a spec may be anything."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(Finding("E307", f"{name} can't be built: {reason(error)}")) from None


def reason(error: BaseException) -> str:
    """Return the first line of an exception's message, with its class if that says more."""
    first, kind = next(iter(_lines(error)), ""), type(error).__name__
    plain = isinstance(error, (TypeError, ValueError, AssertionError, OSError, RuntimeError)) and first
    return first if plain else f"{kind}: {first}" if first else kind


def said_last(error: BaseException) -> str:
    """The last line of what Python prints of an exception."""
    lines, kind = _lines(error), type(error).__name__
    return f"{kind}: {lines[-1]}" if lines else kind


def _lines(error: BaseException) -> list[str]:
    try:
        return [line.strip()[:300] for line in str(error).strip().splitlines()]
    except Exception:  # its class may be the user's
        return []


def fits(name: str, outline: Callable[[], nn.Module]) -> None:
    """Raise InputError where a network's tensors alone would be more than the memory there is.

    `outline` builds it without values; networks that can't be built so are not looked at.
    """
    try:
        module = outline()
    except Exception:  # some builders compute with values
        return
    needed = sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else needed
    if needed > there:
        message = f"{name} can't be built: its weights take {needed / 1e9:,.0f} GB"
        raise InputError(Finding("E307", message, None, f"this machine has {there / 1e9:,.0f} GB"))


def filled(module: nn.Module, path: Path, arguments: Mapping[str, Any]) -> tuple[Checkpoint, tuple[str, ...]]:
    """Fill a network with the weights of a file; the file, and a note of where in it they were. Raises InputError."""
    checkpoint = read(path)
    wanted = said(arguments, "state", "") if "state" in arguments else None
    note = fill(module, checkpoint, wanted)
    return checkpoint, (f"{checkpoint.name}: {note}",) if note else ()


def class_names(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The names of classes that a safetensors file has in its metadata, as a list in JSON under `classes`."""
    try:
        names = json.loads(checkpoint.metadata.get("classes", "[]"))
    except (ValueError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()
