"""The images of circuits: those that each is found on, judged by and contrasted with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.images.hashed_images import HashedImages
from circuitlang.plan.contrast import contrastable, uncontrasted
from circuitlang.plan.model import Circuit
from circuitlang.plugins.protocols import CRITERIA

I = TypeVar("I", bound=HashedImages)  # noqa: E741


@dataclass(frozen=True)
class CircuitImages(Generic[I]):
    """The images of one circuit.

    Attributes:
        train: Images that it is found on.
        test: Images that it is judged by, if there are any.
        contrast: Images that it is contrasted with, for scoring.
        contrast_test: Those of the contrast that are held out.
        unreadable: Problems of images that were left out.
        also: Images that it is measured on besides, by the name of their set.
    """

    train: I
    test: I | None
    contrast: I | None
    contrast_test: I | None
    unreadable: list[str]
    also: Mapping[str, I]

    @property
    def sets(self) -> tuple[I | None, ...]:
        return self.train, self.test, self.contrast, self.contrast_test, *self.also.values()


def circuit_images(circuit: Circuit, sets: Mapping[str, tuple[I, list[str]]]) -> CircuitImages[I]:
    """Return the images of a circuit, from the images of each set and the problems of those that were left out."""
    train, unreadable = sets[circuit.images]
    test: I | None
    if circuit.test is None:
        train, test = train.split(circuit.holdout, circuit.seed)
    else:
        test, more = sets[circuit.test]
        # It is not judged by the images that it is found on.
        test, unreadable = test.of_other_files(train) or None, [*unreadable, *more]
    contrast, contrast_test = (None, None)
    if circuit.contrast is not None:
        contrast, contrast_test = _others(circuit, circuit.contrast, sets).split(circuit.holdout, circuit.seed)
    # Nor is it measured by these elsewhere, in whichever way they are transformed.
    also = {name: sets[name][0].of_other_files(train) for name in circuit.also}
    unreadable = [*unreadable, *(problem for name in also for problem in sets[name][1])]
    return CircuitImages(train, test, contrast, contrast_test, unreadable, also)


def check_also(circuit: Circuit, sets: Mapping[str, tuple[I, list[str]]]) -> None:
    """Raises InputError where nothing is left of a set that a circuit is measured on besides."""
    if not {circuit.images, circuit.test or circuit.images, *circuit.also} <= sets.keys():
        return
    train = sets[circuit.images][0].split(circuit.holdout, circuit.seed)[0]
    for name in circuit.also:
        if not sets[name][0].of_other_files(train):
            message = f"nothing is left of {name} to measure on"
            label = f"every image of it is one that {circuit.id} is found on"
            raise InputError(Finding("E301", message, None, label, "hold some out, by holdout=20%, or name others"))


def check_contrast(circuit: Circuit, sets: Mapping[str, tuple[I, list[str]]]) -> None:
    """Raises InputError where nothing is left to contrast with, or a plan was written by hand and its criterion can't
    be contrasted."""
    if circuit.contrast is None:
        return
    criterion = circuit.criterion
    if not contrastable(criterion.name, criterion.parameters, CRITERIA.declarations):
        raise InputError(uncontrasted(criterion.name, CRITERIA.declarations))
    names = {circuit.images, circuit.test or circuit.images, circuit.contrast}
    if names <= sets.keys() and not _others(circuit, circuit.contrast, sets):
        message = f"nothing is left to contrast {circuit.images} with"
        raise InputError(Finding("E301", message, None, f"every image of {circuit.contrast} is one of its own"))


def _others(circuit: Circuit, contrast: str, sets: Mapping[str, tuple[I, list[str]]]) -> I:
    """Return the images of a set that are not a circuit's own."""
    names = [name for name in (circuit.images, circuit.test) if name is not None]
    return sets[contrast][0].without([image for name in names for image in sets[name][0].digests])
