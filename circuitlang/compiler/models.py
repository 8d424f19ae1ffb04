"""Words → models: the source of a network, its name and its arguments."""

from __future__ import annotations

from circuitlang.base.diagnostics import Finding, SpecError, did_you_mean, listing
from circuitlang.compiler import syntax, values
from circuitlang.compiler.hub_addresses import check_single, refuse_address
from circuitlang.compiler.vocabulary import Vocabulary
from circuitlang.plan import preprocessing
from circuitlang.plan.model import Argument, Model
from circuitlang.plugins.registry import Value

# Arguments of other libraries that are chosen elsewhere.
_ELSEWHERE = {
    "pretrained": "published weights are the default; weights=none has none, and weights=NAME chooses others",
    "device": "an option of the command line: run --device NAME",
}
# A model of each source that comes with the program, as it is written.
_OF_SOURCES = {
    "bundled": "bundled.doodle, or no model statement, which means that network",
    "file": 'file("net.pt2")',
    "python": 'python("net.py:build")',
    "timm": "timm.resnet18",
    "torchvision": "resnet18",
}


def read_model(statement: syntax.Model, vocabulary: Vocabulary) -> Model:
    """`NAME(...)` of torchvision, `SOURCE.NAME(...)`, or `SOURCE("what", ...)`. Raises SpecError."""
    call = statement.call
    prefix, _, rest = call.name.text.partition(".")
    arguments = list(call.arguments)
    source, name = (prefix, rest) if rest else ("torchvision", prefix)
    if not rest and prefix in vocabulary.models and arguments and isinstance(arguments[0], syntax.String):
        program = arguments.pop(0)
        source, name = prefix, program.text  # type: ignore[union-attr]
        if source == "python":
            refuse_address(name, program, "code")
        check_single(name, program)
    if source not in vocabulary.models:
        sources = sorted(vocabulary.models)
        label = f"models come from {listing(sources)}"
        cure = did_you_mean(source, sources, _another_source(call.name.text))
        raise SpecError(Finding("E109", f"unknown model source '{source}'", call.name.span, label, cure))
    if not rest and name in vocabulary.models:
        label = "a source of models, and none of them"
        cure = f"write model {_OF_SOURCES.get(name, name + '.NAME')}"
        raise SpecError(Finding("E109", f"'{name}' names no model", call.name.span, label, cure))
    read: dict[str, Argument] = {}
    for argument in arguments:
        if not isinstance(argument, syntax.Keyword):
            raise SpecError(Finding("E202", "a parameter needs its name", argument.span, "NAME=value"))
        key = argument.name.text
        if key in read:
            raise SpecError(Finding("E206", f"'{key}' is given twice", argument.span))
        if source in ("torchvision", "timm") and key in _ELSEWHERE:
            label = "this is no argument of the network"
            raise SpecError(Finding("E105", f"unknown parameter '{key}'", argument.span, label, _ELSEWHERE[key]))
        read[key] = _model_argument(key, argument.value)
    model = Model(source, name, read)
    # The layers of a model that was looked at before are known: it exists.
    if model.key not in vocabulary.layers and (names := vocabulary.names(source)) and name not in names:
        others = "write model bundled.doodle" if name == "doodle" else "`circuitlang models` lists them"
        cure = did_you_mean(name, names, others)
        raise SpecError(Finding("E109", f"{source} has no model '{name}'", call.name.span, "", cure))
    return model


def _another_source(name: str) -> str:
    """Return a cure for a model of an unknown source, which may be a file or a module."""
    ending = name.rpartition(".")[2]
    if ending in ("pt", "pth", "safetensors", "ckpt"):
        return f'weights belong to a network: write model resnet18(weights="{name}")'
    return f'write model python("{name}")' if ending == "py" else "write model NAME, or model SOURCE.NAME"


def _model_argument(key: str, node: syntax.Value) -> Argument:
    """An argument of a model: circuitlang's own as it must be, a builder's with `none` for nothing."""
    if key == "weights":
        # A source of weights is a word, and `none` is one of them.
        value = values.scalar(node)
        if isinstance(value, str):
            check_single(value, node)
        return value
    if key == "output":
        if isinstance(node, syntax.Number):
            return values.whole(node, 0)
        if not isinstance(node, (syntax.Name, syntax.String)):
            raise values.wrong(node, "the number or name of an output", "as output=1")
        return node.text
    if key == "state":
        if not isinstance(node, (syntax.Name, syntax.String, syntax.Path)):
            raise values.wrong(node, "the name of a state dict in the weights file", 'as state="ema"')
        return node.text
    if key in preprocessing.LISTS:
        items = node.items if isinstance(node, syntax.List) else ()
        if not items:
            raise values.wrong(node, "a number for each channel of the images", f"write {key}=[0.5, 0.5, 0.5]")
        numbers: list[Value | None] = [values.number(item) for item in items]
        if expected := preprocessing.unsuitable(key, numbers):
            raise SpecError(Finding("E203", f"{key} is out of range", node.span, expected))
        return numbers
    if key in preprocessing.HIGHEST:
        return values.whole(node, 1, preprocessing.HIGHEST[key])
    if isinstance(node, syntax.List):
        return [None if values.nothing(item) else values.scalar(item) for item in node.items]
    return None if values.nothing(node) else values.scalar(node)
