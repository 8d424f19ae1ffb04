"""Plan → results, circuit by circuit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray
from torch import Tensor

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.edits import edits_from_result
from circuitlang.engine.circuits.extraction.liveness import edited_channels
from circuitlang.engine.circuits.selection import budget, count
from circuitlang.engine.circuits.size_search import SizeSearch, smallest
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation import class_check, fidelity_examples, reference_responses
from circuitlang.engine.evaluation.circuit_claim import BuiltClaim
from circuitlang.engine.evaluation.fidelity import measure, responses
from circuitlang.engine.evaluation.robustness import Robustness
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.engine.graph.channel_origins import channel_origins, input_origins
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.runtime.artifacts import MeasuredCircuit, complete
from circuitlang.engine.runtime.circuit_finder import BuiltCircuit, CircuitFinder
from circuitlang.engine.runtime.jobs import Job, PreparedRun
from circuitlang.engine.runtime.precision_check import reduced
from circuitlang.engine.runtime.resampling import Resampling
from circuitlang.plan.clauses import building
from circuitlang.plan.model import Bound, Choice
from circuitlang.plan.model import Circuit as CircuitPlan
from circuitlang.plan.targets import ClassOutput
from circuitlang.plugins.hypothesis_tests import HypothesisOutcome
from circuitlang.plugins.protocols import Edit, Edits, Masks, passes_of
from circuitlang.results.types import (
    ChannelSources,
    Circuit,
    ClassCheck,
    Fidelity,
    FidelityExamples,
    KeptKernels,
    LayerEdit,
    Result,
    SizeTrial,
    Summary,
)
from circuitlang.results.types import LayerSummary as LayerResult

# Criteria of the baseline circuits, which have the same size and are built in the same way.
_BASELINES = ("random", "magnitude")


class _Found(NamedTuple):
    """A circuit, its size, the sizes that were tried for it, and the circuits of other draws of its images."""

    asked: int
    built: BuiltCircuit
    walk: SizeSearch[BuiltCircuit] | None
    resampling: Resampling
    shares: Mapping[str, Tensor] | None


def execute(prepared: PreparedRun, job: Job) -> Result:
    """Find one circuit and measure it."""
    subnetwork, plan = job.subnetwork, job.plan
    builder = job.builder()
    finder = _finder(job, builder)
    train = FidelityEvaluator(subnetwork, job.train, "images", plan.seed)
    test = _judge(job) if job.test else None
    judge = test or train
    contrast = FidelityEvaluator(subnetwork, job.against, "contrasting images", plan.seed) if job.against else None
    also = {name: FidelityEvaluator(subnetwork, images, name, plan.seed) for name, images in job.also.items()}
    asked, built, walk, resampling, shares = _search(job, finder, judge, train)
    relevant = count(builder.relevant)
    rest = {path: builder.in_network[path] & ~mask for path, mask in built.masks.items()}
    how = *building(plan), plan.seed
    size = asked if plan.stable is UNSET else count(built.masks)
    pictures = job.train.digest, job.test.digest if job.test else ""

    def baseline(name: str) -> Fidelity:
        """Return the fidelity of a baseline circuit of the same size by another criterion."""
        compute = partial(_baseline, builder, Choice(name), plan.seed, size, judge)
        return subnetwork.memo.once(("baseline", name, size, *how, *pictures), compute)

    circuit = _circuit(subnetwork, built)
    summary = Summary(
        plan=plan,
        model=prepared.plan.model,
        relevant=relevant,
        asked=asked,
        kept=count(built.masks),
        constant=count(subnetwork.constant),
        effective=count(built.effective),
        layers=[
            _layer(builder, layer, built, kernels, shares)
            for layer, kernels in zip(subnetwork.layers, circuit.kernels, strict=True)
        ],
        train=train(built),
        test=test(built) if test else None,
        contrast=contrast(built) if contrast else None,
        contrast_held_out=job.contrast_test is not None,
        also={name: evaluate(built) for name, evaluate in also.items()},
        without=judge(BuiltCircuit(subnetwork, {}, rest, builder.connected(rest), builder.build(rest, fitted=False))),
        baselines={name: baseline(name) for name in _BASELINES},
        walk=[SizeTrial(kernels=trial.size, values=list(trial.circuit.values)) for trial in walk.tried] if walk else [],
        parameters=None,
        extracted_difference=None,
        provenance=job.provenance,
        part=job.part,
        reduced=reduced(job, asked) if job.fast and finder.score_cache else None,
        unheard=train.constant,
        responses=judge.responses,
        labels=prepared.plan.labels,
        tests=_tests(builder, built, judge, plan, resampling),
        robust=_robust(builder, built, judge, train, job),
        probe=job.probe.result if job.probe else UNSET,
        classes=_classes(built, judge, prepared, job),
    )
    measured = _measured(built, circuit, judge)
    return complete(prepared, job, summary, measured, prepared.formats(job))


def find(job: Job) -> BuiltCircuit:
    """Find one circuit without measuring it."""
    train = FidelityEvaluator(job.subnetwork, job.train, "images", job.plan.seed)
    return _search(job, _finder(job, job.builder()), _judge(job) if job.test else train, train)[1]


def _search(job: Job, finder: CircuitFinder, judge: FidelityEvaluator, train: FidelityEvaluator) -> _Found:
    """Find a circuit of the size that its plan asks for, or of the smallest that reaches its bounds."""
    plan, builder = job.plan, finder.builder
    walk: SizeSearch[BuiltCircuit] | None = None
    relevant = count(builder.relevant)
    if plan.size is None:
        judges = {"test": judge, "train": train}
        walk = smallest(relevant, lambda size: _attempt(finder(size), plan.bounds, judges))
        asked, built = walk.answer.size, walk.answer.circuit
    else:
        asked = budget(plan.size, relevant)
        built = finder(asked)
    resampling = Resampling(job, asked)
    shares = resampling.shares()
    if plan.stable is not UNSET:
        built = finder(asked, _stable(builder, built.masks, shares, plan.stable))
    return _Found(asked, built, walk, resampling, shares)


def _stable(builder: Builder, masks: Masks, shares: Mapping[str, Tensor] | None, least: float) -> Masks:
    """Return the kernels of a circuit that a share of other images' circuits have, without those left unconnected.

    Raises InputError if there are no such circuits.
    """
    if shares is None:
        label, cure = "one image can't be halved", "give more images, or leave stable out"
        raise InputError(Finding("E321", "how stable kernels are can't be measured", None, label, cure))
    kept = {path: mask & (shares[path] >= least) for path, mask in masks.items()}
    return builder.connected(kept) if builder.refill == "live" else kept


def _tests(
    builder: Builder, built: BuiltCircuit, judge: FidelityEvaluator, plan: CircuitPlan, resampling: Resampling
) -> dict[str, HypothesisOutcome]:
    """Return the outcomes of the tests that a plan asks for, by name."""

    def run(masks: Masks, edits: Edits) -> Tensor:
        return judge.run(BuiltCircuit(built.subnetwork, {}, masks, builder.connected(masks), edits))

    noun = "weight" if plan.structure == "weight" else "kernel"
    own = judge.network, judge.responses_of(built)
    halves, resamples = resampling.halves, resampling.resamples
    claim = BuiltClaim(builder, built.masks, built.edits, *own, run, halves, plan.seed, noun, resamples=resamples)
    return {choice.name: claim.test(choice) for choice in plan.tests}


def _robust(
    builder: Builder, built: BuiltCircuit, judge: FidelityEvaluator, train: FidelityEvaluator, job: Job
) -> dict[str, Fidelity] | UnsetType:
    """Return the fidelity of a circuit's kernels under the ablations that a plan names; resampling needs two images."""
    plan, effective = job.plan, builder.connected(built.masks)
    if not plan.robust:
        return UNSET

    def run(edits: Edits) -> Tensor:
        return judge.run(BuiltCircuit(built.subnetwork, {}, built.masks, effective, edits))

    ablated = Robustness(builder, built.masks, (job.train, train.network), job.test or job.train, run)
    measured: dict[str, Fidelity] = {}
    for way in plan.robust:
        # The circuit itself is measured already.
        own = plan.calibrate == "none" and plan.ablation.name == way
        responses = judge.responses_of(built) if own else ablated.responses(way)
        if responses is not None:
            measured[way] = judge.fidelity(responses)
    return measured


