"""Plan → what it means: values that are equal wherever two plans ask for the same."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

import msgspec

from circuitlang.base.hub_address import is_on_hub
from circuitlang.plan.clauses import unsaid
from circuitlang.plan.edits import OfChannels
from circuitlang.plan.model import Bound, Circuit, Concept, Edit, Images, Plan, Target, digest
from circuitlang.plan.targets import concept_sets

# Keys of a circuit that say its name and where it was written.
_LABELS = ("id", "name", "values", "statement", "origin")


def pictures(images: Images) -> Images:
    """A set of images without what has no say: the order of exceptions, `./` in a pattern, a seed without a limit.

    The order of the patterns has one: it is that of the images, from which a limit draws.
    """
    return Images(
        [_plain(pattern) for pattern in images.include],
        sorted({_plain(pattern) for pattern in images.excluded}),
        images.limit,
        images.seed if images.limit is not None else 0,
        images.transforms or msgspec.UNSET,
    )


def target(sets: Mapping[str, Images], asked: Target) -> Target:
    """A target without the order of its channels; of a concept, with hashes of its image sets for their names."""
    if not isinstance(asked, Concept):
        return asked.normalized()
    of, against = (_digest(pictures(sets[name])) for name in concept_sets(asked))
    return msgspec.structs.replace(asked, images=of, against=against)


def _plain(pattern: str) -> str:
    return pattern if is_on_hub(pattern) else posixpath.normpath(pattern)


def circuit(sets: Mapping[str, Images], asked: Circuit) -> dict[str, Any]:
    """Return what a circuit asks for, by the keys of a plan, without its name and its place in a file."""
    said = {word: getattr(asked, word) for word in asked.__struct_fields__ if word not in _LABELS}
    return {word: None if value is msgspec.UNSET else value for word, value in said.items()} | {
        **{word: pictures(sets[name]) for word, name in asked.image_sets.items()},
        "within": None if asked.within is msgspec.UNSET else _digest(_said(sets, asked.within)),
        "also": [pictures(sets[name]) for name in asked.also],
        "target": target(sets, asked.target),
        "holdout": asked.holdout if asked.test is None else None,
        "bounds": sorted(asked.bounds, key=_bound),
    }


def edit(sets: Mapping[str, Images], asked: Edit) -> dict[str, Any]:
    """Return what an edit asks for, by the keys of a plan, without its name and its place in a file."""
    of = msgspec.structs.replace(asked.of, group="") if isinstance(asked.of, OfChannels) else asked.of
    if isinstance(of, OfChannels):
        of = msgspec.structs.replace(of, units=sorted(of.units))
    return {
        "of": of,
        "scale": asked.scale,
        "patch": pictures(sets[asked.patch]) if asked.patch is not None else None,
        "images": pictures(sets[asked.images]),
        "measure": sorted((target(sets, measured) for measured in asked.measure), key=str),
        "classes": asked.classes,
    }


def expectations(plan: Plan) -> list[tuple[str, str, str, float]]:
    """Return the expectations of single circuits (id, measure, relation, value) or edits, each once, sorted."""
    wanted = {
        (name, expectation.measure, expectation.relation, expectation.value)
        for expectation in plan.expectations
        for name in expectation.subjects
    }
    return sorted(wanted)


def comparisons(plan: Plan) -> list[tuple[str, ...]]:
    """The ids of the circuits that are compared; each comparison once, sorted."""
    return sorted({tuple(sorted(comparison)) for comparison in plan.comparisons})


def fingerprints(plan: Plan) -> dict[str, str]:
    """Return a hash of what each circuit means, without the model, by id."""
    return {asked.id: _digest(_said(plan.images, asked)) for asked in plan.circuits}


def fingerprint(plan: Plan) -> str:
    """A hash of what a plan means, the same for every text that means it, on every machine."""
    edits = [{asked.name: edit(plan.images, asked) for asked in plan.edited}] if plan.edited else []
    return _digest([plan.version, plan.model, fingerprints(plan), comparisons(plan), expectations(plan), *edits])


def _said(sets: Mapping[str, Images], asked: Circuit) -> dict[str, Any]:
    left_out = unsaid(asked)
    return {word: value for word, value in circuit(sets, asked).items() if word not in left_out}


def _bound(bound: Bound) -> tuple[str, str, str, float]:
    return bound.sample, bound.metric, bound.relation, bound.value


def _digest(value: Any) -> str:
    return digest(msgspec.json.encode(value, order="sorted"))
