"""The archive of a torch.export program, read as data.

`torch.export.load` unpickles constants, weights and example inputs freely, and evaluates the expressions of sizes as
Python. Here the graph is JSON and the tensors are bytes; a file that needs more than that is refused. So is one whose
names could be more than names, or that would take much more memory than it has bytes.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import torch
from torch import Tensor

from circuitlang.base.diagnostics import CircuitError, Finding, InputError
from circuitlang.engine.device import on_meta_device
from circuitlang.engine.programs.interpreted import RESERVED
from circuitlang.engine.programs.result_tree import Tree, result_tree

# An extra file: how images become the program's images.
PREPROCESS = "preprocess.json"
_AGAIN = "export it again with torch 2.9 or later: torch.export.save(program, path)"
# PyTorch's numbers of the types that a network for images has (torch/_export/serde/schema.py, ScalarType).
TYPES = {4: torch.int32, 5: torch.int64, 7: torch.float32, 8: torch.float64, 12: torch.bool}
# And those that numbers may be turned into.
PASSING_TYPES = {**TYPES, 6: torch.float16, 13: torch.bfloat16}
# The largest networks that are in use have a few thousand operations, each with some kilobytes about it.
MOST_OPERATIONS = 10_000
_MOST_DESCRIPTION = 1 << 26
# Stored tensors may take so many bytes more than the file has: some are one value, repeated.
_SPARE = 1 << 26
# A part of a path, which is that of a module or tensor: no quotes, no escapes. Whatever it was written into, it could
# not end the string that it is in.
_PART = re.compile(r"[\w +:-]{1,200}")
_LONGEST_PATH, _DEEPEST_PATH = 400, 60
_VALUE = re.compile(r"[A-Za-z_]\w{0,199}", re.ASCII)
# A size: a number, or if it is free the words of an expression, which are compared and never evaluated.
Size = tuple[int | str, ...]


class _Meta(msgspec.Struct):
    """Type and layout of a tensor."""

    dtype: int
    sizes: list[dict[str, Any]]
    strides: list[dict[str, Any]]
    storage_offset: dict[str, Any]


class _Payload(msgspec.Struct):
    """The location of a tensor's content."""

    path_name: str
    use_pickle: bool
    tensor_meta: _Meta | None = None


class _Payloads(msgspec.Struct):
    config: dict[str, _Payload]


class _Argument(msgspec.Struct):
    name: str
    arg: dict[str, Any]


class _Node(msgspec.Struct):
    target: str
    inputs: list[_Argument]
    outputs: list[dict[str, Any]]
    metadata: dict[str, str]


class _Graph(msgspec.Struct):
    nodes: list[_Node]
    tensor_values: dict[str, _Meta]


class _Signature(msgspec.Struct):
    input_specs: list[dict[str, Any]]
    output_specs: list[dict[str, Any]]


class _CallSignature(msgspec.Struct):
    """The nesting of the results of a module's call."""

    out_spec: str = ""


class _Call(msgspec.Struct):
    fqn: str
    signature: _CallSignature | None = None


class _GraphModule(msgspec.Struct):
    graph: _Graph
    signature: _Signature
    module_call_graph: list[_Call] = []

    @property
    def result(self) -> Tree:
        """The result of the whole network."""
        calls = [entry.signature.out_spec for entry in self.module_call_graph if entry.signature and not entry.fqn]
        return result_tree(self.signature.output_specs, "".join(calls[:1]))


class _Model(msgspec.Struct):
    graph_module: _GraphModule


@dataclass(frozen=True)
class Operation:
    """One call of an operator; `arguments` as they are serialised, by the names of the operator's schema.

    `path` and `kind` are of the innermost module that made the call; `parts` are the names of several results.
    """

    name: str
    target: str
    arguments: Mapping[str, Any]
    path: str
    kind: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """A network as operations on named tensors; `stored` says which names are stored tensors, and of what path.

    `result` has the names of the tensors that it gives, nested as in its result. `preprocess` is the extra file of that
    name, JSON that nobody has looked at; empty where there is none.
    """

    image: str
    operations: tuple[Operation, ...]
    stored: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    sizes: Mapping[str, Size]
    result: Tree
    preprocess: bytes = b""


