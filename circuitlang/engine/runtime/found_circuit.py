"""A job → a circuit of the size that its plan asks for, or of the smallest that reaches its bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from msgspec import UNSET
from torch import Tensor

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import budget, count
from circuitlang.engine.circuits.size_search import SizeSearch, smallest
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.runtime.circuit_finder import BuiltCircuit, CircuitFinder
from circuitlang.engine.runtime.circuit_record import circuit_record, layer_summary
from circuitlang.engine.runtime.fidelity_evaluator import FidelityEvaluator
from circuitlang.engine.runtime.jobs import Job
from circuitlang.engine.runtime.resampling import Resampling
from circuitlang.plan.model import Bound
from circuitlang.plugins.protocols import Masks, passes_of
from circuitlang.results.types import Circuit, LayerSummary


@dataclass(frozen=True)
class FoundCircuit:
    """A circuit that was found, and what measures it.

    Attributes:
        job: Its job.
        classes: Names of the network's classes; empty where they are unknown.
        finder: Finds circuits of other sizes in the same way.
        train: Evaluates circuits on the images that it was found on.
        test: Evaluates circuits on the other images that judge it; None where there are none.
        asked: The size that was asked for or found.
        built: The circuit.
        walk: The sizes that were tried; None where one was asked for.
        resampling: The circuits of other draws of its images.
        shares: The share of these that have each kernel, by layer, if the plan asks for it.
    """

    job: Job
    classes: Sequence[str]
    finder: CircuitFinder
    train: FidelityEvaluator
    test: FidelityEvaluator | None
    asked: int
    built: BuiltCircuit
    walk: SizeSearch[BuiltCircuit] | None
    resampling: Resampling
    shares: Mapping[str, Tensor] | None

    @property
    def builder(self) -> Builder:
        """Builds it, and circuits of other kernels."""
        return self.finder.builder

    @property
    def judge(self) -> FidelityEvaluator:
        """Evaluates circuits on the images that judge it."""
        return self.test or self.train

    @cached_property
    def contrast(self) -> FidelityEvaluator | None:
        """Evaluates circuits on the images with which it is contrasted; None where there are none."""
        images = self.job.against
        return self._evaluator(images, "contrasting images") if images else None

    @property
    def also(self) -> dict[str, FidelityEvaluator]:
        """Evaluates circuits on the other images that its plan names."""
        return {name: self._evaluator(images, name) for name, images in self.job.also.items()}

    @property
    def complement(self) -> BuiltCircuit:
        """The network without the circuit."""
        rest = {path: self.builder.in_network[path] & ~mask for path, mask in self.built.masks.items()}
        edits = self.builder.build(rest, fitted=False)
        return BuiltCircuit(self.job.subnetwork, {}, rest, self.builder.connected(rest), edits)

    @cached_property
    def record(self) -> Circuit:
        """Its kernels and wires, as its folder keeps them."""
        return circuit_record(self.job.subnetwork, self.built)

    def layers(self) -> list[LayerSummary]:
        """Return its numbers by layer."""
        pairs = zip(self.job.subnetwork.layers, self.record.kernels, strict=True)
        return [layer_summary(self.builder, layer, self.built, kernels, self.shares) for layer, kernels in pairs]

    def _evaluator(self, images: ImageSet, label: str) -> FidelityEvaluator:
        return FidelityEvaluator(self.job.subnetwork, images, label, self.job.plan.seed)


def find_circuit(job: Job, classes: Sequence[str] = ()) -> FoundCircuit:
    """Find the circuit of a job, without measuring it."""
    plan, finder = job.plan, finder_of(job)
    train = FidelityEvaluator(job.subnetwork, job.train, "images", plan.seed)
    test = judge_of(job) if job.test else None
    walk: SizeSearch[BuiltCircuit] | None = None
    relevant = count(finder.builder.relevant)
    if plan.size is None:
        judges = {"test": test or train, "train": train}
        walk = smallest(relevant, lambda size: _attempt(finder(size), plan.bounds, judges))
        asked, built = walk.answer.size, walk.answer.circuit
    else:
        asked = budget(plan.size, relevant)
        built = finder(asked)
    resampling = Resampling(job, asked)
    shares = resampling.shares()
    if plan.stable is not UNSET:
        built = finder(asked, _stable(finder.builder, built.masks, shares, plan.stable))
    return FoundCircuit(job, classes, finder, train, test, asked, built, walk, resampling, shares)


def judge_of(job: Job) -> FidelityEvaluator:
    """Return what evaluates circuits on the images that judge that of a job."""
    label = "held-out images" if job.test else "images"
    return FidelityEvaluator(job.subnetwork, job.test or job.train, label, job.plan.seed)


def finder_of(job: Job) -> CircuitFinder:
    """Return what finds the circuits of a job."""
    criterion = job.plan.criterion
    # Scores that cost no pass are not worth caching.
    score_cache = job.score_cache if passes_of(criterion.name, criterion.parameters) else None
    return CircuitFinder(job.builder(), criterion, job.plan.seed, score_cache, job.contrast, job.arithmetic)


def _stable(builder: Builder, masks: Masks, shares: Mapping[str, Tensor] | None, least: float) -> Masks:
    """Return the kernels of a circuit that a share of other images' circuits have, without those left unconnected.

    Raises InputError if there are no such circuits.
    """
    if shares is None:
        label, cure = "one image can't be halved", "give more images, or leave stable out"
        raise InputError(Finding("E321", "how stable kernels are can't be measured", None, label, cure))
    kept = {path: mask & (shares[path] >= least) for path, mask in masks.items()}
    return builder.connected(kept) if builder.refill == "live" else kept


def _attempt(
    built: BuiltCircuit, bounds: Sequence[Bound], judges: Mapping[str, FidelityEvaluator]
) -> tuple[BuiltCircuit, float]:
    """A circuit and by how much it meets the bound it meets least."""
    samples = {bound.sample for bound in bounds}
    fidelity = {sample: judges[sample](built, intervals=False).metrics for sample in samples}
    values = [fidelity[bound.sample][bound.metric] for bound in bounds]
    return replace(built, values=values), min(bound.margin(value) for bound, value in zip(bounds, values, strict=True))
