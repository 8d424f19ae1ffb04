"""The record of a graph counts the kernels and operations that the graph itself has."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch import nn
from torchvision import models

from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.graph_record import GraphRecord, record
from circuitlang.engine.graph.reachability import on_path
from circuitlang.engine.graph.receptive_field import aligned_crop
from circuitlang.engine.graph.tracer import trace
from tests.helpers import toy_networks


def stored(graph: Graph) -> GraphRecord:
    """The record as it is read back."""
    return msgspec.json.decode(msgspec.json.encode(record(graph)), type=GraphRecord)


def compare(graph: Graph) -> None:
    """Compare all nodes behind a layer, by their first channel and by two of them."""
    found = stored(graph)
    for name, step in graph.steps.items():
        if not any(node.layer for node in graph.ancestors(name)):
            continue
        for units in ((0,), (step.width - 1, step.width // 2)):
            masks = on_path(graph, name, torch.tensor(units))
            assert found.relevant(name, units) == {path: int(mask.sum()) for path, mask in masks.items()}
        assert [node.name for node in found.ancestors(name)] == [node.name for node in graph.ancestors(name)]
        assert found.steps[name].positions == step.positions
        if len(step.positions) == 2:
            assert aligned_crop(found, name, 0, 1) == aligned_crop(graph, name, 0, 1)


@pytest.mark.parametrize(
    "net",
    [
        toy_networks.Chain, toy_networks.Branches, toy_networks.Residual, toy_networks.Groups, toy_networks.Excited,
        toy_networks.Shuffling, toy_networks.ChannelsLast, toy_networks.Again,
    ],
)  # fmt: skip
def test_kernels_on_a_path_are_counted(net: type[nn.Module]) -> None:
    size = toy_networks.images(1).shape[2:]
    compare(trace(toy_networks.build(net), (size[0], size[1])))


@pytest.mark.parametrize("name", ["squeezenet1_1", pytest.param("shufflenet_v2_x0_5", marks=pytest.mark.slow)])
def test_kernels_of_published_networks_are_counted(name: str) -> None:
    with torch.device("meta"):
        module = models.get_model(name, weights=None)
    compare(trace(module, (48, 48)))


def test_words_of_targets_lead_to_their_nodes() -> None:
    graph = trace(toy_networks.build(toy_networks.Residual), (12, 12))
    found = stored(graph)
    assert found.words == {word: graph.find(word).name for word in graph.widths()}
    assert found.output == graph.output().name


def test_operations_are_counted_for_each_channel() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 1, groups=2)), (8, 8))
    first, second = graph.layers
    assert stored(graph).operations(second.node) == {first.node: 2 * 36 * 3 * 9, second.node: 2 * 36 * 2}
