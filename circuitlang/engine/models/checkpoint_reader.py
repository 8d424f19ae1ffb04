"""Checkpoints of PyTorch and safetensors files, read as data: no code in a file is run, and none is imported for it.

PyTorch's own reader is used with `weights_only`, behind a look at the file: what it would read must be there as it is,
neither compressed nor counted twice, and name nothing but what tensors are made of and a few classes of settings, in
whose place something inert is put.
"""

from __future__ import annotations

import os
import pickletools
import re
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from circuitlang.base.diagnostics import Finding, InputError, listing
from circuitlang.engine.device import on_meta_device

_ENDINGS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar", ".pkl", ".pickle", ".pyth")
_ALONE = "save model.state_dict() alone, best as .safetensors"
# Classes that tensors are made of.
_TENSORS = re.compile(
    r"collections\.(OrderedDict|Counter)|torch\.nn\.parameter\.Parameter|torch\.(Size|device|serialization\._get_layout)"
    r"|torch\.(\w+Storage|storage\.(Untyped|Typed)Storage|float\w*|bfloat16|half|double|u?int\d+|bool|complex\w*|q\w+)"
    r"|torch\.per_\w+|torch\._utils\._rebuild_(parameter|parameter_with_state|tensor|tensor_v2|tensor_v3|sparse_tensor"
    r"|qtensor|meta_tensor_no_storage)|torch\._tensor\._rebuild_from_type_v2|builtins\.(set|complex)|_codecs\.encode"
)
# Settings and numbers that trainers put beside the tensors: of no use here, so that nothing is made of them.
_INERT = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|pathlib\.\w*Path|numpy\.(core|_core)\.multiarray\.(scalar|_reconstruct)"
    r"|numpy\.(dtype|ndarray|dtypes\.\w+)|builtins\.(list|dict|tuple|int|float|str|bool|bytes|frozenset|slice|range)"
    r"|datetime\.\w+|typing\.\w+|omegaconf(\.\w+)+|uuid\.UUID|decimal\.Decimal|fractions\.Fraction"
)
_MAPPINGS = re.compile(
    r"collections\.defaultdict|(pytorch_lightning|lightning|lightning_fabric)(\.\w+)*\.AttributeDict|easydict\.EasyDict"
    r"|addict(\.\w+)*\.Dict|yacs\.config\.CfgNode|mm\w+(\.\w+)*\.ConfigDict"
)
# So many come before the numbers in a file that is no archive.
_PICKLES = 5
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "C64": torch.complex64, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


class _Inert:
    """Stands for an object that nothing is made of."""

    def __init__(self, *_arguments: object) -> None: ...

    def __setstate__(self, _state: object) -> None: ...


class _Mapping:
    """Stands for a mapping of another class: what is in it may be tensors."""

    def __new__(cls, *_arguments: object) -> Any:
        return OrderedDict()


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file: nested mappings of tensors and other values; `name` is the file's, without the folder."""

    name: str
    content: object
    metadata: Mapping[str, str]


def is_file(wanted: str, path: Path) -> bool:
    """Return whether an argument means a file of weights, at this path, rather than published weights."""
    return wanted.lower().endswith(_ENDINGS) or bool({"/", os.sep} & {*wanted}) or exists(path)


def exists(path: Path) -> bool:
    """Return whether an ordinary file is at a path, whatever the path contains."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read(path: Path) -> Checkpoint:
    """Return the content of a file of weights; on the meta device its tensors have shapes only.

    Raises InputError if it is missing, damaged, or holds objects.
    """
    if not exists(path):
        message = f"there is no weights file '{path.name}'"
        raise InputError(Finding("E304", message, None, f"in {path.parent.absolute()}"))
    try:
        if _is_safetensors(path):
            return _safetensors(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Checkpoint(path.name, _pickled(path), {})
    except SafetensorError as error:
        raise InputError(Finding("E306", f"'{path.name}' is not a safetensors file", None, _first(error))) from None
    except InputError:
        raise
    except Exception as error:  # what is wrong with a file may raise anything
        raise InputError(Finding("E306", f"'{path.name}' can't be read", None, _first(error), _ALONE)) from None


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() == ".safetensors" or file.read(9)[8:] == b"{"


def _safetensors(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        one = _shaped if on_meta_device() else type(file).get_tensor
        tensors = {name: one(file, name) for name in file.keys()}  # noqa: SIM118
        return Checkpoint(path.name, tensors, dict(file.metadata() or {}))


def _shaped(file: Any, name: str) -> Tensor:
    """A tensor of the shape and type that the file's header gives; its content is not read."""
    about = file.get_slice(name)
    # Types that PyTorch has no name for are refused like other types.
    return torch.empty(about.get_shape(), dtype=_DTYPES.get(about.get_dtype(), torch.uint8), device="meta")


