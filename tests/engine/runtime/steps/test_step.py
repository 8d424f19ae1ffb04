"""The steps of circuits that are left, against a naive count of what one pass computes."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitlang.engine.runtime.network_costs import Forward
from circuitlang.engine.runtime.steps.step import CACHE, Ledger, SharedPass, Step, parts
from circuitlang.results.forecast import Cost

IMAGES = 12
# The layers of a network with a branch, and what leads to each.
LEADS = {"stem": [], "left": ["stem"], "right": ["stem"], "join": ["stem", "left", "right"], "head": ["stem", "left"]}
ROWS = {"stem": 600, "left": 3000, "right": 1800, "join": 900, "head": 2400}
# A target's own rows, of those of its layer.
OWN = 60


def step(key: str, passes: float = 1, *needs: Step, kind: str = "scores") -> Step:
    return Step(kind, key, Cost(passes), needs)


def test_a_step_is_made_once_and_its_maker_is_told():
    ledger = Ledger(["b"])
    first = ledger.take("one", [step("a"), step("b", 2, kind="stage"), step("", 4, kind="own")])
    assert first.cost.passes == 1 + 4
    assert first.makers == {"stage": CACHE}
    second = ledger.take("two", [step("a"), step("", 4, kind="own")])
    assert second.cost.passes == 4
    assert second.makers == {"scores": "one"}


def test_what_only_a_finished_step_needs_is_not_made():
    stages = [step(f"stage {size}", 3, kind="stage") for size in (9, 5)]
    ledger = Ledger(["small"])
    assert ledger.take("one", [step("small", 1, *stages)]).cost == Cost()
    # Another that needs them makes them, and a third begins with the last one that is there.
    assert ledger.take("two", [step("middle", 1, *stages)]).cost.passes == 1 + 3 + 3
    more = ledger.take("three", [step("large", 1, stages[0], step("stage 7", 3, kind="stage"))])
    assert (more.cost.passes, more.makers) == (1 + 3, {"stage": "two"})


def forward(layer: str) -> Forward:
    return Forward({**{name: ROWS[name] for name in LEADS[layer]}, layer: OWN}, layer)


def scored(name: str, layer: str, unit: int, gradient: str) -> Step:
    operations = forward(layer).operations * IMAGES
    target = f"{layer}:{unit}"
    going = Cost(passes=1 / 3, finding=operations, forwarded=IMAGES)
    own = SharedPass("images", target, forward(layer), going, gradient)
    return Step("scores", name, Cost(passes=1, finding=3 * operations, forwarded=IMAGES, returned=IMAGES), (), own)


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.sampled_from([*LEADS]), st.integers(0, 20), st.sampled_from(["plain", "squared"])),
        min_size=1,
        max_size=60,
        unique=True,
    )
)
def test_circuits_of_one_pass_cost_together_what_it_computes(asked):
    ledger = Ledger()
    left = [ledger.take(str(n), [scored(str(n), *one)]) for n, one in enumerate(asked)]
    found = sum((one.cost for one in left), Cost())
    targets = list(dict.fromkeys((layer, unit) for layer, unit, _ in asked))
    operations = Fraction(0)
    for start in range(0, len(targets), 16):
        some = targets[start : start + 16]
        # Layers that lead to any of them go forward once, and the rows of each; backward goes each with each beginning.
        computed = {name for layer, _ in some for name in LEADS[layer]}
        operations += sum(ROWS[name] for name in computed) + OWN * len(some)
        sources = {(layer, unit, gradient) for layer, unit, gradient in asked if (layer, unit) in some}
        operations += sum(2 * forward(layer).operations for layer, _, _ in sources)
    # Shares of an operation are rounded, circuit by circuit.
    assert abs(found.finding - operations * IMAGES) <= len(asked)
    assert found.returned == IMAGES * len(asked)
    beside = [one.beside.get("scores") for one in left]
    firsts = {
        targets[start]: str(asked.index(next(one for one in asked if one[:2] == targets[start])))
        for start in range(0, len(targets), 16)
    }
    for number, (layer, unit, _) in enumerate(asked):
        first = firsts[targets[targets.index((layer, unit)) // 16 * 16]]
        assert beside[number] == (None if first == str(number) else first)


def test_what_is_in_the_cache_joins_no_pass():
    ledger = Ledger(["one"])
    assert ledger.take("one", [scored("one", "join", 1, "plain")]).cost == Cost()
    assert ledger.take("two", [scored("two", "join", 2, "plain")]).cost.passes == 1


@pytest.mark.parametrize("most", [1, 2, 3, 99])
def test_parts_have_all_there_is_of_so_many_targets(most):
    items = ["a1", "b1", "a2", "c1", "b2", "d1"]
    found = [*parts(items, lambda item: item[0], most)]
    assert sorted(item for part in found for item in part) == sorted(items)
    kinds = [[*dict.fromkeys(item[0] for item in part)] for part in found]
    assert [kind for part in kinds for kind in part] == ["a", "b", "c", "d"]
    assert all(len(part) == most for part in kinds[:-1])
