"""Plan → results, circuit by circuit."""

from __future__ import annotations

import torch
from torch import Tensor

from circuitlang.engine import exemplars
from circuitlang.engine.build import Builder
from circuitlang.engine.contracts import Masks, Scores
from circuitlang.engine.graph import Layer
from circuitlang.engine.intervene import Section
from circuitlang.engine.measure import measure, responses
from circuitlang.engine.prepare import Job, Prepared
from circuitlang.engine.result import Circuit, Kernels, Result, Summary, Wire
from circuitlang.engine.result import Layer as LayerResult
from circuitlang.engine.score import score
from circuitlang.engine.select import budget, count


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
    fidelity = {}
    for name, images in (("train", job.train), ("test", job.test)):
        if images is not None:
            original = responses(section, images, "the network's responses")
            circuit = responses(section, images, "the circuit's responses", edits)
            # A collapsed circuit answers every image with the same map. What that map, made of biases and padding,
            # has in common with the feature is position, and preserves nothing.
            collapsed = not count(effective)
            fidelity[name] = measure(original, circuit.mean().expand_as(circuit) if collapsed else circuit)
    summary = Summary(
        plan=plan,
        model=prepared.plan.model,
        relevant=relevant,
        asked=asked,
        kept=count(masks),
        effective=count(effective),
        layers=[_layer(section, layer, masks, effective) for layer in section.layers],
        train=fidelity["train"],
        test=fidelity.get("test"),
        provenance=job.provenance,
    )
    found = _circuit(section, scores, masks, effective)
    return Result(summary, found, exemplars.collect(section, job.train, found))


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
