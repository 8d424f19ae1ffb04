"""The archive of a torch.export program, read as data.

`torch.export.load` unpickles constants, weights and example inputs freely, and evaluates the expressions of sizes as
Python. Here the graph is JSON and the tensors are bytes; a file that needs more than that is refused.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import torch
from torch import Tensor

from circuitlang.engine.result_tree import Tree, result_tree
from circuitlang.engine.weights import outlining
from circuitlang.errors import Finding, InputError

# An extra file: how pictures become the program's images.
PREPROCESS = "preprocess.json"
_AGAIN = "export it again with torch 2.9 or later: torch.export.save(program, path)"
# PyTorch's numbers of the types that a network for pictures has (torch/_export/serde/schema.py, ScalarType).
_TYPES = {5: torch.int64, 7: torch.float32}
# What a size is: a number, or where it is free the words of an expression, which are compared and never evaluated.
Size = tuple[int | str, ...]


class _Meta(msgspec.Struct):
    """Type and layout of a tensor."""

    dtype: int
    sizes: list[dict[str, Any]]
    strides: list[dict[str, Any]]
    storage_offset: dict[str, Any]


class _Payload(msgspec.Struct):
    """Where the content of a tensor is."""

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
    """How the results of a module's call are nested."""

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
        """What the whole network gives."""
        calls = [each.signature.out_spec for each in self.module_call_graph if each.signature and not each.fqn]
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
            return _read(archive, path.name)
    except (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            Finding("E306", f"'{path.name}' is not a torch.export program", None, reason, _AGAIN)
        ) from None


def read_exported(file: BinaryIO, own: Mapping[str, Tensor]) -> Program:
    """A program of this process, with its own tensors in the place of stored ones of their names."""
    with zipfile.ZipFile(file) as archive:
        return _read(archive, "the network", own)


def _read(archive: zipfile.ZipFile, name: str, own: Mapping[str, Tensor] | None = None) -> Program:
    own = own or {}
    records = {record.partition("/")[2]: record for record in archive.namelist()}
    models = [record for record in records if record.startswith("models/") and record.endswith(".json")]
    if len(models) != 1:
        raise ValueError(f"it holds {len(models)} programs" if models else "it holds no program of the present format")
    model = models[0].removeprefix("models/").removesuffix(".json")
    tensors: dict[str, Tensor] = {}
    for folder, kind in (("data/weights/", "weights"), ("data/constants/", "constants")):
        listed = records[f"{folder}{model}_{kind}_config.json"]
        for word, payload in msgspec.json.decode(_content(archive, listed), type=_Payloads).config.items():
            if word in own:
                tensors[word] = own[word]
                continue
            if payload.use_pickle or payload.tensor_meta is None:
                label = f"its {word} is a pickled object, and loading it would run code"
                raise InputError(Finding("E306", f"'{name}' is refused", None, label, _AGAIN))
            tensors[word] = _tensor(archive, records[folder + payload.path_name], payload.tensor_meta, word)
    module = msgspec.json.decode(_content(archive, records[models[0]]), type=_Model).graph_module
    stored, images = _inputs(module.signature)
    if len(images) != 1:
        raise InputError(Finding("E308", f"the program takes {len(images)} inputs", None, "", "it must take images"))
    sizes = {word: tuple(_size(each) for each in meta.sizes) for word, meta in module.graph.tensor_values.items()}
    operations = tuple(map(_operation, module.graph.nodes))
    extra = records.get(f"extra/{PREPROCESS}")
    preprocess = _content(archive, extra) if extra else b""
    return Program(images[0], operations, stored, tensors, sizes, module.result, preprocess)


def _content(archive: zipfile.ZipFile, record: str) -> bytes:
    """A record that takes no more room than it does in the file, as torch writes it."""
    if archive.getinfo(record).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{record} is compressed")
    return archive.read(record)


def _tensor(archive: zipfile.ZipFile, record: str, meta: _Meta, word: str) -> Tensor:
    """A stored tensor; see `weights.outlining`."""
    if meta.dtype not in _TYPES:
        label = f"its {word} is of another type than float32"
        raise InputError(Finding("E306", "the program is refused", None, label, "export model.float()"))
    size, strides = ([int(each["as_int"]) for each in values] for values in (meta.sizes, meta.strides))
    if any(each < 0 for each in (*size, *strides)):
        raise ValueError(f"{word} has a negative size")
    if outlining():
        return torch.empty(size, dtype=_TYPES[meta.dtype], device="meta")
    if math.prod(size) == 0:
        return torch.zeros(size, dtype=_TYPES[meta.dtype])
    flat = torch.frombuffer(bytearray(_content(archive, record)), dtype=_TYPES[meta.dtype])
    return flat.as_strided(size, strides, int(meta.storage_offset["as_int"])).clone()


def _inputs(signature: _Signature) -> tuple[dict[str, str], list[str]]:
    """Which inputs of the graph are stored tensors, and which come from outside."""
    stored: dict[str, str] = {}
    images: list[str] = []
    for each in signature.input_specs:
        ((kind, spec),) = each.items()
        match kind:
            case "parameter" | "buffer":
                stored[spec["arg"]["name"]] = spec[f"{kind}_name"]
            case "tensor_constant":
                stored[spec["arg"]["name"]] = spec["tensor_constant_name"]
            case "user_input":
                images.append(str(spec["arg"].get("as_tensor", {}).get("name", "")))
            case _:
                raise InputError(Finding("E308", f"the program takes a {kind}, which can't be read"))
    return stored, images


def _size(value: Mapping[str, Any]) -> int | str:
    return int(value["as_int"]) if "as_int" in value else str(value["as_expr"]["expr_str"])


def _operation(node: _Node) -> Operation:
    made = node.outputs[0] if node.outputs else {}
    name = made["as_tensor"]["name"] if "as_tensor" in made else ""
    parts = tuple(str(each["name"]) for each in made.get("as_tensors", ()))
    stack = node.metadata.get("nn_module_stack", "").rpartition(";")[2].split(",")
    path, kind = (stack[1], stack[2]) if len(stack) == 3 else ("", "")
    arguments = {argument.name: argument.arg for argument in node.inputs}
    return Operation(name or "-".join(parts), node.target, arguments, path, kind, parts)
