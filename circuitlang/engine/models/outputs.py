"""Find the outputs of a network, and the one that holds its classes."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import fx

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing

# Results that are nested deeper than this are not looked into.
_DEPTH = 16


@dataclass(frozen=True)
class Place:
    """An entry of a tuple, list, mapping or dataclass: its number there, and its name, which may be that number."""

    number: int
    name: str


@dataclass(frozen=True)
class Output:
    """A tensor in a network's result: the places that lead to it, the step that makes it, and its shape."""

    path: tuple[Place, ...]
    node: fx.Node

    @property
    def name(self) -> str:
        """The names on the way, `logits` or `1.logits`; empty where the result is one tensor."""
        return ".".join(place.name for place in self.path)

    def __str__(self) -> str:
        shape = self.node.meta.get("shape")
        size = " x ".join(["N", *map(str, shape[1:])]) if shape else "no tensor"
        number = f"{self.path[0].number}: " if self.path and self.name != str(self.path[0].number) else ""
        return f"{number}{self.name} ({size})"


def outputs(module: fx.GraphModule) -> tuple[Output, ...]:
    """Every tensor in the result of a traced network that depends on the image, in the order of the result."""
    *_, last = module.graph.nodes
    leaves = tuple(_within(last.args[0], ()))
    return tuple(output for output in leaves if "value" not in output.node.meta) or leaves


def unpacked(module: fx.GraphModule) -> bool:
    """Give each entry of a tuple that one step gives, such as a chunk, a step of its own in the result.

    Steps know the number of their entries (`meta["entries"]`). Returns whether there were any.
    """
    *_, last = module.graph.nodes
    tuples = [node for node in last.all_input_nodes if "entries" in node.meta and not isinstance(node.target, type)]
    parts: dict[fx.Node, Any] = {}
    with module.graph.inserting_before(last):
        for node in tuples:
            numbers = range(node.meta["entries"])
            parts[node] = tuple(module.graph.call_function(operator.getitem, (node, number)) for number in numbers)
    last.args = fx.node.map_arg(last.args, lambda node: parts.get(node, node))
    module.recompile()
    return bool(tuples)


def choose(outputs: Sequence[Output], wanted: int | str | None) -> Output:
    """The output of a number or name, or the only one there is. Raises InputError where it can't be told, naming all
    there are."""
    if not outputs:
        raise InputError(Finding("E308", "the network gives no tensor", None, "its result has no classes"))
    chosen = list(outputs) if wanted is None else list(_matching(outputs, wanted))
    if len({output.node for output in chosen}) == 1:
        return chosen[0]
    label = f"they are {listing([str(output) for output in chosen or outputs])}"
    if wanted is None:
        message = f"the network gives {len(outputs)} tensors, and which of them has the classes is not said"
    elif chosen:
        message = f"output={_written(wanted)} is more than one tensor"
    else:
        message = f"the network has no output {_written(wanted)}"
        if len(outputs) == 1 and not outputs[0].path:
            label = "it gives one tensor"
    names = [output.name for output in outputs if output.name]
    example = next(
        (output.path[0].number if output.name.isdecimal() else output.name for output in chosen or outputs), 0
    )
    cure = f"add its number or name to the model statement, as output={_written(example)}"
    if wanted is not None and not names:
        cure = "leave output= away"
    guess = did_you_mean(wanted, names, cure) if isinstance(wanted, str) else cure
    raise InputError(Finding("E314", message, None, label, guess))


def _matching(outputs: Sequence[Output], wanted: int | str) -> Iterator[Output]:
    """Outputs below the entry of a number; those of a whole name, or else those that it is the end or beginning of."""
    if isinstance(wanted, int):
        single = [output for output in outputs if not output.path and wanted == 0 and not isinstance(wanted, bool)]
        yield from single or (output for output in outputs if output.path and output.path[0].number == wanted)
        return
    whole = [output for output in outputs if output.name == wanted and output.path]
    ends = [output for output in outputs if output.name.endswith(f".{wanted}")]
    yield from whole or ends or (output for output in outputs if output.name.startswith(f"{wanted}."))


def _written(value: int | str) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _within(value: Any, path: tuple[Place, ...]) -> Iterator[Output]:
    """The tensors of a result in order."""
    if len(path) > _DEPTH:
        return
    if isinstance(value, fx.Node):
        entries = _of_call(value)
        if entries is None:
            yield Output(path, value)
            return
    elif isinstance(value, Mapping):
        entries = {str(name): output for name, output in value.items()}
    elif isinstance(value, (tuple, list)):
        names = getattr(value, "_fields", map(str, range(len(value))))
        entries = dict(zip(names, value, strict=True))
    else:
        return
    for number, (name, output) in enumerate(entries.items()):
        yield from _within(output, (*path, Place(number, name)))


def _of_call(node: fx.Node) -> Mapping[str, Any] | None:
    """Return the arguments of a dataclass or named tuple as tracing records them; None for any other node."""
    if node.op != "call_function" or not isinstance(node.target, type):
        return None
    names = [field.name for field in fields(node.target)] if is_dataclass(node.target) else []
    names = [*names, *getattr(node.target, "_fields", ())]
    arguments = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    return {name: arguments.get(name) for name in names} if names else None
