"""The images of concepts: those that a probe is fitted on and those held out, without torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.base.versions import version
from circuitlang.engine.cache import tensor_cache
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.images.hashed_images import HashedImages
from circuitlang.plan.model import Concept, Plan, digest
from circuitlang.plan.targets import concept_sets

I = TypeVar("I", bound=HashedImages)  # noqa: E741

# The share that is held out of a probe where the circuit holds none out.
HELD_OUT = 0.2
# The least number of images on either side, and of those of them that a probe is fitted on.
FEWEST, FITTED = 5, 3


@dataclass(frozen=True)
class ConceptImages(Generic[I]):
    """The images of a concept and the others that it is told from, and for each whether it is held out of the probe."""

    sets: tuple[I, I]
    held_out: tuple[tuple[bool, ...], tuple[bool, ...]]

    @cached_property
    def digest(self) -> str:
        """A hash of the contents of all images, and of which are held out."""
        out = ("".join(".x"[flag] for flag in flags) for flags in self.held_out)
        parts = (f"{images.digest} {flags}" for images, flags in zip(self.sets, out, strict=True))
        return digest("\n".join(parts).encode())

    def counts(self, held_out: bool) -> tuple[int, int]:
        """Return how many images of either side are held out, or are not."""
        of, against = (flags.count(held_out) for flags in self.held_out)
        return of, against


def concept_images(
    target: Concept,
    sets: Mapping[str, tuple[I, list[str]]],
    holdout: float = HELD_OUT,
    seed: int = 0,
    judged: Collection[HashedImages | None] = (),
) -> ConceptImages[I]:
    """Return the images of a concept, from the images of each set.

    An image of both sets is one of the concept. Those held out are a share of either set, drawn as that of a circuit,
    and all that a circuit is judged by; a file is held out on both sides, however its images are transformed.
    """
    of = sets[target.images][0]
    sides = of, sets[target.against][0].without(of.digests)
    drawn = [side.split(holdout or HELD_OUT, seed)[1] for side in sides]
    out = {content for images in (*drawn, *judged) if images is not None for content in images.contents}
    first, second = (tuple(content in out for content in side.contents) for side in sides)
    return ConceptImages(sides, (first, second))


def check_concept(target: Concept, images: ConceptImages[I]) -> None:
    """Raises InputError where a concept has too few images, or none that it can be told from."""
    if not images.sets[1]:
        message = f"nothing is left to tell {target.images} from"
        label = f"every image of {target.against} is one of {target.images}"
        raise InputError(Finding("E135", message, None, label, "name others behind 'against'"))
    counts = [len(set(side.contents)) for side in images.sets]
    check_enough(target, (counts[0], counts[1]))
    for name, side, out in zip(concept_sets(target), images.sets, images.held_out, strict=True):
        fitted = {content for content, is_out in zip(side.contents, out, strict=True) if not is_out}
        if len(fitted) < FITTED:
            label = f"the circuit is judged by {out.count(True)} of its {len(side)} images, on which it isn't fitted"
            cure = "name more images, or hold fewer out"
            raise InputError(Finding("E136", f"too few images of {name} are left to fit a probe on", None, label, cure))


def check_enough(target: Concept, counts: tuple[int, int]) -> None:
    """Raises InputError where a side of a concept has too few different images."""
    for name, count in zip(concept_sets(target), counts, strict=True):
        if count < FEWEST:
            but = "" if name == target.images else f" but for those of {target.images}"
            label = f"it has {count}{but}, and at least {FEWEST} are needed on either side"
            raise InputError(Finding("E136", f"{name} has too few images for a probe", None, label, "name more images"))


def probe_cache(plan: Plan, target: Concept, network: tuple[str, str, str], images: ConceptImages[I]) -> ScoreCache:
    """Return where the probe of a concept is stored, by its content; `network` is as in `provenance_of`."""
    versions = (version(name) for name in ("torch", "torchvision", "pillow"))
    return tensor_cache.responses(plan.concept(target), *network, *versions, images.digest)
