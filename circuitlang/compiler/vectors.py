"""Directions of a layer from files: `vector("sae.safetensors", key="decoder", row=17) in conv5`.

The numbers are read when a spec is compiled and become a part of its plan, so that a plan runs without the file and a
changed file is another target. Nothing in a file is run: safetensors, and `.npy` without pickled objects.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from circuitlang.base.deferred import np
from circuitlang.base.diagnostics import Finding, SpecError, did_you_mean, listing, reason
from circuitlang.base.plain_files import open_plain
from circuitlang.compiler import syntax, values
from circuitlang.compiler.hub_addresses import refuse_address
from circuitlang.compiler.limits import MOST, too_many
from circuitlang.plan.targets import Position, Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXAMPLE = 'as vector("sae.safetensors", key="decoder", row=17) in conv5'
_WORDS = ("key", "row", "column", "bias", "activation")
# Numbers of one direction: more channels than any layer has.
_LONGEST = 1_000_000


def vectors(call: syntax.Call, layer: str, position: Position) -> Iterator[Vector]:
    """Yield the directions of a file that a call stands for: one, or with `row=*` all of them. Raises SpecError."""
    path, words = _read_call(call)
    folder, at = call.span.source.folder, call.arguments[0]
    file = _file(folder / path, at)
    key = _key(file, words.get("key"), at)
    table = _tensor(file, key, words.get("key") or at)
    line = next((word for word in ("row", "column") if word in words), None)
    biases = _biases(file, words, table, line)
    rectified = _is_rectified(words)
    source = f"{path} {key}".strip()
    if line is None:
        if table.ndim != 1:
            label = f"{key or path} is {_size(table)}: it holds many"
            raise SpecError(Finding("E133", "which vector is meant?", at.span, label, "add row=0, column=0 or row=*"))
        numbers: Sequence[int] = [0]
        lines = table[None]
    elif table.ndim != 2:
        label = f"{key or path} is {_size(table)}"
        raise SpecError(Finding("E133", f"a {line} is one of a matrix", words[line].span, label, f"leave {line}= out"))
    else:
        lines = table if line == "row" else table.T
        numbers = _numbers(words[line], len(lines), line)
    if lines.shape[1] > _LONGEST:
        _refuse("the vector is too long", at, f"{lines.shape[1]:,} numbers", "")
    for number in numbers:
        content = base64.b64encode(np.ascontiguousarray(lines[number], "<f4").tobytes()).decode()
        place = {line: number} if line else {}
        bias = biases[number] if biases else 0.0
        try:
            yield Vector(layer, source, content, bias=bias, rectified=rectified, at=position, **place)
        except ValueError:
            label = f"{source} {line}={number}" if line else source
            _refuse("the vector is no direction", at, f"{label}: all of it is 0, or a number is not finite", "")


def _read_call(call: syntax.Call) -> tuple[str, Mapping[str, syntax.Value]]:
    """Return the path and the values of a call, by word."""
    if call.name.text != "vector":
        cure = did_you_mean(call.name.text, ["vector"], _EXAMPLE)
        raise SpecError(Finding("E133", f"'{call.name.text}' is no direction", call.name.span, "", cure))
    places = [argument for argument in call.arguments if not isinstance(argument, syntax.Keyword)]
    if len(places) != 1 or not isinstance(places[0], (syntax.String, syntax.Path)) or call.arguments[0] != places[0]:
        raise SpecError(Finding("E133", "a vector is one of a file", call.span, "first the file's path", _EXAMPLE))
    refuse_address(places[0].text, places[0], "the file of a vector")
    words: dict[str, syntax.Value] = {}
    for argument in call.arguments:
        if not isinstance(argument, syntax.Keyword):
            continue
        word = argument.name.text
        if word not in _WORDS:
            cure = did_you_mean(word, _WORDS, f"there are {listing(_WORDS)}")
            raise SpecError(Finding("E133", f"a vector has no '{word}'", argument.name.span, "", cure))
        if word in words or {word, *words} >= {"row", "column"}:
            raise SpecError(Finding("E133", "a vector is one row or one column", argument.span, "the second"))
        words[word] = argument.value
    return places[0].text, words


class _File:
    """Tensors of a file by name; an `.npy` file has one, whose name is empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numpy = path.suffix == ".npy"
        # A pipe or a device would be waited for.
        with open_plain(path.resolve()):
            pass
        self.names: tuple[str, ...] = ("",)
        if not self._numpy:
            from safetensors import safe_open

            with safe_open(path, framework="numpy") as file:
                self.names = tuple(file.keys())

    def tensor(self, name: str) -> NDArray[np.generic]:
        """Return a tensor. Raises anything that a damaged file makes its reader raise."""
        if self._numpy:
            return np.load(self._path, allow_pickle=False)  # type: ignore[no-any-return]
        from safetensors import safe_open

        with safe_open(self._path, framework="numpy") as file:
            return file.get_tensor(name)  # type: ignore[no-any-return]