def _classes(built: BuiltCircuit, judge: FidelityEvaluator, prepared: PreparedRun, job: Job) -> ClassCheck | UnsetType:
    """Compare the network's classification with the one that has the circuit's output for its class.

    Nothing can be compared unless there are several classes, each a single number.
    """
    subnetwork, images = job.subnetwork, job.test or job.train
    circuit = judge.responses_of(built)
    if not isinstance(job.plan.target, ClassOutput) or circuit.shape[1] > 1 or subnetwork.target.step.width < 2:
        return UNSET
    network = subnetwork.memo.once(
        ("outputs", images.digest), partial(class_check.outputs, subnetwork, images, "the network's classes")
    )
    (unit,) = subnetwork.target.units
    names = prepared.model.classes
    return class_check.class_check(network, unit, circuit[:, 0], names if len(names) == network.shape[1] else ())


def _measured(built: BuiltCircuit, circuit: Circuit, judge: FidelityEvaluator) -> MeasuredCircuit:
    def fidelity(masks: Masks, edits: Edits) -> Fidelity:
        return judge(BuiltCircuit(built.subnetwork, {}, masks, masks, edits), intervals=False)

    examples = partial(judge.examples, built)
    return MeasuredCircuit(
        built.edits, circuit, judge.strength, lambda: built.module, judge.network, examples, fidelity
    )


