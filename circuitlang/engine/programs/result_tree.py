"""Read the nesting of an exported program's result as data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

# The name of a tensor, or a tuple or mapping of such; None where a value is no tensor.
Tree = Any
# A tree that is nested deeper, or of longer names, is no network's.
_DEPTH = 16
_NAME = re.compile(r"[\w .:/-]{1,80}")


class _Spec(msgspec.Struct):
    """A node of PyTorch's own description of a result: its class by name, what that adds, and the entries."""

    type: str | None
    context: str | None
    children_spec: list[Any]


def result_tree(specs: Sequence[Mapping[str, Any]], described: str) -> Tree:
    """The names of the tensors that a program gives, nested as in the result of the network that was exported.

    `specs` are the program's output specs, `described` PyTorch's description of the result. Without a description that
    fits, the tensors are one after the other. No class that the description names is imported.
    """
    names = [_tensor(spec["user_output"]) for spec in specs if "user_output" in spec]
    try:
        _, root = msgspec.json.decode(described, type=tuple[int, Any])
        rest = iter(names)
        tree = _nested(root, rest, 0)
        if next(rest, rest) is rest:
            return tree
    except (msgspec.MsgspecError, ValueError, TypeError):
        pass
    return names[0] if len(names) == 1 else tuple(names)


def _tensor(spec: Mapping[str, Any]) -> str | None:
    tensor = spec["arg"].get("as_tensor")
    return str(tensor["name"]) if tensor is not None else None


def _nested(described: Any, names: Iterator[str | None], depth: int) -> Tree:
    """The next names, nested as is described. Raises ValueError where there are too few."""
    if depth > _DEPTH:
        raise ValueError("nested too deeply")
    spec = msgspec.convert(described, _Spec)
    if spec.type is None:
        try:
            return next(names)
        except StopIteration:
            raise ValueError("too few tensors") from None
    entries = [_nested(child, names, depth + 1) for child in spec.children_spec]
    words = _words(spec.context, len(entries))
    return dict(zip(words, entries, strict=True)) if words else tuple(entries)


def _words(context: str | None, number: int) -> list[str]:
    """Return the names of a mapping's or dataclass's entries; none if the entries have numbers only."""
    try:
        content = msgspec.json.decode(context or "null")
    except msgspec.DecodeError:
        return []
    if isinstance(content, list) and len(content) == 2 and isinstance(content[0], list) and len(content[0]) == number:
        # A dataclass: the names of its fields, and of those that hold nothing.
        content = content[0]
    if not isinstance(content, list) or len(content) != number or len({*map(str, content)}) != number:
        return []
    words = [str(word) for word in content]
    return words if all(_NAME.fullmatch(word) for word in words) else []