def _file(path: Path, at: syntax.Node) -> _File:
    try:
        about = path.stat()
        return _opened(path, about.st_mtime_ns, about.st_size)
    except Exception as error:  # the readers of damaged files raise what they like
        cure = "a vector is read from a .safetensors or .npy file; the path is relative to the spec's folder"
        why = error.strerror or "" if isinstance(error, OSError) else reason(error)
        _refuse(f"can't read {path.name}", at, why, cure)


# A file of a spec that is edited is asked for at every letter.
@lru_cache(maxsize=8)
def _opened(path: Path, _changed: int, _size: int) -> _File:
    return _File(path)


@lru_cache(maxsize=2)
def _loaded(file: _File, name: str) -> NDArray[np.generic]:
    return file.tensor(name)


def _tensor(file: _File, name: str, at: syntax.Node) -> NDArray[np.generic]:
    try:
        tensor = _loaded(file, name)
    except Exception as error:  # as above
        _refuse(f"can't read {name or 'the file'}", at, reason(error), "")
    if tensor.dtype.kind not in "fiu" or tensor.ndim not in (1, 2) or tensor.size == 0:
        _refuse("this is no vector and no matrix of numbers", at, f"it is {_size(tensor)} of {tensor.dtype}", "")
    return tensor


def _key(file: _File, asked: syntax.Value | None, at: syntax.Node) -> str:
    if asked is None:
        if len(file.names) == 1:
            return file.names[0]
        _refuse("which tensor is meant?", at, f"the file has {listing(sorted(file.names))}", "add key=NAME")
    name = str(values.scalar(asked))
    if name not in file.names or not name:
        cure = did_you_mean(name, file.names, "an .npy file has one tensor, without a name")
        _refuse(f"the file has no tensor '{name}'", asked, f"it has {listing(sorted(file.names))}", cure)
    return name


def _biases(
    file: _File, words: Mapping[str, syntax.Value], table: NDArray[np.generic], line: str | None
) -> Sequence[float] | None:
    """Return what is added to each vector of a tensor, from another tensor of the file, or a number."""
    if "bias" not in words:
        return None
    node = words["bias"]
    count = 1 if line is None else table.shape[0 if line == "row" else 1]
    if isinstance(node, syntax.Number):
        return [values.number(node)] * count
    biases = _tensor(file, _key(file, node, node), node)
    if biases.shape != (count,):
        _refuse("there is not one bias for each vector", node, f"{_size(biases)} for {count:,} vectors", "")
    return [float(bias) for bias in biases.astype(np.float64)]


def _is_rectified(words: Mapping[str, syntax.Value]) -> bool:
    node = words.get("activation")
    word = "none" if node is None else values.scalar(node)
    if word not in ("none", "relu"):
        assert node is not None
        raise SpecError(Finding("E133", f"unknown activation '{word}'", node.span, "", "write relu or none"))
    return word == "relu"


def _numbers(node: syntax.Value, count: int, line: str) -> Sequence[int]:
    """Return the rows or columns that a value stands for."""
    nodes: Sequence[syntax.Value] = (node,)
    match node:
        case syntax.Path(text="*"):
            numbers: Sequence[int] = range(count)
            nodes = ()
        case syntax.List(items=items):
            nodes = items
        case syntax.Call(name=syntax.Name(text="each"), arguments=arguments):
            nodes = [argument for argument in arguments if not isinstance(argument, syntax.Keyword)]
        case _:
            pass
    if nodes:
        numbers = [number for part in nodes for number in _range(part, count, line)]
    if len(numbers) > MOST:
        raise too_many(node.span, f"{len(numbers):,} {line}s")
    return numbers


def _range(node: syntax.Value, count: int, line: str) -> Sequence[int]:
    ends = (node.first, node.last) if isinstance(node, syntax.Range) else (node, node)
    first, last = (values.whole(end, 0) for end in ends)
    if not first <= last < count:
        raise SpecError(Finding("E133", f"there is no {line} {last}", node.span, f"they are 0 to {count - 1:,}"))
    return range(first, last + 1)


def _size(tensor: NDArray[np.generic]) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _refuse(message: str, node: syntax.Node, label: str, cure: str) -> NoReturn:
    raise SpecError(Finding("E133", message, node.span, label, cure)) from None