def finish(prepared: PreparedRun, job: Job, result: Result, formats: Collection[str]) -> Result:
    """A result that was read back, with the module and the images that these formats need; nothing is searched."""
    subnetwork, judge = job.subnetwork, _judge(job)
    layers = list(zip(result.summary.layers, result.circuit.kernels, strict=True))
    masks = {
        layer.path: torch.from_numpy(_mask(layer, kernels, np.ones(len(kernels.target), np.bool_)))
        for layer, kernels in layers
    }
    built = BuiltCircuit(subnetwork, {}, masks, masks_of(result), edits_from_result(result))
    return complete(prepared, job, result.summary, _measured(built, result.circuit, judge), formats)


def masks_of(result: Result) -> Masks:
    """Return the connected kernels [out, in / groups] of a circuit that was read back, by layer."""
    layers = zip(result.summary.layers, result.circuit.kernels, strict=True)
    return {layer.path: torch.from_numpy(_mask(layer, kernels, kernels.effective)) for layer, kernels in layers}


def restore(prepared: PreparedRun, job: Job, summary: Summary, masks: Masks, formats: Collection[str]) -> Result:
    """Return a circuit of known kernels [out, in / groups]. Scores come from the cache or are computed again."""
    finder = _finder(job, job.builder())
    # Masks of kernels don't say which weights of them are kept.
    built = finder(summary.asked, None if job.plan.structure == "weight" else masks)
    return complete(prepared, job, summary, _measured(built, _circuit(job.subnetwork, built), _judge(job)), formats)


def _judge(job: Job) -> FidelityEvaluator:
    label = "held-out images" if job.test else "images"
    return FidelityEvaluator(job.subnetwork, job.test or job.train, label, job.plan.seed)


def _finder(job: Job, builder: Builder) -> CircuitFinder:
    criterion = job.plan.criterion
    # Scores that cost no pass are not worth caching.
    score_cache = job.score_cache if passes_of(criterion.name, criterion.parameters) else None
    return CircuitFinder(builder, criterion, job.plan.seed, score_cache, job.contrast, job.arithmetic)


