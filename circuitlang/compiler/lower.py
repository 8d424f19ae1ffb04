"""Program → plan: plain values, every circuit with a name of its own, derived from what it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from circuitlang.compiler import plan as to
from circuitlang.compiler import program as of
from circuitlang.source import Span


def lower(program: of.Program) -> tuple[to.Plan, to.Origins]:
    """The plan of a program, and the words each of its values came from."""
    sets: dict[str, to.Images] = {}
    circuits: list[to.Circuit] = []
    origins: dict[to.Key, Span] = {}
    names = _names(program.circuits)
    for asked, name in zip(program.circuits, names, strict=True):
        images, test = _image_set(asked.images, sets), _image_set(asked.test, sets) if asked.test else None
        for key, used in ((images, asked.images), (test, asked.test)):
            if key is not None and used is not None:
                origins.setdefault(("images", key), used.span)
        circuits.append(
            to.Circuit(
                id=name,
                target=to.Target(asked.layer, asked.unit),
                images=images,
                test=test,
                holdout=asked.holdout,
                size=_size(asked.size),
                criterion=to.Choice(asked.criterion.name, dict(asked.criterion.parameters)),
                ablation=to.Choice(asked.ablation.name, dict(asked.ablation.parameters)),
                seed=asked.seed,
                statement=asked.span.text,
            )
        )
        origins["circuits", name] = asked.span
        origins["circuits", name, "target", "layer"] = asked.layer_span
        origins["circuits", name, "target", "unit"] = asked.unit_span
        origins["circuits", name, "size"] = asked.size_span
    model = program.model
    if model.span is not None:
        origins["model",] = model.span
    arguments = {word: list(v) if isinstance(v, tuple) else v for word, v in model.arguments.items()}
    lowered = to.Plan(
        base=str(program.source.folder),
        model=to.Model(model.source, model.name, arguments),
        images=sets,
        circuits=circuits,
    )
    return lowered, origins


def _size(size: of.Sparsity | of.Kernels) -> to.Sparsity | to.Kernels:
    return to.Sparsity(size.fraction) if isinstance(size, of.Sparsity) else to.Kernels(size.count)


def _image_set(used: of.ImageSet, sets: dict[str, to.Images]) -> str:
    """The name under which a set stands in the plan; two sets never share one."""
    images = to.Images(list(used.include), list(used.exclude), used.limit, used.seed)
    name = used.name
    while sets.setdefault(name, images) != images:
        name += "'"
    return name


# What tells circuits apart, in the order in which it is worth saying.
_MARKS: tuple[Callable[[of.Preserve], str], ...] = (
    lambda asked: f"{asked.layer}_{asked.unit}",
    lambda asked: _choice(asked.criterion),
    lambda asked: f"{asked.size.fraction:g}" if isinstance(asked.size, of.Sparsity) else f"{asked.size.count}kernels",
    lambda asked: "" if asked.ablation.name == "zero" else _choice(asked.ablation),
    lambda asked: asked.images.name,
    lambda asked: f"seed{asked.seed}",
    lambda asked: f"holdout{asked.holdout:g}",
    lambda asked: f"test_{asked.test.name}" if asked.test else "",
    lambda asked: "_".join(f"{word}{value}" for word, value in asked.criterion.parameters.items()),
)
_ALWAYS = 4


def _names(circuits: tuple[of.Preserve, ...]) -> list[str]:
    """A file name for each circuit: the one it was given, or its values, as many as it takes to be unique."""
    marks = [[_slug(mark(asked)) for mark in _MARKS] for asked in circuits]
    for count in range(_ALWAYS, len(_MARKS) + 1):
        names = [
            asked.name or "-".join(filter(None, parts[:count])) for asked, parts in zip(circuits, marks, strict=True)
        ]
        if len(set(names)) == len(names):
            return names
    taken: Counter[str] = Counter()
    for index, name in enumerate(names):
        taken[name] += 1
        names[index] = name if taken[name] == 1 else f"{name}-{taken[name]}"
    return names


def _choice(choice: of.Choice) -> str:
    return choice.name


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("_.")
