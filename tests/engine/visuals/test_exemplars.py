"""Exemplars: of each channel the part of a picture that excites it most, found by brute force."""

from pathlib import Path

import numpy as np
import pytest
import torch

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.receptive_field import receptive_field
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.visuals import exemplars
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.results.types import ChannelSources, Circuit, KeptKernels
from tests.helpers.toy_networks import SIZE, Again, Branches, Chain, build, naive_trace

PREPROCESS = Preprocess(SIZE, SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def pictures(count: int) -> ImageSet:
    drawn = np.random.default_rng(5).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    names = [str(number) for number in range(count)]
    return ImageSet(tuple(map(Path, names)), tuple(names), PREPROCESS, tuple(drawn), batch_size=2)


def circuit(subnetwork: TargetSubnetwork) -> Circuit:
    """Every relevant kernel, and all of them effective."""
    kernels = []
    for layer in subnetwork.layers:
        row, column = subnetwork.relevant[layer.path].nonzero(as_tuple=True)
        weight, many = subnetwork.weights[layer.path][row, column].float().numpy(), len(row)
        kernels.append(
            KeptKernels(
                row.numpy(), layer.input_channels()[row, column].numpy(), np.ones(many), weight, np.ones(many, np.bool_)
            )
        )
    none = np.zeros(0, np.int64)
    return Circuit(tuple(kernels), (ChannelSources(none, none, none),) * len(kernels), ChannelSources(none, none, none))


@pytest.mark.parametrize(("net", "path", "unit"), [(Chain, "conv2", 2), (Branches, "head", 4), (Again, "head", 1)])
def test_an_exemplar_is_what_the_strongest_response_sees(net, path, unit):
    module, shown = build(net, torch.float32), pictures(5)
    graph = trace(module, (SIZE, SIZE))
    subnetwork = TargetSubnetwork(graph, Target(graph.find(path), (unit,)))
    found = exemplars.collect(subnetwork, shown, circuit(subnetwork))
    x = torch.cat(list(shown.batches("")))
    _, _, seen = naive_trace(module, path, unit, x)
    assert {subnetwork.layers[number].path for number, _ in found} == set(subnetwork.relevant)
    compared = 0
    for (number, channel), exemplar in found.items():
        layer = subnetwork.layers[number]
        if layer.path not in seen:  # called as a function, where no hook sees it
            continue
        output = seen[layer.path][1][:, channel].detach()
        image, row, column = torch.unravel_index(output.argmax(), output.shape)
        box = receptive_field(graph, layer.node, int(row), int(column)) or (0, 0, SIZE, SIZE)
        top, left, bottom, right = box
        if bottom - top >= SIZE or right - left >= SIZE or (bottom - top) != (right - left):
            continue
        grey = np.full((3 * SIZE, 3 * SIZE, 3), 128, np.uint8)
        grey[SIZE : 2 * SIZE, SIZE : 2 * SIZE] = shown.rgb(int(image))
        crop = grey[SIZE + top : SIZE + bottom, SIZE + left : SIZE + right]
        nearest = ((np.arange(exemplars.SIZE) + 0.5) * len(crop) / exemplars.SIZE).astype(int)
        assert np.array_equal(exemplar, crop[nearest][:, nearest])
        compared += 1
    assert compared > 2
