"""Finished circuits as an atlas shows them: facts, a small drawing, and the channels that they pass through."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circuitlang.plan.targets import Channel as ChannelTarget
from circuitlang.plan.targets import OfClasses
from circuitlang.reporting.text import circuit_sentences, verdict_sentences
from circuitlang.reporting.text.extension_calls import without_defaults
from circuitlang.results.connections import IMAGE, Connection, connections
from circuitlang.results.labelling import target_label
from circuitlang.results.types import Circuit, LayerSummary, Summary
from circuitlang.results.verdict import BASELINES, decisive, verdict

# Connections that a drawing has, and those that tell which channels a circuit passes through.
_DRAWN, _FOLLOWED = 90, 400
# Kernels, the strongest of a circuit, that tell how much it shares with another.
_SKETCH = 1024
# The layer of targets that are in none.
OUTPUT = "output"


@dataclass(frozen=True)
class Flow:
    """A channel of a layer that a circuit passes through, and the part of the feature that flows through it."""

    layer: str
    unit: int
    influence: float


@dataclass(frozen=True)
class AtlasEntry:
    """A circuit in the atlas.

    Attributes:
        layer: Layer of the target as specs call it.
        unit: Channel of the target; None if it is another than a channel.
        value: The metric that decides, with its interval and the baselines' values by name.
        layers: Layers of the circuit in execution order, with their numbers of channels.
        drawing: Channels and connections as plain lists, for a script.
        flows: Channels that the circuit passes through, the most influential first.
        inputs: Channels that the target reads, with their share of what it reads, negative if they inhibit it.
        alive: Channels with an effective kernel, by layer.
        sketch: Keys of the strongest kernels upstream of the target's own, ascending.
        crops: An image file of the parts of images that excite the target most, or a data URI; empty if unknown.
        folder: Name of the folder that has the circuit's pages; empty if there is none.
    """

    id: str
    target: str
    layer: str
    unit: int | None
    label: str
    verdict: str
    title: str
    conclusion: str
    good: bool
    metric: str
    value: float
    interval: tuple[float, float] | None
    baselines: Mapping[str, float]
    necessity: float
    kept: int
    relevant: int
    noun: str
    where: str
    images: str
    criterion: str
    size: str
    layers: Mapping[str, int]
    drawing: Mapping[str, object]
    flows: tuple[Flow, ...]
    inputs: tuple[Flow, ...]
    alive: Mapping[str, NDArray[np.int64]]
    sketch: NDArray[np.int64]
    crops: bytes | str = b""
    folder: str = ""


def entry(
    summary: Summary, circuit: Circuit, crops: bytes | str = b"", folder: str = "", paths: bool = False
) -> AtlasEntry:
    """Return the entry of a circuit; `paths` calls layers by the paths of modules instead of their names."""
    plan, target = summary.plan, summary.plan.target
    metric = decisive(summary)
    metric = metric if metric in summary.judged.metrics else min(summary.judged.metrics)
    shown = connections(circuit, _FOLLOWED)
    names = [layer.path if paths else layer.name for layer in summary.layers]
    ends = {(int(layer), int(unit)) for layer, unit in zip(circuit.target.origin, circuit.target.channel, strict=True)}
    return AtlasEntry(
        id=plan.id,
        target=str(target),
        layer=OUTPUT if isinstance(target, OfClasses) else _name(summary.layers, names, target.layer),
        unit=target.unit if isinstance(target, ChannelTarget) else None,
        label=target_label(summary, summary.labels.texts()) if summary.labels else "",
        verdict=verdict(summary),
        title=verdict_sentences.title(summary),
        conclusion=verdict_sentences.conclusion(summary) or verdict_sentences.reason(summary),
        good=verdict(summary) == "preserved",
        metric=metric,
        value=summary.judged.metrics[metric],
        interval=summary.judged.intervals.get(metric),
        baselines={name: summary.baselines[name].metrics[metric] for name in BASELINES if name in summary.baselines},
        necessity=summary.without.metrics["error"],
        kept=summary.kept,
        relevant=summary.relevant,
        noun=summary.noun,
        where=circuit_sentences.where(summary),
        images=circuit_sentences.images(summary),
        criterion=without_defaults(plan.criterion),
        size=str(plan.size) if plan.size is not None else "the smallest that meets its bounds",
        layers={name: layer.out_channels for name, layer in zip(names, summary.layers, strict=True)},
        drawing=_drawing(shown.strongest[:_DRAWN], names, ends),
        flows=_flows(shown.strongest, names, ends),
        inputs=_inputs(shown.strongest, names, ends),
        alive={
            name: np.unique(kernels.target[kernels.effective])
            for name, kernels in zip(names, circuit.kernels, strict=True)
        },
        sketch=_sketch(circuit, summary.layers),
        # All images excite a constant channel alike.
        crops=b"" if summary.unheard else crops,
        folder=folder,
    )


def writes_paths(summary: Summary) -> bool:
    """Return whether a spec calls the layer of a target by the path of its module."""
    target = summary.plan.target
    names = {layer.name for layer in summary.layers}
    return not isinstance(target, OfClasses) and "." in target.layer and target.layer not in names


def _name(layers: list[LayerSummary], names: list[str], written: str) -> str:
    """Return what the atlas calls a layer."""
    known = zip(layers, names, strict=True)
    return next((name for layer, name in known if written in (layer.name, layer.path)), written)


def _drawing(strongest: list[Connection], names: list[str], ends: set[tuple[int, int]]) -> dict[str, object]:
    """Return channels as [layer, channel, influence], and connections as [from, to, influence, sign] by number."""
    nodes: dict[tuple[int, int], float] = defaultdict(float)
    for one in strongest:
        nodes[one.source] += 0
        nodes[one.target] += one.influence
    for end in ends:
        nodes[end] = 1.0
    order = {node: number for number, node in enumerate(sorted(nodes))}
    used = sorted({layer for layer, _ in nodes})
    columns = {layer: number for number, layer in enumerate(used)}
    return {
        "layers": ["image" if layer < 0 else names[layer] for layer in used],
        "nodes": [[columns[node[0]], node[1], round(min(nodes[node], 1.0), 3)] for node in order],
        "edges": [[order[one.source], order[one.target], round(one.influence, 3), one.sign] for one in strongest],
        "target": [order[end] for end in sorted(ends)],
    }


def _flows(strongest: list[Connection], names: list[str], ends: set[tuple[int, int]]) -> tuple[Flow, ...]:
    flow: dict[tuple[int, int], float] = defaultdict(float)
    for one in strongest:
        if one.source != IMAGE and one.source not in ends:
            flow[one.source] += one.influence
    ranked = sorted(flow, key=lambda node: (-flow[node], node))
    return tuple(Flow(names[layer], unit, min(flow[layer, unit], 1.0)) for layer, unit in ranked)


def _inputs(strongest: list[Connection], names: list[str], ends: set[tuple[int, int]]) -> tuple[Flow, ...]:
    read = sorted((one for one in strongest if one.target in ends), key=lambda one: -one.share)
    return tuple(
        Flow("image" if one.source == IMAGE else names[one.source[0]], one.source[1], one.share * (one.sign or 1))
        for one in read
    )


def _sketch(circuit: Circuit, layers: list[LayerSummary]) -> NDArray[np.int64]:
    """Return keys of the strongest kernels in layers that the target does not lie in."""
    own = set(circuit.target.origin.tolist())
    keys, scores = [np.zeros(0, np.int64)], [np.zeros(0)]
    for number, (layer, kernels) in enumerate(zip(layers, circuit.kernels, strict=True)):
        if number not in own:
            keys.append((number << 40) + kernels.target * layer.in_channels + kernels.source)
            scores.append(kernels.score)
    strongest = np.argsort(-np.concatenate(scores), kind="stable")[:_SKETCH]
    return np.sort(np.concatenate(keys)[strongest])
