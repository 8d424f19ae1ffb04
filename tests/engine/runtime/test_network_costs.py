"""Costs that are kept for targets which cost the same are those of each target."""

from __future__ import annotations

from itertools import combinations, islice

import pytest
from torch import nn

from circuitlang.engine.graph.graph_record import record
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.runtime.network_costs import NetworkCosts, TargetNode
from circuitlang.engine.visuals.visualised_part import work
from circuitlang.plan.model import Target
from tests.helpers import toy_networks

NETWORKS = (
    toy_networks.Chain, toy_networks.Branches, toy_networks.Residual, toy_networks.Groups, toy_networks.Shuffling,
    toy_networks.Again,
)  # fmt: skip


def nowhere(target: Target) -> TargetNode:
    raise AssertionError(target)


@pytest.mark.parametrize("net", NETWORKS)
def test_relevant_kernels_are_those_of_each_target(net: type[nn.Module]) -> None:
    height, width = toy_networks.images(1).shape[2:]
    graph = record(trace(toy_networks.build(net), (height, width)))
    costs = NetworkCosts(graph, nowhere, height, ())
    sizes = {node.layer.path: node.layer.size for node in graph.nodes if node.layer}
    for node in graph.nodes:
        # Nodes before all layers have no kernels.
        if not any(step.layer for step in graph.ancestors(node.name)):
            continue
        singles, pairs = ((unit,) for unit in range(node.width)), combinations(range(node.width), 2)
        for units in (*singles, *islice(pairs, 40)):
            target, kernels = TargetNode(node.name, units, None), graph.relevant(node.name, units)
            assert costs.relevant(target, weights=False) == sum(kernels.values())
            weights = sum(number * sizes[path][0] * sizes[path][1] for path, number in kernels.items())
            assert costs.relevant(target, weights=True) == weights
            rows = graph.operations(node.name)
            layers = {step.name: step.layer for step in graph.nodes if step.layer}
            own = len(units) if node.layer else 0
            assert costs.forward(target).steps == {
                name: row * (own if name == node.name else layers[name].out_channels) for name, row in rows.items()
            }
        assert costs.image_work(TargetNode(node.name, (0,), None)) == max(
            work(graph, step.name) for step in graph.ancestors(node.name) if step.layer
        )
