"""Program → plan: plain values, every circuit with a name of its own, derived from what it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import PurePath

from circuitlang.base.source import Span
from circuitlang.compiler import program as of
from circuitlang.plan import model as to


def lower(program: of.Program) -> tuple[to.Plan, to.Origins]:
    """The plan of a program, and the words each of its values came from."""
    sets: dict[str, to.Images] = {}
    origins: dict[to.Key, Span] = {}
    ids = dict(zip(map(id, program.circuits), _names(program.circuits), strict=True))
    circuits = []
    for asked in program.circuits:
        images, test = _image_set(asked.images, sets), _image_set(asked.test, sets) if asked.test else None
        contrast = _image_set(asked.contrast, sets) if asked.contrast else None
        for key, used in ((images, asked.images), (test, asked.test), (contrast, asked.contrast)):
            if key is not None and used is not None:
                origins.setdefault(("images", key), used.span)
        circuits.append(_circuit(asked, ids[id(asked)], images, test, contrast))
        at = ids[id(asked)]
        origins["circuits", at] = asked.span
        origins["circuits", at, "target", "layer"] = asked.target.layer_span
        origins["circuits", at, "target", "unit"] = asked.target.unit_span
        origins.update({("circuits", at, word): span for word, span in asked.given.items()})
    model = program.model
    if model.span is not None:
        origins["model",] = model.span
    for number, comparison in enumerate(program.comparisons):
        origins["comparisons", str(number)] = comparison.span
    for number, expected in enumerate(program.expectations):
        origins["expectations", str(number)] = expected.span
    arguments = {word: list(v) if isinstance(v, tuple) else v for word, v in model.arguments.items()}
    lowered = to.Plan(
        base=str(program.source.folder),
        model=to.Model(model.source, model.name, arguments),
        images=sets,
        circuits=circuits,
        comparisons=[[ids[id(each)] for each in comparison.circuits] for comparison in program.comparisons],
        expectations=[
            to.Expectation([ids[id(each)] for each in wanted.circuits], wanted.measure, wanted.relation, wanted.value)
            for wanted in program.expectations
        ],
    )
    return lowered, origins


# Letters of what every circuit of a plan repeats: its statement, and the names of its pictures.
_LONGEST = 1000
# What a circuit's values are called in the plan, and by which clauses they are given.
_CLAUSES = ("size", "criterion", "ablation", "calibrate", "refill", "structure", "holdout", "seed")


def _circuit(asked: of.Preserve, name: str, images: str, test: str | None, contrast: str | None) -> to.Circuit:
    given = {"size" if word in ("sparsity", "kernels") else word: _line(span) for word, span in asked.given.items()}
    origin = {"circuit": _line(asked.span), **{word: given.get(word, "default") for word in _CLAUSES}}
    if asked.size is None:
        del origin["size"]
    return to.Circuit(
        id=name,
        name=asked.name or "",
        values=dict(asked.values),
        target=_target(asked.target),
        images=images,
        test=test,
        contrast=contrast,
        holdout=asked.holdout,
        size=_size(asked.size),
        bounds=[to.Bound(each.metric, each.sample, each.relation, each.value) for each in asked.bounds],
        criterion=to.Choice(asked.criterion.name, dict(asked.criterion.parameters)),
        ablation=to.Choice(asked.ablation.name, dict(asked.ablation.parameters)),
        calibrate=asked.calibrate,
        refill=asked.refill,
        structure=asked.structure,
        seed=asked.seed,
        into=asked.into,
        statement=text if len(text := asked.span.text) <= _LONGEST else f"{text[:_LONGEST]}…",
        origin=origin,
    )


def _target(target: of.Target) -> to.Target:
    match target:
        case of.Channel():
            return to.Channel(target.layer, target.unit, target.position)
        case of.Joint():
            return to.Joint(target.layer, list(target.units), target.position)
        case of.Direction():
            return to.Direction(target.layer, [to.Term(unit, times) for unit, times in target.terms], target.position)
        case of.ClassOutput():
            return to.ClassOutput(target.label)


def _line(span: Span) -> str:
    """`file:line`, without the folder: a plan says the same on every machine."""
    return f"{PurePath(span.source.name).name}:{span.source.position(span.start)[0]}"


def _size(size: of.Sparsity | of.Kernels | None) -> to.Sparsity | to.Kernels | None:
    match size:
        case of.Sparsity(fraction=fraction):
            return to.Sparsity(fraction)
        case of.Kernels(count=count):
            return to.Kernels(count)
    return None


def _image_set(used: of.ImageSet, sets: dict[str, to.Images]) -> str:
    """The name under which a set stands in the plan; two sets never share one."""
    exceptions = [patterns[0] if len(patterns) == 1 else list(patterns) for patterns in used.exclude]
    images = to.Images(list(used.include), exceptions, used.limit, used.seed)
    name = used.name
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}… {to.digest(name.encode(errors='surrogatepass'))[:8]}"
    while sets.setdefault(name, images) != images:
        name += "'"
    return name


# What tells circuits apart, in the order in which it is worth saying.
_MARKS: tuple[Callable[[of.Preserve], str], ...] = (
    lambda asked: str(_target(asked.target)),
    lambda asked: f"into_{asked.into}" if asked.into else "",
    lambda asked: asked.criterion.name,
    lambda asked: _amount(asked),
    lambda asked: "" if asked.ablation.name == "zero" else asked.ablation.name,
    lambda asked: "" if asked.calibrate == "none" else f"calibrated_{asked.calibrate}",
    lambda asked: "" if asked.structure == "kernel" else asked.structure,
    lambda asked: "" if asked.refill == "live" else f"refill_{asked.refill}",
    lambda asked: f"contrast_{asked.contrast.name}" if asked.contrast else "",
    lambda asked: asked.images.name,
    lambda asked: f"seed{asked.seed}",
    lambda asked: f"holdout{asked.holdout:g}",
    lambda asked: f"test_{asked.test.name}" if asked.test else "",
    lambda asked: "_".join(f"{word}{value}" for word, value in asked.criterion.parameters),
)
_ALWAYS = 9


def _amount(asked: of.Preserve) -> str:
    match asked.size:
        case of.Sparsity(fraction=fraction):
            return f"{fraction:g}"
        case of.Kernels(count=count):
            return f"{count}kernels"
    return "_".join(f"{bound.metric}{bound.value:g}" for bound in asked.bounds)


def _names(circuits: tuple[of.Preserve, ...]) -> list[str]:
    """A file name for each circuit: the one it was given with what tells the members of its sweep apart, or its
    values, as many as it takes to be unique."""
    marks = [[_slug(mark(asked)) for mark in _MARKS] for asked in circuits]
    names: list[str] = []
    for count in range(_ALWAYS, len(_MARKS) + 1):
        names = [
            "-".join([asked.name, *(_slug(value) for _, value in asked.values)])
            if asked.name
            else "-".join(filter(None, parts[:count]))
            for asked, parts in zip(circuits, marks, strict=True)
        ]
        if len(set(names)) == len(names):
            return names
    taken: Counter[str] = Counter()
    for index, name in enumerate(names):
        taken[name] += 1
        names[index] = name if taken[name] == 1 else f"{name}-{taken[name]}"
    return names


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("_.")