def _pickled(path: Path) -> object:
    """Return what torch.save wrote."""
    zipped = zipfile.is_zipfile(path)
    if not zipped and tarfile.is_tarfile(path):
        raise ValueError("it is of the tar format that PyTorch wrote before version 0.2")
    with path.open("rb") as file:
        names = _names_in_archive(file) if zipped else _names(file, _PICKLES)
    unknown = sorted(
        name for name in names if not any(known.fullmatch(name) for known in (_TENSORS, _INERT, _MAPPINGS))
    )
    if unknown:
        label = f"it holds {listing(unknown, limit=4)}, and loading it would run code"
        raise InputError(Finding("E306", f"'{path.name}' is refused", None, label, _ALONE))
    inert: list[Any] = [(_Inert, name) for name in names if _INERT.fullmatch(name)]
    inert += [(_Mapping, name) for name in names if _MAPPINGS.fullmatch(name)]
    with torch.serialization.safe_globals([*inert, _Inert, _Mapping]), torch.device("cpu"):
        # Mapped, so that tensors which are not wanted are not read.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped or None)


def _names_in_archive(file: BinaryIO) -> set[str]:
    """The classes and functions that an archive names. Raises ValueError where it holds more than it is long."""
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        if any("/code/" in record.filename for record in records):
            raise ValueError("it is a module of torch.jit, with code")
        packed = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise ValueError(f"its {packed[0]} is compressed, as torch.save does not write it")
        size = file.seek(0, os.SEEK_END)
        if sum(record.file_size for record in records) > size:
            raise ValueError("its parts overlap")
        pickles = [record for record in records if record.filename.endswith("data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it is an archive, but not of torch.save")
        with archive.open(pickles[0]) as content:
            return _names(content, 1)


def _names(file: Any, number: int) -> set[str]:
    """The classes and functions that some pickles, one after the other, name.

    Raises ValueError where text is encoded in another way than bytes are written: once more each time, little would
    become much.
    """
    names: set[str] = set()
    for _ in range(number):
        memo: dict[int, object] = {}
        last: object = None
        step = 0
        for opcode, argument, _position in pickletools.genops(file):
            word = opcode.name
            if word in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
                memo[int(argument) if argument is not None else len(memo)] = last
                continue
            last = memo.get(int(argument or 0)) if word in ("BINGET", "LONG_BINGET", "GET") else (word, argument)
            if word in ("GLOBAL", "STACK_GLOBAL", "INST"):
                name = str(argument or "an object by a name that is computed").replace(" ", ".", 1)
                names.add(re.sub(r"^__builtin__\.", "builtins.", name))
            if step and not _ENCODING[step - 1](last):
                raise ValueError("its bytes are not written as torch.save writes them")
            step = (step + 1) % (len(_ENCODING) + 1) if step or last == ("GLOBAL", "_codecs encode") else 0
    return names


# The opcodes after the function that makes bytes of text, as torch.save writes them.
_ENCODING: tuple[Callable[[Any], bool], ...] = (
    lambda pushed: isinstance(pushed, tuple) and "UNICODE" in pushed[0],
    lambda pushed: isinstance(pushed, tuple) and pushed[1] == "latin1",
    lambda pushed: pushed == ("TUPLE2", None),
    lambda pushed: pushed == ("REDUCE", None),
)
