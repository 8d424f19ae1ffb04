"""The channels that a run visualises."""

from dataclasses import replace

import pytest

from circuitlang.base.diagnostics import InputError
from circuitlang.results.connections import DRAWN, connections
from circuitlang.results.types import FeatureVisualisations
from circuitlang.results.visualised_channels import (
    BUDGET,
    EVERY,
    FEATURE,
    NOTHING,
    channel_budget,
    strongest_channels,
    visualised_amount,
    visualised_word,
)
from tests.helpers.diagram_page import seen, strands


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (False, FEATURE),
        (True, EVERY),
        ("all", EVERY),
        ("none", NOTHING),
        (0, FEATURE),
        (1, 1),
        ("12", 12),
        (10**30, EVERY),
        (None, BUDGET),
    ],
)
def test_words_and_numbers(asked, count):
    assert channel_budget(asked) == count


@pytest.mark.parametrize("asked", ["some", -1, "-3", "1.5", ""])
def test_other_words_are_refused(asked):
    with pytest.raises(InputError) as caught:
        channel_budget(asked)
    (finding,) = caught.value.findings
    assert finding.code == "E367"


def test_the_target_is_first_and_then_the_channels_of_the_most_influence():
    circuit = strands().circuit
    every = strongest_channels(circuit, ())
    assert every == sorted({(layer, each) for layer, kept in enumerate(circuit.kernels) for each in kept.target})
    shown = connections(circuit, DRAWN).strongest
    through = {channel: sum(one.influence for one in shown if one.source == channel) for channel in every}
    order = []
    for count in range(len(every) + 1):
        chosen = strongest_channels(circuit, (), count)
        assert chosen == sorted(chosen)
        assert set(order) < set(chosen) or not chosen
        order += set(chosen) - set(order)
    assert set(order) == set(every)
    assert order[0] == (2, 6)
    influences = [through[channel] for channel in order[1:]]
    assert influences == sorted(influences, reverse=True)
    assert strongest_channels(circuit, (), len(every) + 5) == every


def test_a_page_says_how_many_there_are():
    made = seen(strands())
    visions = made.visualisations.channels
    for count, word in ((0, "feature"), (2, "2"), (len(visions), "all")):
        some = FeatureVisualisations(made.visualisations.target, dict(list(visions.items())[:count]))
        assert visualised_word(replace(made, visualisations=some)) == word
        assert visualised_word(replace(made, visualisations=replace(some, budget=True))) == "budget"
    assert visualised_word(strands()) == "none"


def test_words_of_a_page_are_in_order():
    words = ["none", "feature", "budget", "1", "12", "all"]
    amounts = [visualised_amount(word) for word in words]
    assert amounts == sorted(set(amounts))
    assert [amounts[0], *amounts[-3:]] == [channel_budget(word) for word in ("none", "1", "12", "all")]
