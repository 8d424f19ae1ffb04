"""Plan → results, circuit by circuit."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from circuitlang.engine import exemplars
from circuitlang.engine.build import Builder
from circuitlang.engine.contracts import Edits, Masks, Scores
from circuitlang.engine.graph import Layer
from circuitlang.engine.images import Pictures
from circuitlang.engine.intervene import Section
from circuitlang.engine.measure import measure, responses
from circuitlang.engine.prepare import Job, Prepared
from circuitlang.engine.result import Circuit, Fidelity, Kernels, Result, Summary, Wire
from circuitlang.engine.result import Layer as LayerResult
from circuitlang.engine.score import score
from circuitlang.engine.select import budget, count

# What every circuit is compared with, as large and built in the same way.
_BASELINES = ("random", "magnitude")


def execute(prepared: Prepared, job: Job) -> Result:
    """Find one circuit and measure it."""
    section, plan = job.section, job.plan
    assert plan.size is not None, "prepare refuses circuits without a size"
    relevant = count(section.relevant)
    asked = budget(plan.size, relevant)
    builder = Builder(section, job.train, plan.ablation, plan.calibrate, plan.refill)
    scores = score(builder, plan.criterion.name, plan.criterion.parameters, asked, plan.seed)
    masks = builder.select(scores, asked)
    effective = section.live(masks)
    edits = builder.build(masks)
    judge = _Judge(section, job.test or job.train, "held-out pictures" if job.test else "pictures", plan.seed)
    judged = judge(edits, effective)
    others = {}
    for name in _BASELINES:
        rival = builder.select(score(builder, name, {}, asked, plan.seed), asked)
        others[name] = judge(builder.build(rival), section.live(rival))
    rest = {path: section.relevant[path] & ~mask for path, mask in masks.items()}
    without = judge(replace(builder, calibrate="none").build(rest), section.live(rest))
    summary = Summary(
        plan=plan,
        model=prepared.plan.model,
        relevant=relevant,
        asked=asked,
        kept=count(masks),
        effective=count(effective),
        layers=[_layer(section, layer, masks, effective) for layer in section.layers],
        train=_Judge(section, job.train, "pictures", plan.seed)(edits, effective) if job.test else judged,
        test=judged if job.test else None,
        without=without,
        baselines=others,
        provenance=job.provenance,
    )
    found = _circuit(section, scores, masks, effective)
    return Result(summary, found, exemplars.collect(section, job.train, found))


class _Judge:
    """Compares circuits with the network on some pictures."""

    def __init__(self, section: Section, images: Pictures, label: str, seed: int) -> None:
        self._section, self._images, self._label, self._seed = section, images, label, seed
        self._original = responses(section, images, f"the network on {label}")

    def __call__(self, edits: Edits, effective: Masks) -> Fidelity:
        """How well a circuit matches; `effective` are its live kernels."""
        circuit = responses(self._section, self._images, f"circuits on {self._label}", edits)
        # A collapsed circuit answers every image with the same map. What that map, made of biases and padding, has in
        # common with the feature is position, and preserves nothing.
        circuit = circuit if count(effective) else circuit.mean().expand_as(circuit)
        return measure(self._original, circuit, self._seed)


def _layer(section: Section, layer: Layer, masks: Masks, effective: Masks) -> LayerResult:
    weight = section.weights[layer.path]
    relevant = section.relevant[layer.path]
    return LayerResult(
        name=layer.name,
        path=layer.path,
        kind=layer.kind,
        out_channels=layer.out_channels,
        in_channels=layer.in_channels,
        groups=layer.groups,
        relevant=int(relevant.sum()),
        zero=int((relevant & (weight == 0).all(-1).all(-1)).sum()),
        kept=int(masks[layer.path].sum()),
        effective=int(effective[layer.path].sum()),
    )


def _circuit(section: Section, scores: Scores, masks: Masks, effective: Masks) -> Circuit:
    weights = section.weights
    kernels = tuple(
        _kernels(layer, scores[layer.path], masks[layer.path], effective[layer.path], weights[layer.path])
        for layer in section.layers
    )
    wires = tuple(_wire(section, *section.graph.feeders(layer)) for layer in section.layers)
    unit, origin, channel = section.graph.carriers(section.target.step.name)
    units = torch.tensor(section.target.units)
    number, row = (unit == units[:, None]).nonzero(as_tuple=True)
    return Circuit(kernels, wires, _wire(section, number, origin[row], channel[row]))


def _wire(section: Section, source: Tensor, origin: Tensor, channel: Tensor) -> Wire:
    """What carries some channels, by the section's own numbers of the layers; others have no kernel that matters."""
    number = {layer.path: index for index, layer in enumerate(section.layers)}
    known = [number.get(layer.path, -2) for layer in section.graph.layers]
    own = torch.tensor([*known, -1])[origin]
    return Wire(*(each[own > -2].numpy() for each in (source, own, channel)))


def _kernels(layer: Layer, scores: Tensor, mask: Tensor, effective: Tensor, weight: Tensor) -> Kernels:
    row, column = mask.nonzero(as_tuple=True)
    order = torch.sort(scores[row, column], descending=True, stable=True).indices
    row, column = row[order], column[order]
    return Kernels(
        target=row.numpy(),
        source=layer.sources()[row, column].numpy(),
        score=scores[row, column].numpy(),
        weight=weight[row, column].float().cpu().numpy(),
        effective=effective[row, column].numpy(),
    )
