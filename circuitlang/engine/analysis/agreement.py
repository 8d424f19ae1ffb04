"""Finished circuits → how much of each other they are: in kernels, and in what they answer to images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import combinations

import torch
from torch import Tensor, nn

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.evaluation.fidelity import measure
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.plan.clauses import claims, details
from circuitlang.results.comparison import Agreement, Comparison, Member, Pair
from circuitlang.results.comparison_folders import identity
from circuitlang.results.overlap import kept, merged, overlap
from circuitlang.results.types import Result, Summary

# The metrics that say the same whichever of two maps comes first.
SYMMETRIC = ("pearson", "pearson_demeaned", "spearman")


@dataclass(frozen=True)
class Side:
    """A finished circuit with what its maps are made of: its module, read when it is asked for, and the images that
    it was found on and judged by; `lacks` says why these aren't there."""

    name: str
    result: Result
    read: Callable[[], nn.Module]
    train: ImageSet | None = None
    test: ImageSet | None = None
    lacks: str = ""

    @cached_property
    def module(self) -> nn.Module:
        """The circuit as a network of its own."""
        return self.read()


def compare(sides: Sequence[Side]) -> Comparison:
    """Every pair of some circuits. Raises InputError where they are not all of one network."""
    summaries = [side.result.summary for side in sides]
    if refused := _other_networks(sides):
        raise InputError(refused)
    # Overlap of single weights with whole kernels is counted in kernels.
    single = all(summary.plan.structure == "weight" for summary in summaries)
    mine = [kept(side.result, kernels=not single) for side in sides]
    answers = _Answers(sides)
    pairs = []
    for first, second in combinations(range(len(sides)), 2):
        agreement, silent = answers.agreement(first, second)
        shared = overlap(mine[first], mine[second])
        pairs.append(Pair(first=first, second=second, overlap=shared, agreement=agreement, silent=silent))
    names = {layer.path: layer.name for summary in summaries for layer in summary.layers}
    order: list[str] = reduce(merged, ([layer.path for layer in summary.layers] for summary in summaries), [])
    return Comparison(
        identity=identity([side.name for side in sides], summaries),
        model=summaries[0].model.name,
        noun="weight" if single else "kernel",
        members=[_member(side.name, side.result.summary) for side in sides],
        layers={path: names[path] for path in order},
        pairs=pairs,
    )


def _other_networks(sides: Sequence[Side]) -> list[Finding]:
    first = sides[0]
    message = "{} is a circuit of another network than {}"
    cure = "compare circuits that were found in the same network, with the same weights"
    return [
        Finding("E353", message.format(side.name, first.name), None, _apart(first.result, side.result), cure)
        for side in sides
        if side.result.summary.provenance.weights != first.result.summary.provenance.weights
    ]


def _apart(first: Result, other: Result) -> str:
    ours, theirs = (
        f"{circuit.summary.model}, weights {circuit.summary.provenance.weights[:12]}" for circuit in (first, other)
    )
    return f"{theirs}; the other: {ours}"


def _member(name: str, summary: Summary) -> Member:
    plan, judged = summary.plan, summary.judged
    parts = [str(plan.criterion), f"ablation {plan.ablation}"]
    parts += claims(plan) + details(plan)
    return Member(
        name=name,
        target=str(plan.target),
        images=plan.images,
        how=", ".join(parts),
        noun=summary.noun,
        relevant=summary.relevant,
        zero=sum(layer.zero for layer in summary.layers),
        kept=summary.kept,
        effective=summary.effective,
        pearson=judged.metrics.get("pearson"),
        where="held out" if summary.test else "in-sample",
    )


class _Answers:
    """The responses of circuits to images, computed once for each circuit and set of images."""

    def __init__(self, sides: Sequence[Side]) -> None:
        self._sides = sides
        self._known: dict[tuple[int, str], Tensor] = {}

    def agreement(self, first: int, second: int) -> tuple[Agreement | None, str]:
        """Return how alike the maps of two circuits are, or why that can't be said."""
        sides = self._sides[first], self._sides[second]
        for side in sides:
            if side.lacks:
                return None, side.lacks
            if not side.result.summary.effective:
                return None, f"{side.name} has collapsed: it answers every image with the same map"
        number, held_out = _pictures(*sides)
        if number is None:
            return None, "their images are not prepared in the same way"
        a, b = self._maps(first, number), self._maps(second, number)
        if a.shape != b.shape:
            shapes = " and ".join(" x ".join(map(str, tensor.shape[1:])) or "single" for tensor in (a, b))
            return None, f"they are of different shapes, {shapes}"
        measured = measure(a.flatten(1), b.flatten(1), seed=0)
        return Agreement(
            pictures=len(number),
            held_out=held_out,
            metrics={name: value for name, value in measured.metrics.items() if name in SYMMETRIC},
            intervals={name: value for name, value in measured.intervals.items() if name in SYMMETRIC},
        ), ""

    def _maps(self, number: int, images: ImageSet) -> Tensor:
        """The circuit's maps of every image, float64 [images, maps, h, w]."""
        key = number, images.digest
        if key not in self._known:
            module, label = self._sides[number].module.to(images.device), f"maps of {self._sides[number].name}"
            with torch.no_grad():
                self._known[key] = torch.cat([module(batch).double().cpu() for batch in images.batches(label)])
        return self._known[key]


def _pictures(first: Side, second: Side) -> tuple[ImageSet | None, bool]:
    """Return the images that two circuits are compared on: those that one is judged by and neither was found on; where
    there are none, all that they are judged by. None where the two look at images differently."""
    judged = [images for side in (first, second) if (images := side.test or side.train)]
    seen = {image for side in (first, second) if side.train for image in side.train.contents}
    if judged[0].preprocess != judged[-1].preprocess:
        return None, False
    if judged[0].transforms != judged[-1].transforms and not all(images.prepared for images in judged):
        # Read again, one set would be transformed as the other.
        return None, False
    every = reduce(_both, judged)
    out = [number for number, image in enumerate(every.contents) if image not in seen]
    return (every.take(out), True) if out else (every, False)


def _both(first: ImageSet, second: ImageSet) -> ImageSet:
    """Two sets as one, without what the second repeats."""
    known = set(first.digests)
    more = second.take([number for number, image in enumerate(second.digests) if image not in known])
    if not len(more):
        return first
    prepared = first.prepared + more.prepared if first.prepared and more.prepared else ()
    return replace(
        first,
        paths=first.paths + more.paths,
        digests=first.digests + more.digests,
        prepared=prepared,
        files=first.contents + more.contents,
    )
