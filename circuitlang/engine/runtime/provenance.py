"""The provenance of a circuit: hashes of everything that it follows from."""

from __future__ import annotations

import platform
from typing import Literal, TypeVar

from circuitlang.base.versions import version
from circuitlang.engine.cache import tensor_cache
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.images.hashed_images import HashedImages
from circuitlang.engine.runtime.circuit_images import CircuitImages
from circuitlang.plan.model import Circuit as CircuitPlan
from circuitlang.plan.model import Plan, digest
from circuitlang.plugins.protocols import passes_of
from circuitlang.results.types import Provenance

I = TypeVar("I", bound=HashedImages)  # noqa: E741


def provenance_of(
    plan: Plan,
    circuit: CircuitPlan,
    network: tuple[str, str, str],
    images: CircuitImages[I],
    fast: bool,
    notes: tuple[str, ...],
    within: str = "",
) -> Provenance:
    """Return the provenance of a circuit.

    `network` has hashes of the weights and of what is computed with them, and how images are prepared; `within` is the
    identity of the circuit that it is within, which follows from those of the ones around that.
    """
    train, test, *others = map(images_digest, images.sets)
    contrast, also = others[:2], dict(zip(circuit.also, others[2:], strict=True))
    versions = {name: version(name) for name in ("circuitlang", "torch", "torchvision", "pillow")}
    versions["python"] = platform.python_version()
    # Without a pass nothing is multiplied; for a split there is one whatever its criterion.
    multiplied = circuit.into is not None or passes_of(circuit.criterion.name, circuit.criterion.parameters) > 0
    precision: Literal["float32", "tf32"] = "tf32" if fast and multiplied else "float32"
    code = versions["circuitlang"], tensor_cache.outside(extension_names(circuit))
    around = filter(None, (images.concept.digest if images.concept else "", within))
    parts = (plan.identity(circuit), *network, train, test, *others, *code, precision, *around)
    return Provenance(
        identity=digest("\n".join(parts).encode()),
        weights=network[0],
        train_images=train,
        test_images=test,
        contrast_images="-".join(filter(None, contrast)),
        also_images=also,
        precision=precision,
        versions=versions,
        unreadable=images.unreadable,
        weights_notes=[*notes],
    )


def caches_of(
    plan: Plan,
    circuit: CircuitPlan,
    network: tuple[str, str, str],
    images: CircuitImages[I],
    provenance: Provenance,
    within: str = "",
) -> tuple[ScoreCache, ScoreCache]:
    """Return the caches of a circuit's scores and of the network's responses; arguments are as in `provenance_of`."""
    concept = (images.concept.digest,) if images.concept else ()
    by = *network, *provenance.versions.values(), *concept
    scored = images.train.digest, images_digest(images.contrast), provenance.precision
    around = (within,) if within else ()
    scores = tensor_cache.score_cache(plan.basis(circuit), extension_names(circuit), *by, *scored, *around)
    return scores, tensor_cache.responses(plan.network(circuit), *by)


def extension_names(circuit: CircuitPlan) -> set[str]:
    """The names of what has a say in a circuit and may lie outside the engine."""
    choices = circuit.criterion, circuit.ablation, *circuit.tests
    words = {value for choice in choices for value in choice.parameters.values() if isinstance(value, str)}
    return {*words, *(choice.name for choice in choices)}


def images_digest(pictures: HashedImages | None) -> str:
    return pictures.digest if pictures else ""
