"""A circuit, or a split, and all that it follows from: its images, its provenance, and its places in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from msgspec import UNSET

from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.images.hashed_images import HashedImages
from circuitlang.engine.runtime.circuit_images import circuit_images
from circuitlang.engine.runtime.concept_images import ConceptImages, probe_cache
from circuitlang.engine.runtime.provenance import caches_of, provenance_of
from circuitlang.plan.model import Circuit, Concept, Plan
from circuitlang.results.types import Part, Provenance

I = TypeVar("I", bound=HashedImages)  # noqa: E741


class StoredProbe(Protocol):
    """The probe of a concept, which has a place in the cache."""

    @property
    def cache(self) -> ScoreCache: ...


@dataclass(frozen=True)
class ProbePlace:
    """The place of a probe that may not be there."""

    cache: ScoreCache


@dataclass(frozen=True, kw_only=True)
class KnownJob(Generic[I]):
    """A circuit, or a split.

    Attributes:
        plan: The circuit as the plan has it.
        train: Images that it is found on.
        test: Other images that it is judged by, if there are any.
        contrast: Images that it is contrasted with, for scoring.
        contrast_test: Those of the contrast that are held out.
        also: Images that it is measured on besides, by the name of their set.
        concept: Images of its concept, where its target is one.
        provenance: All that it follows from; its identity tells whether it was computed before.
        score_cache: The place of its scores in the cache.
        responses: The place of the network's own responses.
        probe: The probe of its concept.
        within: The circuit that it is within.
        part: Which part of a split it is.
    """

    plan: Circuit
    train: I
    test: I | None
    contrast: I | None
    contrast_test: I | None
    also: Mapping[str, I]
    concept: ConceptImages[I] | None
    provenance: Provenance
    score_cache: ScoreCache
    responses: ScoreCache
    probe: StoredProbe | None
    within: KnownJob[I] | None
    part: Part | None = None

    @property
    def single(self) -> bool:
        """True for a circuit, also of a part of a split, and false for a split."""
        return self.plan.into is None or self.part is not None

    @property
    def against(self) -> I | None:
        """The images that it is measured on as contrast."""
        return self.contrast_test or self.contrast


def known_job(
    plan: Plan,
    circuit: Circuit,
    network: tuple[str, str, str],
    sets: Mapping[str, tuple[I, list[str]]],
    fast: bool,
    notes: tuple[str, ...],
) -> KnownJob[I]:
    """Return a circuit of a plan with all that it follows from.

    Args:
        plan: The plan.
        circuit: The circuit.
        network: Hashes of the weights and of what is computed with them, and how images are prepared.
        sets: The images of each set, and the problems of those that were left out.
        fast: Scores are computed in TF32.
        notes: Notes on the weights, as `LoadedModel` has them.
    """
    within = None if circuit.within is UNSET else known_job(plan, circuit.within, network, sets, fast, notes)
    images, around = circuit_images(circuit, sets), within.provenance.identity if within else ""
    provenance = provenance_of(plan, circuit, network, images, fast, notes, around)
    scores, responses = caches_of(plan, circuit, network, images, provenance, around)
    probe = None
    if isinstance(circuit.target, Concept) and images.concept:
        probe = ProbePlace(probe_cache(plan, circuit.target, network, images.concept))
    return KnownJob(
        plan=circuit,
        train=images.train,
        test=images.test,
        contrast=images.contrast,
        contrast_test=images.contrast_test,
        also=images.also,
        concept=images.concept,
        provenance=provenance,
        score_cache=scores,
        responses=responses,
        probe=probe,
        within=within,
    )
