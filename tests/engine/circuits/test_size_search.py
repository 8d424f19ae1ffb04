"""The search for the smallest circuit, on curves that are known."""

from hypothesis import given
from hypothesis import strategies as st

from circuitlang.engine.circuits.size_search import smallest


def attempt(holds):
    seen = []

    def at(size):
        assert size not in seen, "tried twice"
        seen.append(size)
        return f"circuit of {size}", 0.1 if holds(size) else -0.1

    return at, seen


@given(st.integers(1, 200_000), st.data())
def test_where_fidelity_grows_with_size_the_threshold_is_found(most, data):
    threshold = data.draw(st.integers(1, most))
    at, seen = attempt(lambda size: size >= threshold)
    walk = smallest(most, at)
    assert threshold <= walk.answer.size <= threshold * 1.01 + 1
    assert walk.answer.circuit == f"circuit of {walk.answer.size}"
    assert [each.size for each in walk.tried] == sorted(seen)
    assert len(seen) <= 40


def test_small_circuits_are_found_to_the_kernel():
    for threshold in range(1, 90):
        at, _ = attempt(lambda size, threshold=threshold: size >= threshold)
        assert smallest(5000, at).answer.size == threshold


@given(st.integers(1, 5000), st.sets(st.integers(1, 5000)))
def test_whatever_the_curve_the_answer_holds_and_all_that_was_tried_above_it(most, lucky):
    at, _ = attempt(lambda size: size == most or size in lucky)
    walk = smallest(most, at)
    assert walk.answer.margin >= 0
    assert all(each.margin >= 0 for each in walk.tried if each.size >= walk.answer.size)
    below = [each.size for each in walk.tried if each.size < walk.answer.size and each.margin < 0]
    assert walk.answer.size == 1 or walk.answer.size - max(below) <= max(1, walk.answer.size * 0.01)


def test_where_the_largest_fails_the_nearest_is_given():
    walk = smallest(100, lambda size: (size, -abs(size - 25) / 100 - 0.01))
    assert walk.answer.size == 25
    assert walk.answer.margin < 0
    assert [each.size for each in walk.tried] == [25, 50, 100]
