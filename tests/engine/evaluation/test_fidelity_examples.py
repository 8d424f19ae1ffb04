"""What is kept of the judged responses for the report's pictures, against plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation import fidelity_examples
from circuitlang.engine.evaluation.fidelity import responses
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.images import preprocessing
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.plugins.preprocess import Preprocess
from tests.helpers.toy_networks import SIZE, Branches, Chain, Residual, build

PREPROCESS = Preprocess(SIZE, SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
MAPS = [(Branches, "head", (4,)), (Branches, "head", (0, 3)), (Chain, "conv2", (2,)), (Residual, "body", (1,))]


def pictures(count: int) -> ImageSet:
    drawn = np.random.default_rng(5).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    names = [f"{number}.png" for number in range(count)]
    return ImageSet(tuple(Path("some", name) for name in names), tuple(names), PREPROCESS, tuple(drawn), batch_size=2)


def subnetwork(net, path: str, target: dict) -> TargetSubnetwork:
    graph = trace(build(net, torch.float32), (SIZE, SIZE))
    return TargetSubnetwork(graph, Target(graph.find(path), **target))


def both(of: TargetSubnetwork, shown: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """The responses of the network, and of the network with half of its kernels."""
    generator = torch.Generator().manual_seed(1)
    masks = {path: mask & (torch.rand(mask.shape, generator=generator) > 0.3) for path, mask in of.relevant.items()}
    return responses(of, shown, ""), responses(of, shown, "", masks)


def r(f: np.ndarray, c: np.ndarray) -> float:
    return float(np.corrcoef(f.ravel(), c.ravel())[0, 1])


@pytest.mark.parametrize(("net", "path", "units"), MAPS)
def test_each_picture_has_its_own_correlation_and_maps(net, path, units):
    of, shown = subnetwork(net, path, {"units": units}), pictures(11)
    network, circuit = both(of, shown)
    found = fidelity_examples.collect(of, shown, network, circuit, 0)
    assert found.correlations
    wanted = [r(f, c) for f, c in zip(network.numpy(), circuit.numpy(), strict=True)]
    np.testing.assert_allclose(found.pictures, wanted, atol=1e-9)
    order = sorted(range(11), key=lambda index: -wanted[index])
    assert [each.name for each in found.most] == [f"{index}.png" for index in order[:4]]
    assert [each.name for each in found.least] == [f"{index}.png" for index in order[::-1][:4]]
    for each in (*found.most, *found.least):
        index = int(each.name.removesuffix(".png"))
        assert each.kept == pytest.approx(wanted[index], abs=1e-9)
        assert each.network.shape == each.circuit.shape
        assert len(each.network) == len(units)
        np.testing.assert_array_equal(each.picture, shown.rgb(index))
        with torch.no_grad():
            batch = preprocessing.normalise(shown.preprocess, torch.from_numpy(shown.rgb(index))[None])
            np.testing.assert_allclose(each.network, of.feature(batch)[0].numpy(), atol=1e-5)


def test_the_line_is_that_of_all_responses_not_of_the_sample():
    of, shown = subnetwork(Branches, "head", {"units": (4,)}), pictures(60)
    network, circuit = both(of, shown)
    found = fidelity_examples.collect(of, shown, network, circuit, 0)
    assert found.responses == network.numel() > len(found.network) == fidelity_examples.PAIRS
    slope, offset = np.polyfit(network.flatten().numpy(), circuit.flatten().numpy(), 1)
    assert (found.slope, found.offset) == pytest.approx((slope, offset))


def test_pairs_are_drawn_without_replacement_by_the_seed():
    of, shown = subnetwork(Branches, "head", {"units": (4,)}), pictures(60)
    network = torch.arange(60 * 144).double().reshape(60, 144)
    found, same, other = (fidelity_examples.collect(of, shown, network, -network, seed) for seed in (3, 3, 4))
    assert len(np.unique(found.network)) == fidelity_examples.PAIRS
    np.testing.assert_array_equal(found.circuit, -found.network)
    np.testing.assert_array_equal(found.network, same.network)
    assert (found.network != other.network).any()
    # From all over, or the scatter would be of a part.
    assert np.histogram(found.network, 10, (0, network.numel()))[0].min() > 150


def test_of_few_responses_all_are_kept():
    of, shown = subnetwork(Chain, "conv2", {"units": (2,)}), pictures(3)
    network, circuit = both(of, shown)
    found = fidelity_examples.collect(of, shown, network, circuit, 0)
    np.testing.assert_array_equal(found.network, network.flatten().numpy())
    np.testing.assert_array_equal(found.circuit, circuit.flatten().numpy())
    # Of three, two and one: no picture is at both ends.
    assert (len(found.most), len(found.least)) == (2, 1)
    assert len({each.name for each in (*found.most, *found.least)}) == 3


@pytest.mark.parametrize(
    ("net", "path", "target"),
    [(Chain, "fc2", {"units": (1,)}), (Branches, "head", {"units": (4,), "at": (3, 5)})],
    ids=["a linear layer", "a position"],
)
def test_where_a_map_is_one_value_pictures_are_told_by_how_far_off_they_are(net, path, target):
    of, shown = subnetwork(net, path, target), pictures(9)
    network, circuit = both(of, shown)
    found = fidelity_examples.collect(of, shown, network, circuit, 0)
    assert not found.correlations
    off = (network - circuit).abs().numpy()[:, 0] / network.numpy().std()
    np.testing.assert_allclose(found.pictures, off)
    order = np.argsort(off, kind="stable")
    assert [each.name for each in found.most] == [f"{index}.png" for index in order[:4]]
    assert [each.name for each in found.least] == [f"{index}.png" for index in order[::-1][:4]]


def test_maps_that_do_not_vary():
    """The network's say nothing, the circuit's preserve nothing."""
    of, shown = subnetwork(Branches, "head", {"units": (4,)}), pictures(5)
    network, circuit = both(of, shown)
    network[1], circuit[2] = 0.1, 7.3
    found = fidelity_examples.collect(of, shown, network, circuit, 0)
    assert np.isnan(found.pictures).tolist() == [False, True, False, False, False]
    assert found.pictures[2] == 0
    assert "1.png" not in [each.name for each in (*found.most, *found.least)]
    nothing = fidelity_examples.collect(of, shown, torch.zeros_like(network), circuit, 0)
    assert nothing.most == nothing.least == ()
    assert (nothing.slope, nothing.offset) == pytest.approx((0, float(circuit.mean())))
