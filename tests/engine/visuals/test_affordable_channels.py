"""The channels that are visualised without being asked for, and what their images cost."""

import numpy as np
import pytest
import torch

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.visuals import amounts
from circuitlang.engine.visuals.affordable_channels import affordable_channels
from circuitlang.engine.visuals.feature_visualisation import SIZE, visualise
from circuitlang.engine.visuals.visualised_part import middle, part, work
from circuitlang.plugins.progress import no_progress
from circuitlang.results.visualised_channels import by_influence
from tests.engine.visuals.test_activation_maps import thinned
from tests.engine.visuals.test_exemplars import PREPROCESS, circuit
from tests.helpers.toy_networks import SIZE as SIDE
from tests.helpers.toy_networks import Chain, build


@pytest.fixture(autouse=True)
def usual(monkeypatch):
    """As in a run of a user, unlike in other tests."""
    monkeypatch.setattr(amounts, "OPERATIONS", 5 * 10**11)


def chain(path="fc2", units=(0,)):
    graph = trace(build(Chain, torch.float32), (SIDE, SIDE))
    return TargetSubnetwork(graph, Target(graph.find(path), units))


def candidates(subnetwork):
    """Channels in order of influence, without the layer that reads the image and without the feature."""
    found = circuit(subnetwork)
    target = set(zip(found.target.origin.tolist(), found.target.channel.tolist(), strict=True))
    order = [one for one in by_influence(found, ()) if not (found.wires[one[0]].origin < 0).any()]
    return found, [one for one in order if target != {one}]


@pytest.mark.parametrize("most", [1, 3, 100])
def test_the_strongest_channels_are_taken(monkeypatch, most):
    monkeypatch.setattr(amounts, "MOST", most)
    for subnetwork in (chain(), chain("conv2", (2,)), chain("conv2", (1, 2))):
        found, order = candidates(subnetwork)
        assert affordable_channels(subnetwork, found, ()) == sorted(order[:most])


def test_what_does_not_fit_into_the_budget_is_left_out(monkeypatch):
    subnetwork = chain()
    found, order = candidates(subnetwork)
    cost = {layer: work(subnetwork.graph, subnetwork.nodes[subnetwork.layers[layer].path]) for layer, _ in order}
    assert len(set(cost.values())) > 1
    for budget in (0, min(cost.values()), max(cost.values()) + 1, 3 * max(cost.values()), 10**12):
        monkeypatch.setattr(amounts, "OPERATIONS", budget)
        chosen = affordable_channels(subnetwork, found, ())
        taken = sum(cost[layer] for layer, _ in chosen)
        assert taken <= budget
        # No other would fit, unless there are as many as there may be.
        left = [cost[layer] for layer, channel in order if (layer, channel) not in chosen]
        assert len(chosen) == amounts.MOST or all(taken + one > budget for one in left)


@pytest.mark.parametrize("side", [5, 96])
def test_the_work_of_an_image_is_that_of_its_steps(monkeypatch, side):
    monkeypatch.setattr(amounts, "SIDE", side)
    subnetwork = chain()
    for layer in subnetwork.layers:
        node = subnetwork.nodes[layer.path]
        steps = [step for step in subnetwork.graph.ancestors(node) if step.layer]
        forward = sum(
            2 * np.prod(step.positions or (1,)) * subnetwork.graph.kernels[step.layer.path].numel() for step in steps
        )
        crop = part(subnetwork.graph, node, middle(subnetwork.graph.steps[node].positions))
        height, width = (crop[0][2] - crop[0][0], crop[0][3] - crop[0][1]) if crop else (SIDE, SIDE)
        if min(height, width) > side:
            height = width = side
        expected = 3 * forward * height * width / SIDE**2 + amounts.OVERHEAD
        assert work(subnetwork.graph, node) == pytest.approx(amounts.STEPS * expected, abs=amounts.STEPS)


def test_affordable_images_are_of_the_network_alone(monkeypatch):
    monkeypatch.setattr(amounts, "STEPS", 2)
    subnetwork = chain()
    found, _ = candidates(subnetwork)
    channels = affordable_channels(subnetwork, found, ())
    every = [
        visualise(subnetwork, thinned(subnetwork), channels, PREPROCESS, 0, no_progress, budget=one)
        for one in (True, False)
    ]
    affordable, both = every
    assert affordable.budget
    assert not both.budget
    assert affordable.target.shape == both.target.shape == (2, SIZE, SIZE, 3)
    assert [*affordable.channels] == [*both.channels] == channels
    assert all(np.array_equal(affordable.channels[one], both.channels[one][:1]) for one in channels)