def read_program(path: Path) -> Program:
    """A program that torch.export.save wrote. Raises InputError where it is missing, damaged, or holds objects."""
    if not path.is_file():
        raise InputError(Finding("E304", f"there is no file '{path.name}'", None, f"in {path.parent.resolve()}"))
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive, path.name, path.stat().st_size + _SPARE).read()
    except CircuitError:
        raise
    except Exception as error:  # a damaged file drives the readers of archives, JSON and tensors to anything
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            Finding("E306", f"'{path.name}' is not a torch.export program", None, reason, _AGAIN)
        ) from None


def read_exported(file: BinaryIO, own: Mapping[str, Tensor]) -> Program:
    """A program of this process, with its own tensors in the place of stored ones of their names."""
    with zipfile.ZipFile(file) as archive:
        return _Reader(archive, "the network", 1 << 62, own).read()


class _Reader:
    """Reads one archive; `room` is for how many bytes its stored tensors may take."""

    def __init__(self, archive: zipfile.ZipFile, name: str, room: int, own: Mapping[str, Tensor] | None = None) -> None:
        self._archive, self._name, self._room, self._own = archive, name, room, own or {}
        self._records = {record.partition("/")[2]: record for record in archive.namelist()}
        # Several tensors may be one.
        self._read: dict[str, Tensor] = {}

    def read(self) -> Program:
        models = [record for record in self._records if record.startswith("models/") and record.endswith(".json")]
        if len(models) != 1:
            present = f"it holds {len(models)} programs" if models else "it holds no program of the present format"
            raise ValueError(present)
        tensors = self._tensors(models[0].removeprefix("models/").removesuffix(".json"))
        module = msgspec.json.decode(self._description(models[0]), type=_Model).graph_module
        if len(module.graph.nodes) > MOST_OPERATIONS:
            raise self._refused(f"it has {len(module.graph.nodes):,} operations, more than {MOST_OPERATIONS:,}")
        stored, images = _inputs(module.signature)
        if len(images) != 1:
            message = f"the program takes {len(images)} inputs"
            raise InputError(Finding("E308", message, None, "", "it must take images"))
        for path in stored.values():
            self._named(path)
        sizes = {word: tuple(_size(size) for size in meta.sizes) for word, meta in module.graph.tensor_values.items()}
        operations = tuple(self._operation(node) for node in module.graph.nodes)
        for word in (
            *stored,
            *images,
            *(part for operation in operations for part in (operation.name, *operation.parts) if part),
        ):
            if not _VALUE.fullmatch(word) and not all(map(_VALUE.fullmatch, word.split("-"))):
                raise self._refused(f"{word[:40]!r} is no name of a value")
        extra = f"extra/{PREPROCESS}"
        preprocess = self._description(extra) if extra in self._records else b""
        return Program(images[0], operations, stored, tensors, sizes, module.result, preprocess)

    def _tensors(self, model: str) -> dict[str, Tensor]:
        """The stored tensors by their paths."""
        tensors: dict[str, Tensor] = {}
        for folder, kind in (("data/weights/", "weights"), ("data/constants/", "constants")):
            listed = self._description(f"{folder}{model}_{kind}_config.json")
            for word, payload in msgspec.json.decode(listed, type=_Payloads).config.items():
                self._named(word)
                if word in self._own:
                    tensors[word] = self._own[word]
                    continue
                if payload.use_pickle or payload.tensor_meta is None:
                    raise self._refused(f"its {word} is a pickled object, and loading it would run code")
                tensors[word] = self._tensor(self._records[folder + payload.path_name], payload.tensor_meta, word)
        return tensors

    def _tensor(self, record: str, meta: _Meta, word: str) -> Tensor:
        """A stored tensor; see `weights.outlining`."""
        if meta.dtype not in TYPES:
            label = f"its {word} is of another type than float32"
            raise InputError(Finding("E306", "the program is refused", None, label, "export model.float()"))
        dtype = TYPES[meta.dtype]
        size, strides = ([int(entry["as_int"]) for entry in values] for values in (meta.sizes, meta.strides))
        offset = int(meta.storage_offset["as_int"])
        if any(number < 0 for number in (*size, *strides, offset)) or len(size) != len(strides):
            raise ValueError(f"{word} has a negative size")
        last = offset + sum((length - 1) * step for length, step in zip(size, strides, strict=True))
        if math.prod(size) and (last + 1) * dtype.itemsize > self._archive.getinfo(record).file_size:
            raise ValueError(f"{word} is larger than what is stored of it")
        key = f"{record} {dtype} {size} {strides} {offset}"
        if key not in self._read:
            self._room -= math.prod(size) * dtype.itemsize
            if self._room < 0:
                raise self._refused("its tensors would take much more memory than the file")
            self._read[key] = self._loaded(record, dtype, size, strides, offset)
        return self._read[key]

    def _loaded(self, record: str, dtype: torch.dtype, size: list[int], strides: list[int], offset: int) -> Tensor:
        if on_meta_device():
            return torch.empty(size, dtype=dtype, device="meta")
        if math.prod(size) == 0:
            return torch.zeros(size, dtype=dtype)
        content = bytearray(self._content(record))
        flat = torch.frombuffer(content, dtype=dtype, count=len(content) // dtype.itemsize)
        return flat.as_strided(size, strides, offset).clone()

    def _description(self, record: str) -> bytes:
        """A record of JSON."""
        if self._archive.getinfo(self._records[record]).file_size > _MOST_DESCRIPTION:
            raise self._refused(f"{record} has more than {_MOST_DESCRIPTION:,} bytes")
        return self._content(self._records[record])

    def _content(self, record: str) -> bytes:
        """A record that takes no more room than it does in the file, as torch writes it."""
        if self._archive.getinfo(record).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{record} is compressed")
        return self._archive.read(record)

    def _operation(self, node: _Node) -> Operation:
        made = node.outputs[0] if node.outputs else {}
        name = str(made["as_tensor"]["name"]) if "as_tensor" in made else ""
        if "as_sym_int" in made:
            name = str(made["as_sym_int"].get("as_name", ""))
        parts = tuple(str(entry["name"]) for entry in made.get("as_tensors", ()))
        if len(node.outputs) > 1:
            # An operator of several results, each of a kind of its own; one that isn't used has no name.
            parts = tuple(str(output["as_tensor"]["name"]) for output in node.outputs if "as_tensor" in output)
            name = ""
        stack = node.metadata.get("nn_module_stack", "").rpartition(";")[2].split(",")
        path, kind = (stack[1], stack[2]) if len(stack) == 3 else ("", "")
        if path:
            self._named(path)
        arguments = {argument.name: argument.arg for argument in node.inputs}
        if not all(len(argument) == 1 for argument in arguments.values()):
            raise ValueError(f"an argument of {node.target[:80]} is not one value")
        return Operation(name or "-".join(parts), node.target, arguments, path, kind, parts)

    def _named(self, path: str) -> None:
        """Raises InputError where a path is more than names joined by dots."""
        parts = path.split(".")
        if len(path) > _LONGEST_PATH or len(parts) > _DEEPEST_PATH:
            raise self._refused(f"the path {path[:40]!r}... is too long")
        for part in parts:
            if not _PART.fullmatch(part) or part in RESERVED or part.startswith("__"):
                raise self._refused(f"{part[:60]!r} is no name of a module or tensor")

    def _refused(self, label: str) -> InputError:
        return InputError(Finding("E306", f"'{self._name}' is refused", None, label, _AGAIN))


def _inputs(signature: _Signature) -> tuple[dict[str, str], list[str]]:
    """Which inputs of the graph are stored tensors, and which come from outside."""
    stored: dict[str, str] = {}
    images: list[str] = []
    for input_spec in signature.input_specs:
        ((kind, spec),) = input_spec.items()
        match kind:
            case "parameter" | "buffer":
                stored[str(spec["arg"]["name"])] = str(spec[f"{kind}_name"])
            case "tensor_constant":
                stored[str(spec["arg"]["name"])] = str(spec["tensor_constant_name"])
            case "user_input":
                images.append(str(spec["arg"].get("as_tensor", {}).get("name", "")))
            case _:
                raise InputError(Finding("E308", f"the program takes a {kind}, which can't be read"))
    return stored, images


def _size(value: Mapping[str, Any]) -> int | str:
    return int(value["as_int"]) if "as_int" in value else str(value["as_expr"]["expr_str"])
