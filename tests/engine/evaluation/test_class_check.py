"""The network's classification with one class's output of the circuit, against the network itself in float64."""

from __future__ import annotations

import math

import pytest
import torch

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.class_check import class_check, outputs
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from tests.helpers.toy_networks import SIZE, Chain, Fixed, build, images


def test_the_outputs_are_the_network_s():
    module, x = build(Chain), images(5)
    graph = trace(module, (SIZE, SIZE))
    part = TargetSubnetwork(graph, Target(graph.output(None), (1,)))
    torch.testing.assert_close(outputs(part, Fixed(x, 2), ""), module(x).detach(), rtol=1e-12, atol=1e-12)


def test_the_circuit_s_output_stands_for_the_network_s():
    generator = torch.Generator().manual_seed(0)
    network = torch.randn(12, 4, generator=generator).double()
    circuit = network[:, 2] + torch.randn(12, generator=generator).double()
    check, same, before, after = class_check(network, 2, circuit, "abcd"), 0, 0.0, 0.0
    changes: list[tuple[str, str]] = []
    for row, own in zip(network.tolist(), circuit.tolist(), strict=True):
        mixed = [*row[:2], own, row[3]]
        same += mixed.index(max(mixed)) == row.index(max(row))
        changes += [("abcd"[row.index(max(row))], "abcd"[mixed.index(max(mixed))])]
        before += math.exp(row[2]) / sum(map(math.exp, row)) / 12
        after += math.exp(own) / sum(map(math.exp, mixed)) / 12
    assert 0 < same < 12
    assert check.agreement == pytest.approx(same / 12, rel=1e-12)
    assert (check.network, check.circuit) == pytest.approx((before, after), rel=1e-12)
    confusion = {(change.network, change.taken_for): change.images for change in check.confusion}
    assert confusion == {change: changes.count(change) for change in changes if change[0] != change[1]}
    counts = [change.images for change in check.confusion]
    assert counts == sorted(counts, reverse=True)
    assert {change.network for change in class_check(network, 2, circuit).confusion} <= {"0", "1", "2", "3"}
