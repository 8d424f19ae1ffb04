"""The strongest paths alone: circuits of the drawn kernels, built as the whole one was."""

import numpy as np
import pytest
import torch

from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_origins import input_origins
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.visuals import path_fidelity
from circuitlang.plan.clauses import Choice
from circuitlang.plugins.protocols import Edit
from circuitlang.results.connections import connections
from circuitlang.results.types import ChannelSources, Circuit, Fidelity
from tests.engine.visuals.test_exemplars import circuit, pictures
from tests.helpers.toy_networks import SIZE, Branches, Chain, Residual, build


def wired(subnetwork: TargetSubnetwork) -> Circuit:
    """Every relevant kernel, with scores, and the wires between layers."""
    number = {layer.path: place for place, layer in enumerate(subnetwork.layers)}
    own = torch.tensor([*(number.get(layer.path, -2) for layer in subnetwork.graph.layers), -1])
    wires = []
    for layer in subnetwork.layers:
        source, origin, channel = input_origins(subnetwork.graph, layer)
        known = own[origin] > -2
        wires.append(ChannelSources(*(part[known].numpy() for part in (source, own[origin], channel))))
    units = np.array(subnetwork.target.units)
    target = ChannelSources(np.arange(len(units)), np.full(len(units), len(subnetwork.layers) - 1), units)
    rng = np.random.default_rng(0)
    kernels = circuit(subnetwork).kernels
    for one in kernels:
        one.score[:] = rng.gamma(0.5, size=len(one.score))
    return Circuit(kernels, tuple(wires), target)


@pytest.mark.parametrize(("net", "path", "unit"), [(Chain, "conv2", 2), (Branches, "head", 4), (Residual, "head", 2)])
@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_paths_alone_are_built_as_the_circuit_was(net, path, unit, ablation):
    module, shown = build(net, torch.float32), pictures(5)
    graph = trace(module, (SIZE, SIZE))
    subnetwork = TargetSubnetwork(graph, Target(graph.find(path), (unit,)))
    builder = Builder(subnetwork, shown, Choice(ablation))
    whole = wired(subnetwork)
    drawn = connections(whole, 2000)
    judged = []

    def judge(masks, edits):
        judged.append((masks, edits))
        return Fidelity(images=5, metrics={"pearson": count(masks) / 1000})

    found = path_fidelity.collect(builder, whole, builder.ablated(subnetwork.relevant), (), judge)
    assert len(found) == len(judged) > 0
    assert all(one.steps < 1 + drawn.strongest[-1].step for one in found)
    for one, (masks, edits) in zip(found, judged, strict=True):
        assert one.kernels == count(masks)
        assert one.metrics == {"pearson": one.kernels / 1000}
        parts = [each for each in drawn.strongest if each.step < one.steps]
        members = {(each.target[0], member) for each in parts for member in each.members}
        assert len(members) == one.kernels
        for place, layer in enumerate(subnetwork.layers):
            kernels = whole.kernels[place]
            for member in range(len(kernels.target)):
                row, column = int(kernels.target[member]), int(kernels.source[member]) % layer.in_channels_per_group
                assert bool(masks[layer.path][row, column]) == ((place, member) in members)
            expected = builder.ablated(masks)[layer.path]
            assert torch.equal(edits[layer.path].gain.double(), expected.gain.double())
            assert torch.allclose(edits[layer.path].offset, expected.offset)


def test_gains_and_offsets_of_the_circuit_stay():
    module, shown = build(Chain, torch.float32), pictures(3)
    graph = trace(module, (SIZE, SIZE))
    subnetwork = TargetSubnetwork(graph, Target(graph.find("conv2"), (2,)))
    whole, relevant = wired(subnetwork), subnetwork.relevant
    edits = {path: Edit(0.5 * mask.double(), torch.ones(len(mask)).double()) for path, mask in relevant.items()}

    def judge(masks, parts):
        for path, part in parts.items():
            assert torch.equal(part.gain, 0.5 * masks[path].double())
            assert torch.equal(part.offset, edits[path].offset)
        return Fidelity(images=3, metrics={})

    assert path_fidelity.collect(Builder(subnetwork, shown), whole, edits, (), judge)
