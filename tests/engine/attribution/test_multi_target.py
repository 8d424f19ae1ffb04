"""Features of one network that are taken together are what they are alone, and nothing is computed twice for them."""

from collections import Counter

import pytest
import torch

from circuitlang.engine.attribution.multi_target import MultiTargetPass
from circuitlang.engine.attribution.scorer import score, score_together
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.masked_layer import MaskedLayer
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation import reference_responses
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.plan.model import Choice
from tests.engine.visuals.test_exemplars import pictures
from tests.helpers.toy_networks import (
    SIZE,
    Again,
    Branches,
    Chain,
    ChannelsLast,
    Excited,
    Fixed,
    Groups,
    Residual,
    build,
    images,
)

# Of each network targets at several depths, of steps that have kernels and of others, of branches, and twice of one.
TARGETS = {
    Chain: [("conv1", 1), ("conv2", 2), ("relu1", 1), ("conv2", 4), ("fc1", 3), ("fc2", 0)],
    Branches: [("left", 0), ("right", 2), ("squeeze", 1), ("head", 3), ("act", 1)],
    Residual: [("stem", 0), ("body", 1), ("norm", 2), ("relu", 3), ("head", 2)],
    Groups: [("grouped", 1), ("depthwise", 4), ("point", 0)],
    Excited: [("squeeze", 1), ("excite", 2), ("where", 0), ("head", 1)],
    Again: [("stem", 1), ("twice", 2), ("called", 5), ("head", 1)],
    ChannelsLast: [("wide", 3), ("depthwise", 1), ("narrow", 2), ("head", 1)],
}


def subnetworks(net, dtype=torch.float64):
    graph = trace(build(net, dtype), (SIZE, SIZE))
    plain = [TargetSubnetwork(graph, Target(graph.find(path), (unit,))) for path, unit in TARGETS[net]]
    path, unit = TARGETS[net][-1]
    step = graph.find(path)
    return [
        *plain,
        TargetSubnetwork(graph, Target(step, (unit,), at="max")),
        TargetSubnetwork(graph, Target(step, (1, 0), (0.5, -2.0))),
    ]


@pytest.mark.parametrize("net", TARGETS, ids=lambda each: each.__name__)
def test_features_together_are_those_alone_to_the_last_bit(net):
    several = subnetworks(net, torch.float32)
    x = images(3).float()
    with torch.no_grad():
        found = MultiTargetPass(several).features(x)
        for subnetwork in several:
            assert torch.equal(found[subnetwork], subnetwork.feature(x))


@pytest.mark.parametrize("net", TARGETS, ids=lambda each: each.__name__)
def test_no_layer_runs_twice_but_for_rows_of_its_own(net, monkeypatch):
    several, ran = subnetworks(net), Counter()
    forward = MaskedLayer.forward

    def counted(self, x):
        ran[self.layer.path, None if self.rows is None else tuple(self.rows.tolist())] += 1
        return forward(self, x)

    monkeypatch.setattr(MaskedLayer, "forward", counted)
    MultiTargetPass(several).features(images(2))
    graph = several[0].graph
    whole = {layer.path: len(graph.uses(layer)) for layer in graph.layers}
    wanted = Counter({(s.target.step.layer.path, tuple(s.target.units)): 0 for s in several if s.target.step.layer})
    assert ran
    for (path, rows), times in ran.items():
        assert times <= (whole[path] if rows is None else sum(s.target.units == rows for s in several))
        assert rows is None or (path, rows) in wanted


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["kernel", "weight"])
@pytest.mark.parametrize("net", TARGETS, ids=lambda each: each.__name__)
def test_targets_of_several_layers_score_together_as_alone(net, structure):
    x = Fixed(images())
    asked = [
        (Builder(subnetwork, x, structure=structure), Choice(criterion))
        for subnetwork in subnetworks(net)
        for criterion in ("snip", "gn", "actgrad")
    ]
    compared = 0
    for (builder, choice), found in zip(asked, score_together(asked, 5), strict=True):
        alone = score(builder, choice.name, {}, 0, 5)
        assert found.keys() == alone.keys()
        for name, expected in alone.items():
            torch.testing.assert_close(found[name], expected, rtol=1e-9, atol=1e-12)
            compared += int(expected.count_nonzero())
    assert compared


def test_edits_of_one_are_in_its_feature_and_the_peak_is_the_networks():
    *_, peak, _ = subnetworks(Chain)
    x = images(3)
    masks = {path: torch.rand(mask.shape) < 0.5 for path, mask in peak.relevant.items()}
    with peak.edited(masks):
        stepwise = MultiTargetPass([peak]).features(x, lambda *_: None)[peak]
        assert torch.equal(stepwise, peak.feature(x))
        with peak.unedited():
            assert not torch.equal(stepwise, peak.feature(x))


@pytest.mark.parametrize("net", TARGETS, ids=lambda each: each.__name__)
def test_answers_together_are_those_alone(net):
    shown = pictures(5)
    together, alone = subnetworks(net, torch.float32), subnetworks(net, torch.float32)
    reference_responses.collect(together, shown, "", look=True)
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(
            reference_responses.responses(one, shown, ""), reference_responses.responses(other, shown, "")
        )
        ours, theirs = reference_responses.strongest(one, shown, ""), reference_responses.strongest(other, shown, "")
        assert ours.keys() == theirs.keys() == one.relevant.keys()
        for path, places in ours.items():
            assert torch.equal(places, theirs[path])
            rows = one.rows(next(layer for layer in one.layers if layer.path == path))
            assert len(places) == (one.relevant[path].shape[0] if rows is None else len(rows))


def test_what_responses_take_is_what_was_said():
    for subnetwork in subnetworks(Residual, torch.float32):
        shown = pictures(3)
        assert reference_responses.responses(subnetwork, shown, "").nbytes == reference_responses.size(
            subnetwork, shown
        )
