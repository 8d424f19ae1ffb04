"""The provenance of a circuit: hashes of everything that it follows from."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Literal

from circuitlang.base.versions import version
from circuitlang.engine.cache import tensor_cache
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.images.hashed_images import HashedImages
from circuitlang.engine.runtime.work_request import RequestedJob
from circuitlang.plan.model import Circuit as CircuitPlan
from circuitlang.plan.model import Plan, digest
from circuitlang.plugins.protocols import passes_of
from circuitlang.results.types import Provenance


def provenance_of(
    plan: Plan,
    circuit: CircuitPlan,
    network: tuple[str, str, str],
    pictures: Sequence[HashedImages | None],
    unreadable: list[str],
    fast: bool,
    notes: tuple[str, ...],
    concept: str = "",
    within: RequestedJob | None = None,
) -> Provenance:
    """Return the provenance of a circuit; `network` has hashes of the weights and of what is computed with them, and
    how images are prepared; `pictures` are those it is found on, judged by, contrasted with, and judged by as
    contrast, and those of each set that it is measured on besides; `concept` is a hash of those of its concept, and
    `within` the circuit that it is within."""
    train, test, *others = map(images_digest, pictures)
    contrast, also = others[:2], dict(zip(circuit.also, others[2:], strict=True))
    versions = {name: version(name) for name in ("circuitlang", "torch", "torchvision", "pillow")}
    versions["python"] = platform.python_version()
    # Without a pass nothing is multiplied; for a split there is one whatever its criterion.
    multiplied = circuit.into is not None or passes_of(circuit.criterion.name, circuit.criterion.parameters) > 0
    precision: Literal["float32", "tf32"] = "tf32" if fast and multiplied else "float32"
    code = versions["circuitlang"], tensor_cache.outside(extension_names(circuit))
    around = (*filter(None, [concept]), *_identities(within))
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
        unreadable=unreadable,
        weights_notes=[*notes],
    )


def caches_of(
    plan: Plan,
    circuit: CircuitPlan,
    network: tuple[str, str, str],
    provenance: Provenance,
    train: HashedImages,
    contrast: HashedImages | None,
    concept: str = "",
    within: RequestedJob | None = None,
) -> tuple[ScoreCache, ScoreCache]:
    """Return the cache of a circuit's scores and that of the network's responses; `network`, `concept` and `within` are
    as in `provenance_of`, and images are those that the circuit is scored on."""
    by = *network, *provenance.versions.values(), *filter(None, [concept])
    contents = *by, train.digest, images_digest(contrast), provenance.precision, *_identities(within)
    scores = tensor_cache.score_cache(plan.basis(circuit), extension_names(circuit), *contents)
    return scores, tensor_cache.responses(plan.network(circuit), *by)


def _identities(within: RequestedJob | None) -> tuple[str, ...]:
    """Return the identity of the circuit that another is within, which follows from those of the ones around it."""
    return () if within is None else (within.provenance.identity,)


def extension_names(circuit: CircuitPlan) -> set[str]:
    """The names of what has a say in a circuit and may lie outside the engine."""
    choices = circuit.criterion, circuit.ablation, *circuit.tests
    words = {value for choice in choices for value in choice.parameters.values() if isinstance(value, str)}
    return {*words, *(choice.name for choice in choices)}


def images_digest(pictures: HashedImages | None) -> str:
    return pictures.digest if pictures else ""
