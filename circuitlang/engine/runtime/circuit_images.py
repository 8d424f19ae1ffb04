"""The images of circuits: those that each is found on, judged by and contrasted with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.images.hashed_images import HashedImages
from circuitlang.engine.runtime.concept_images import ConceptImages, check_concept, concept_images
from circuitlang.plan.contrast import contrastable, uncontrasted
from circuitlang.plan.model import Circuit, Concept, Edit, Target
from circuitlang.plan.targets import concept_sets
from circuitlang.plugins.protocols import CRITERIA
from circuitlang.results.edits import circuit_of

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
        concept: Images of its concept, where its target is one.
    """

    train: I
    test: I | None
    contrast: I | None
    contrast_test: I | None
    unreadable: list[str]
    also: Mapping[str, I]
    concept: ConceptImages[I] | None = None

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
    concept = None
    if isinstance(circuit.target, Concept):
        # Nor is its direction learned from images that it is judged by.
        concept = concept_images(circuit.target, sets, circuit.holdout, circuit.seed, (test, contrast_test))
        unreadable += [problem for name in dict.fromkeys(concept_sets(circuit.target)) for problem in sets[name][1]]
    return CircuitImages(train, test, contrast, contrast_test, unreadable, also, concept)


def check_circuit_concept(circuit: Circuit, sets: Mapping[str, tuple[I, list[str]]]) -> None:
    """Raises InputError where the target of a circuit is a concept that has too few images."""
    if isinstance(circuit.target, Concept) and {*circuit.used_sets} <= sets.keys():
        images = circuit_images(circuit, sets).concept
        assert images is not None
        check_concept(circuit.target, images)


def edit_concepts(
    edit: Edit, circuits: Iterable[Circuit], sets: Mapping[str, tuple[I, list[str]]]
) -> dict[str, tuple[Concept, ConceptImages[I]]]:
    """Return the concepts that an edit measures and their images, by the target as it is written.

    The concept that the edited circuit preserves has the circuit's direction, so that it is one feature.
    """
    asked = next((circuit for circuit in circuits if circuit.id == circuit_of(edit)), None)
    concepts: dict[str, tuple[Concept, ConceptImages[I]]] = {}
    for text, target in edit.targets():
        if not isinstance(target, Concept):
            continue
        own = circuit_images(asked, sets).concept if asked and _is_same(asked.target, target) else None
        concepts[text] = target, own or concept_images(target, sets)
    return concepts


def check_edit_concepts(edit: Edit, circuits: Iterable[Circuit], sets: Mapping[str, tuple[I, list[str]]]) -> None:
    """Raises InputError where an edit measures a concept that has too few images."""
    if {*edit.used_sets} <= sets.keys():
        for target, images in edit_concepts(edit, circuits, sets).values():
            check_concept(target, images)


def _is_same(one: Target, other: Concept) -> bool:
    """Return whether a target is a concept, at whatever position."""
    return isinstance(one, Concept) and msgspec.structs.replace(one, at=other.at) == other


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