def _mask(layer: LayerResult, kernels: KeptKernels, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which kernels [out, in / groups] of a layer are among the kept ones that are chosen."""
    inner = layer.in_channels // layer.groups
    mask = np.zeros((layer.out_channels, inner), np.bool_)
    mask[kernels.target[chosen], kernels.source[chosen] % inner] = True
    return mask


def _baseline(builder: Builder, criterion: Choice, seed: int, size: int, judge: FidelityEvaluator) -> Fidelity:
    return judge(CircuitFinder(builder, criterion, seed)(size))


def _attempt(
    built: BuiltCircuit, bounds: Sequence[Bound], judges: Mapping[str, FidelityEvaluator]
) -> tuple[BuiltCircuit, float]:
    """A circuit and by how much it meets the bound it meets least."""
    samples = {bound.sample for bound in bounds}
    fidelity = {sample: judges[sample](built, intervals=False).metrics for sample in samples}
    values = [fidelity[bound.sample][bound.metric] for bound in bounds]
    return replace(built, values=values), min(bound.margin(value) for bound, value in zip(bounds, values, strict=True))


class FidelityEvaluator:
    """Compares circuits with the network on some images."""

    def __init__(self, subnetwork: TargetSubnetwork, images: ImageSet, label: str, seed: int) -> None:
        self._subnetwork, self._images, self._label, self._seed = subnetwork, images, label, seed
        self._original = reference_responses.responses(subnetwork, images, f"the network on {label}")
        # Keys are the circuits' numbers; circuits are kept so that no other gets the same number.
        self._seen: dict[int, tuple[BuiltCircuit, Tensor]] = {}

    @property
    def strength(self) -> Tensor:
        """The strongest response to each image in the network [images]."""
        return self._original.amax(1)

    @property
    def network(self) -> Tensor:
        """The network's responses, float64 [images, positions]."""
        return self._original

    @property
    def constant(self) -> bool:
        """Return whether the network responds to all images alike, everywhere; a single number says nothing of that."""
        return self.responses > 1 and bool((self._original == self._original.flatten()[:1]).all())

    @property
    def responses(self) -> int:
        """The number of responses that fidelity is computed from."""
        return self._original.numel()

    def __call__(self, built: BuiltCircuit, intervals: bool = True) -> Fidelity:
        """Return the fidelity of a circuit."""
        return measure(self._original, self.responses_of(built), self._seed if intervals else None)

    def fidelity(self, responses: Tensor) -> Fidelity:
        """Return the fidelity of responses [images, positions]."""
        return measure(self._original, responses, self._seed)

    def examples(self, built: BuiltCircuit) -> FidelityExamples:
        """Return examples of a circuit's fidelity."""
        return fidelity_examples.collect(
            self._subnetwork, self._images, self._original, self.responses_of(built), self._seed
        )

    def responses_of(self, built: BuiltCircuit) -> Tensor:
        """Return the responses of a circuit, float64 [images, positions], and keep them."""
        if id(built) not in self._seen:
            self._seen[id(built)] = built, self.run(built)
        return self._seen[id(built)][1]

    def run(self, built: BuiltCircuit) -> Tensor:
        """Return the responses of a circuit, float64 [images, positions], without keeping them."""
        label = f"circuits on {self._label}"
        if not count(built.effective):
            # A collapsed circuit answers every image with the same map. What that map, made of biases and padding, has
            # in common with the feature is position, and preserves nothing.
            circuit = responses(self._subnetwork, self._images, label, built.edits)
            return circuit.mean().expand_as(circuit)
        digest = self._images.digest
        if built.sparse_runner is None:
            return responses(self._subnetwork, self._images, label, built.edits)
        batches = enumerate(self._images.batches(label))
        return torch.cat(
            [built.sparse_runner(batch, (digest, number)).flatten(1).double() for number, batch in batches]
        )


def _layer(
    builder: Builder, layer: Layer, built: BuiltCircuit, kernels: KeptKernels, shares: Mapping[str, Tensor] | None
) -> LayerResult:
    relevant, weight = builder.relevant[layer.path], builder.weights[layer.path].cpu()
    return LayerResult(
        name=layer.name,
        path=layer.path,
        kind=layer.kind,
        out_channels=layer.out_channels,
        in_channels=layer.in_channels,
        groups=layer.groups,
        relevant=int(relevant.sum()),
        zero=int((relevant & (weight == 0).all(-1).all(-1)).sum()),
        kept=int(built.masks[layer.path].sum()),
        effective=int(built.effective[layer.path].sum()),
        shares=UNSET if shares is None else _shares(layer, kernels, built.masks[layer.path], shares[layer.path]),
    )


def _shares(layer: Layer, kernels: KeptKernels, mask: Tensor, shares: Tensor) -> list[float]:
    """Return the shares of a layer's kept kernels in their order; of single weights the mean of those that are kept."""
    if mask.dim() == 4:
        shares = (shares * mask).sum((-2, -1)) / mask.sum((-2, -1)).clamp_min(1)
    column = torch.from_numpy(kernels.source) % layer.in_channels_per_group
    # Shares of a handful of circuits need no more digits.
    return [round(share, 4) for share in shares[torch.from_numpy(kernels.target), column].tolist()]


def _circuit(subnetwork: TargetSubnetwork, built: BuiltCircuit) -> Circuit:
    gains = {path: edit.gain for path, edit in built.edits.items()}
    weights = {
        path: weight.cpu() * (gains[path] if gains[path].dim() == 4 else gains[path][..., None, None])
        for path, weight in subnetwork.weights.items()
    }
    kernels = tuple(
        _kernels(layer, *(values[layer.path] for values in (built.scores, built.masks, built.effective, weights)))
        for layer in subnetwork.layers
    )
    wires = tuple(_wire(subnetwork, *input_origins(subnetwork.graph, layer)) for layer in subnetwork.layers)
    unit, origin, channel = channel_origins(subnetwork.graph, subnetwork.target.step.name)
    units = torch.tensor(subnetwork.target.units)
    number, row = (unit == units[:, None]).nonzero(as_tuple=True)
    edited = edited_channels(subnetwork)
    changes = tuple(
        _change(layer, kernel, built.edits[layer.path], edited[layer.path], subnetwork.constant.get(layer.path))
        for layer, kernel in zip(subnetwork.layers, kernels, strict=True)
    )
    return Circuit(kernels, wires, _wire(subnetwork, number, origin[row], channel[row]), changes)


def _change(layer: Layer, kernels: KeptKernels, edit: Edit, rows: Tensor, constant: Tensor | None) -> LayerEdit:
    target = torch.from_numpy(kernels.target)
    gain = edit.gain[target, torch.from_numpy(kernels.source) % layer.in_channels_per_group].float().cpu()
    offset = torch.zeros(len(rows)) if edit.offset is None else edit.offset[rows].float().cpu()
    stays = torch.zeros(0, dtype=torch.int64) if constant is None else constant.flatten().nonzero()[:, 0]
    return LayerEdit(rows.numpy(), gain.numpy(), offset.numpy(), stays.numpy())


def _wire(subnetwork: TargetSubnetwork, source: Tensor, origin: Tensor, channel: Tensor) -> ChannelSources:
    """Return the sources of some channels, by the subnetwork's own numbers of the layers; others have no kernel that
    matters."""
    number = {layer.path: index for index, layer in enumerate(subnetwork.layers)}
    known = [number.get(layer.path, -2) for layer in subnetwork.graph.layers]
    own = torch.tensor([*known, -1])[origin]
    return ChannelSources(*(part[own > -2].numpy() for part in (source, own, channel)))


def _kernels(layer: Layer, scores: Tensor, mask: Tensor, effective: Tensor, weight: Tensor) -> KeptKernels:
    """The kernels of a layer of which anything is kept, strongest first; of single weights the scores are added up."""
    if mask.dim() == 4:
        scores = (scores * mask).sum((-2, -1))
        mask, effective = mask.flatten(2).any(-1), effective.flatten(2).any(-1)
    row, column = mask.nonzero(as_tuple=True)
    order = torch.sort(scores[row, column], descending=True, stable=True).indices
    row, column = row[order], column[order]
    return KeptKernels(
        target=row.numpy(),
        source=layer.input_channels()[row, column].numpy(),
        score=scores[row, column].numpy(),
        weight=weight[row, column].float().cpu().numpy(),
        effective=effective[row, column].numpy(),
    )
