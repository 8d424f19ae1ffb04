"""Tails, draws and corrections against counting every outcome."""

from fractions import Fraction
from itertools import product
from math import comb

import pytest

from circuitlang.engine.evaluation.significance import add_one, binomial_at_most, holm, sign_test


@pytest.mark.parametrize("chance", [Fraction(1, 2), Fraction(9, 10), Fraction(1, 100)])
@pytest.mark.parametrize("trials", [1, 7, 100])
def test_the_tail_is_the_sum_of_exact_terms(trials, chance):
    total = Fraction(0)
    for count in range(trials + 1):
        total += comb(trials, count) * chance**count * (1 - chance) ** (trials - count)
        assert binomial_at_most(count, trials, float(chance)) == pytest.approx(float(total), rel=1e-9)


@pytest.mark.parametrize("images", [0, 1, 5, 8])
def test_the_sign_test_counts_patterns_of_signs_that_are_as_uneven(images):
    patterns = list(product((-1, 1), repeat=images))
    for positive in range(images + 1):
        uneven = abs(2 * positive - images)
        as_uneven = sum(abs(sum(pattern)) >= uneven for pattern in patterns)
        assert sign_test(positive, images - positive) == pytest.approx(as_uneven / len(patterns))


def test_what_was_observed_is_a_draw():
    assert (add_one(0, 99), add_one(99, 99)) == (0.01, 1)


def test_holm_rejects_as_its_steps_do():
    p_values = [0.03, 0.001, 0.02, 0.9, 0.012]
    adjusted = holm(p_values)
    for level in (0.004, 0.005, 0.04, 0.05, 0.06, 0.1, 0.9):
        rejected = set()
        for step, index in enumerate(sorted(range(5), key=p_values.__getitem__)):
            if p_values[index] > level / (5 - step):
                break
            rejected.add(index)
        assert {index for index, p in enumerate(adjusted) if p <= level} == rejected
    assert holm([]) == []
