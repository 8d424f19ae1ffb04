"""The words of a diagram: its title, what is drawn and what isn't, headings, tooltips."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from circuitlang.plan.clauses import claims
from circuitlang.reporting.diagram.svg import shorten
from circuitlang.reporting.text import circuit_sentences, verdict_sentences
from circuitlang.results.connections import IMAGE, Channel, Connection, Connections
from circuitlang.results.stability import UNSTABLE, share_of
from circuitlang.results.types import LayerSummary, Result


def title(result: Result) -> str:
    """State the claim: the feature, the number of kernels, the fidelity."""
    summary = result.summary
    share = f" ({percent(summary.kept / summary.relevant)} of {summary.relevant:,})" if summary.relevant else ""
    parts = [shorten(str(summary.plan.target), 48), _count(summary.kept, summary.noun) + share]
    fidelity, where = (summary.test, "held-out") if summary.test else (summary.train, "on its own images")
    if headlined := headline(fidelity.metrics):
        parts.append(f"{headlined} {where}")
    return " · ".join(parts)


def headline(metrics: Mapping[str, float]) -> str:
    """Return the first metric of a fidelity with its value, or nothing if none is a number."""
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    if not finite:
        return ""
    name = "pearson" if "pearson" in finite else min(finite)
    # Without the sign of a zero.
    return f"{name} {round(finite[name], 2) + 0.0:.2f}"


def subtitle(result: Result, connections: Connections, columns: Collection[int]) -> list[str]:
    """Say how the circuit was found, and how the drawing differs from what was kept."""
    summary = result.summary
    plan = summary.plan
    how = [summary.model.name, f"images {circuit_sentences.images(summary)}", f"criterion {plan.criterion.name}"]
    how.append(f"ablation {plan.ablation.name}")
    how += claims(plan)
    lines = [" · ".join(shorten(part, 40) for part in how)]
    effective, left_out = connections.effective, connections.left_out
    if not effective:
        target = shorten(str(plan.target), 48)
        collapsed = f"No kernel is effective: no kept kernel lies on a path from the image to {target}."
        return [*lines, verdict_sentences.constant_feature(target) if summary.unheard else collapsed]
    if left_out:
        kernels = f"{effective - left_out:,} of {_count(effective, 'effective kernel')}"
        edges = f"{len(connections.strongest):,} edges of the strongest paths"
        lines.append(f"Drawn: {edges}, with {kernels}. They carry {percent(connections.carried)} of the influence.")
    elif effective < summary.kept:
        lines.append(f"Drawn: the {_count(effective, 'kernel')} connected to the image.")
    silent = [layer.name for number, layer in enumerate(summary.layers) if number not in columns]
    if silent:
        names = ", ".join(shorten(name, 24) for name in silent[:3])
        more = f" and {len(silent) - 3} more" if len(silent) > 3 else ""
        lines.append(f"Nothing drawn in {names}{more}.")
    return lines


def description(result: Result, drawn: Sequence[Connection]) -> str:
    """Describe the drawing for screen readers."""
    channels = {end for one in drawn for end in (one.source, one.target)} - {IMAGE}
    return (
        f"Circuit diagram of {result.summary.plan.target}: layers from the image on the left to the target "
        f"on the right, {_count(len(channels), 'channel')} joined by {_count(len(drawn), 'edge')}. "
        "Width is the influence on the target, colour the sign of the weights' sum."
    )


def heading(layer: LayerSummary) -> list[str]:
    """Return the lines above a layer's column: its name first."""
    path = [shorten(layer.path, 22)] if layer.path != layer.name else []
    kept = [f"kept {layer.kept:,} of {layer.relevant:,}"]
    effective = [f"{layer.effective:,} effective"] if layer.effective != layer.kept else []
    return [shorten(layer.name, 20), *path, *kept, *effective]


def channel_name(channel: Channel, layers: Sequence[LayerSummary]) -> str:
    """`conv5:34`, or `image`."""
    return "image" if channel == IMAGE else f"{layers[channel[0]].name}:{channel[1]}"


def edge_tooltip(one: Connection, layers: Sequence[LayerSummary], effective: int) -> str:
    """Everything about a connection."""
    height, width = one.size
    single = one.kernels == 1
    source, target = (channel_name(channel, layers) for channel in (one.source, one.target))
    notes = *sum_note(one, layers), *_stability(one, layers)
    kernels = f"{height}×{width} kernel" if single else f"{one.kernels:,} kernels of {height}×{width}"
    return (
        f"{source} → {target}\n"
        f"influence {percent(one.influence)}, {percent(one.share)} of what {target} reads\n"
        f"{'' if single else 'total '}score {one.score:.3g}, "
        f"{'' if single else 'best '}rank {one.rank:,} of {effective:,}\n"
        f"{kernels}, weight sum {one.weight:+.3g}" + "".join(f"\n{line}" for line in notes)
    )


def stability_legend() -> str:
    """State which edges are drawn as unstable."""
    return f"in less than {percent(UNSTABLE)} of circuits of other images"


def _stability(one: Connection, layers: Sequence[LayerSummary]) -> list[str]:
    share = share_of(one, layers)
    return [] if share is None else [f"in {percent(share)} of circuits of other images"]


def sum_note(one: Connection, layers: Sequence[LayerSummary]) -> list[str]:
    """Say what is added up on the way, if anything is."""
    if len(one.summands) == 1:
        return []
    names = [channel_name(channel, layers) for channel in one.summands]
    more = f" + {len(names) - 4} more" if len(names) > 5 else ""
    return [f"reads the sum {' + '.join(names[: 4 if more else 5])}{more}"]


def node_tooltips(result: Result) -> dict[Channel, str]:
    """Return a tooltip for every channel with kernels: the sum of their weights, and its rank in the layer."""
    texts = {IMAGE: "image"}
    for place, kernels in enumerate(result.circuit.kernels):
        mine = kernels.effective
        channels, member = np.unique(kernels.target[mine], return_inverse=True)
        count = np.bincount(member)
        score = np.bincount(member, kernels.score[mine])
        weight = np.bincount(member, kernels.weight[mine].sum(axis=(1, 2), dtype=np.float64))
        height, width = kernels.weight.shape[1:]
        for number, channel in enumerate(channels.tolist()):
            rank = 1 + int((score > score[number]).sum())
            texts[place, channel] = (
                f"{channel_name((place, channel), result.summary.layers)}\n"
                f"total score {score[number]:.3g}, rank {rank} of {len(channels)} in its layer\n"
                f"{_count(int(count[number]), 'kernel')} of {height}×{width}, "
                f"weight sum {weight[number]:+.3g}"
            )
    return texts


def percent(share: float) -> str:
    """Format a share with as many digits as it needs."""
    if 0 < share < 1e-5:
        return "<0.001%"
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
