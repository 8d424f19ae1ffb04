"""Random circuits: as many kernels in every layer as a circuit has, connected where it is."""

import pytest
import torch

from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.random_circuits import random_circuit
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from tests.helpers.toy_networks import CASES, IDS, SIZE, Chain, Fixed, build, images


def builder_of(net, path, unit, **settings) -> Builder:
    graph = trace(build(net), (SIZE, SIZE))
    return Builder(TargetSubnetwork(graph, Target(graph.find(path), (unit,))), Fixed(images()), **settings)


def circuit_of(builder: Builder, budget: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    relevant = builder.relevant
    scores = {path: torch.rand(mask.shape, generator=generator).double() + 0.01 for path, mask in relevant.items()}
    return builder.select(scores, budget)


def profile(masks) -> dict[str, int]:
    return {path: int(mask.sum()) for path, mask in masks.items()}


@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
@pytest.mark.parametrize("refill", ["live", "none"])
def test_the_profile_is_that_of_the_circuit(net, path, unit, refill):
    builder = builder_of(net, path, unit, refill=refill)
    circuit = circuit_of(builder, max(4, count(builder.relevant) // 3))
    for seed in range(5):
        drawn = random_circuit(builder, circuit, torch.Generator().manual_seed(seed))
        assert profile(drawn) == profile(circuit)
        assert all(not (mask & ~builder.relevant[path]).any() for path, mask in drawn.items())


def test_kernels_are_connected_as_refill_connects_them():
    builder = builder_of(Chain, "conv2", 2, refill="live")
    circuit = circuit_of(builder, 9)
    assert count(builder.connected(circuit)) == 9
    drawn = [random_circuit(builder, circuit, torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert all(count(builder.connected(masks)) == 9 for masks in drawn)
    assert len({str(masks) for masks in drawn}) > 10
    loose = builder_of(Chain, "conv2", 2, refill="none")
    assert any(
        count(builder.connected(random_circuit(loose, circuit, torch.Generator().manual_seed(seed)))) < 9
        for seed in range(20)
    )


def test_single_weights_and_whole_channels_are_drawn():
    weights = builder_of(Chain, "conv2", 2, refill="live", structure="weight")
    circuit = circuit_of(weights, 40)
    drawn = random_circuit(weights, circuit, torch.Generator().manual_seed(1))
    assert profile(drawn) == profile(circuit)
    assert count(weights.connected(drawn)) == 40
    channels = builder_of(Chain, "conv2", 2, structure="channel")
    drawn = random_circuit(channels, circuit_of(channels, 10), torch.Generator().manual_seed(1))
    rows = drawn["conv1"].any(1)
    assert torch.equal(drawn["conv1"], rows[:, None] & channels.relevant["conv1"])


def test_as_many_kernels_of_zeros_are_drawn():
    builder = builder_of(Chain, "conv2", 2, refill="live")
    weight = builder.subnetwork.weights["conv1"]
    with torch.no_grad():
        weight[:2] = 0
    rows = torch.tensor([True, True, False, False])[:, None]
    for zeros in range(3):
        circuit = {path: mask.clone() for path, mask in builder.relevant.items()}
        circuit["conv1"][:2] = False
        circuit["conv1"][2, 0] = False
        circuit["conv1"][0, :zeros] = True
        for seed in range(5):
            drawn = random_circuit(builder, circuit, torch.Generator().manual_seed(seed))
            assert int((drawn["conv1"] & rows).sum()) == zeros
            assert int((drawn["conv1"] & ~rows).sum()) == int((circuit["conv1"] & ~rows).sum())
