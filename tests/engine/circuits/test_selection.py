"""Exactly as many kernels as were asked for, and always the same ones."""

import math
from decimal import Decimal

import torch
from hypothesis import given
from hypothesis import strategies as st

from circuitlang.engine.circuits.selection import best, budget, channels, count, ranks, select
from circuitlang.plan.model import Kernels, Sparsity

SHAPES = {"a": (2, 3), "b": (1, 4)}
RELEVANT = {
    "a": torch.tensor([[True, True, False], [True, True, True]]),
    "b": torch.tensor([[True, False, True, True]]),
}
PLACES = [(name, o, i) for name, mask in RELEVANT.items() for o, i in mask.nonzero().tolist()]


def scores_of(values):
    scores = {name: torch.full(shape, 99.0, dtype=torch.float64) for name, shape in SHAPES.items()}
    for (name, o, i), value in zip(PLACES, values, strict=True):
        scores[name][o, i] = value
    return scores


def chosen(masks):
    return [(name, o, i) for name, mask in masks.items() for o, i in mask.nonzero().tolist()]


@given(
    st.lists(st.sampled_from([0.0, 1e-30, 0.5, 0.5, 1.0, 3.0]), min_size=len(PLACES), max_size=len(PLACES)),
    st.integers(0, len(PLACES) + 2),
)
def test_the_best_are_kept_ties_broken_by_place_and_zeros_never(values, k):
    ranked = sorted(range(len(PLACES)), key=lambda index: (-values[index], index))
    expected = sorted(PLACES[index] for index in ranked[:k] if values[index] > 0)
    assert sorted(chosen(select(scores_of(values), RELEVANT, k))) == expected


@given(
    st.lists(
        st.sampled_from([0.5, math.nextafter(0.5, 1), math.nextafter(0.5, 0), 1e-300, 2.0, 0.0, -1.0]), max_size=70
    ),
    st.integers(0, 75),
)
def test_places_are_those_of_a_stable_sort_however_little_scores_differ(values, k):
    scores = {"a": torch.tensor(values, dtype=torch.float64)}
    relevant = {"a": torch.ones(len(values), dtype=torch.bool)}
    ranked = sorted((index for index, value in enumerate(values) if value > 0), key=lambda index: -values[index])
    expected = [len(values)] * len(values)
    for place, index in enumerate(ranked):
        expected[index] = place
    places = ranks(scores, relevant)
    assert places.of["a"].tolist() == expected
    assert (places.first, places.complete) == (len(ranked), True)
    if k <= len(ranked):
        assert select(scores, relevant, k)["a"].tolist() == best(places.of, k)["a"].tolist()
    few = ranks(scores, relevant, k)
    assert few.first == (min(k, len(ranked)) or len(ranked))
    assert few.complete == (few.first == len(ranked))
    assert few.of["a"].tolist() == [place if place < few.first else len(values) for place in expected]


def test_what_is_not_a_number_is_never_kept():
    scores = {"a": torch.tensor([math.nan, 1.0, math.inf, math.nan, 0.5])}
    relevant = {"a": torch.ones(5, dtype=torch.bool)}
    assert select(scores, relevant, 2)["a"].tolist() == [False, True, True, False, False]
    assert ranks(scores, relevant).of["a"].tolist() == [5, 1, 0, 5, 2]


def test_channels_are_ranked_by_the_mean_score_of_their_relevant_kernels():
    scores = {"a": torch.tensor([[3.0, 3.0, 3.0], [4.0, 0.0, 0.0]])}
    relevant = {"a": torch.tensor([[True, True, True], [True, False, False]])}
    none = {"a": torch.zeros(2, dtype=torch.bool)}
    masks = channels(scores, relevant, none, 3, lambda masks: masks)
    assert masks["a"].tolist() == [[False, False, False], [True, False, False]]


def test_one_kernel_is_one_kernel():
    masks = select(scores_of([1.0] * len(PLACES)), RELEVANT, 1)
    assert chosen(masks) == [("a", 0, 0)]
    assert count(masks) == 1


@given(st.integers(1, 1000), st.integers(1, 10**7))
def test_a_fraction_of_the_kernels_is_rounded_down_as_written(thousandths, relevant):
    written = Decimal(thousandths) / 1000
    assert budget(Sparsity(float(written)), relevant) == math.floor(written * relevant)


def test_a_fraction_that_floats_get_wrong():
    assert int(0.29 * 100) == 28
    assert budget(Sparsity(0.29), 100) == 29


def test_a_count_is_a_count():
    assert budget(Kernels(250), 1000) == 250
    assert budget(Kernels(250), 100) == 100
