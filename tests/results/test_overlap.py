"""What two circuits share, and what chance alone would have them share."""

from __future__ import annotations

from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pytest

from circuitlang.base.source import Source
from circuitlang.engine.runtime.options import Options
from circuitlang.pipeline import compile_source
from circuitlang.results.overlap import Kept, kept, merged, overlap
from circuitlang.results.types import Result
from tests.helpers.outcomes import outcomes


def mask(*kernels: tuple[int, int], shape: tuple[int, int] = (3, 4)) -> np.ndarray:
    found = np.zeros(shape, np.bool_)
    for kernel in kernels:
        found[kernel] = True
    return found


def everything(*paths: str) -> dict[str, np.ndarray]:
    return {path: np.ones((3, 4), np.bool_) for path in paths}


def test_counts_are_those_of_sets():
    random = np.random.default_rng(0)
    a, b = ({path: random.random((5, 6)) < 0.4 for path in ("one", "two")} for _ in range(2))
    found = overlap(Kept(a), Kept(b))
    sets = [{(path, *place) for path in each for place in np.argwhere(each[path]).tolist()} for each in (a, b)]
    ours, theirs = ({tuple(kernel) for kernel in each} for each in sets)
    assert (found.total.first, found.total.second, found.total.shared) == (len(ours), len(theirs), len(ours & theirs))
    assert found.total.iou == len(ours & theirs) / len(ours | theirs)
    assert found.total.only_first == len(ours - theirs)
    assert found.total.only_second == len(theirs - ours)
    assert sum(part.shared for part in found.layers.values()) == found.total.shared


def drawn(first: int, second: int, of: list[int], other: list[int]) -> dict[int, float]:
    """How probable each number of shared kernels is, by drawing all pairs of circuits."""
    numbers: dict[int, float] = {}
    pairs = comb(len(of), first) * comb(len(other), second)
    for ours in combinations(of, first):
        for theirs in combinations(other, second):
            shared = len(set(ours) & set(theirs))
            numbers[shared] = numbers.get(shared, 0.0) + 1 / pairs
    return numbers


@pytest.mark.parametrize(
    ("first", "second", "of", "other"),
    [
        (3, 4, range(7), range(7)),
        (2, 3, range(4), range(7)),
        (3, 2, range(5), range(2, 7)),
        (2, 2, range(3), range(4, 7)),
    ],
    ids=["alike", "within", "crossing", "apart"],
)
def test_chance_is_that_of_all_pairs_of_draws(first: int, second: int, of: range, other: range):
    may = [np.isin(np.arange(7), list(each)).reshape(7, 1) for each in (of, other)]
    masks = [np.zeros((7, 1), np.bool_) for _ in may]
    for mine, count, each in zip(masks, (first, second), (of, other), strict=True):
        mine[list(each)[:count]] = True
    found = overlap(*(Kept({"x": mine}, {"x": each}) for mine, each in zip(masks, may, strict=True))).layers["x"]
    naive = drawn(first, second, list(of), list(other))
    assert found.expected == pytest.approx(sum(number * share for number, share in naive.items()))
    mean = sum(number / (first + second - number) * share for number, share in naive.items())
    assert found.expected_iou == pytest.approx(mean)
    assert found.p == pytest.approx(sum(share for number, share in naive.items() if number >= found.shared))


def test_chance_of_all_layers_is_that_of_independent_layers():
    a = {"x": mask((0, 0), (0, 1), (1, 1)), "y": mask((2, 2), (2, 3))}
    b = {"x": mask((0, 0), (2, 1)), "y": mask((2, 2), (0, 0), (0, 1))}
    found = overlap(Kept(a, everything("x", "y")), Kept(b, everything("x", "y"))).total
    x, y = drawn(3, 2, list(range(12)), list(range(12))), drawn(2, 3, list(range(12)), list(range(12)))
    more = sum(p * q for i, p in x.items() for j, q in y.items() if i + j >= 2)
    assert found.shared == 2
    assert found.p == pytest.approx(more)
    assert found.expected == pytest.approx(3 * 2 / 12 + 2 * 3 / 12)


def test_large_layers_neither_overflow_nor_take_long():
    random = np.random.default_rng(1)
    shape = (2000, 2000)
    a, b = ({"fc": random.random(shape) < 0.01} for _ in range(2))
    may = {"fc": np.ones(shape, np.bool_)}
    found = overlap(Kept(a, may), Kept(b, may)).total
    assert found.expected == pytest.approx(found.first * found.second / 4e6)
    assert found.p is not None
    assert 1e-4 < found.p < 1 - 1e-4
    assert overlap(Kept(a, may), Kept(a, may)).total.p == pytest.approx(0, abs=1e-20)


def test_equal_disjoint_and_empty_circuits():
    one, none = {"x": mask((0, 0), (1, 1))}, {"x": mask()}
    same = overlap(Kept(one, everything("x")), Kept(one, everything("x"))).total
    assert (same.iou, same.only_first, same.only_second) == (1, 0, 0)
    assert same.p == pytest.approx(1 / comb(12, 2))
    apart = overlap(Kept(one), Kept({"x": mask((2, 2))})).total
    assert (apart.iou, apart.shared, apart.expected) == (0, 0, None)
    half = overlap(Kept(one, everything("x")), Kept(none, everything("x"))).total
    assert (half.iou, half.expected, half.p) == (0, 0, 1)
    nothing = overlap(Kept(none, everything("x")), Kept(none, everything("x"))).total
    assert (nothing.iou, nothing.expected_iou, nothing.p) == (None, None, None)


def test_a_layer_that_one_circuit_alone_has_is_shared_by_none():
    found = overlap(Kept({"x": mask((0, 0)), "z": mask((1, 1))}), Kept({"x": mask((0, 0)), "y": mask((0, 1))}))
    assert list(found.layers) == ["x", "z", "y"]
    assert [part.shared for part in found.layers.values()] == [1, 0, 0]


def test_layers_of_both_keep_the_order_of_each():
    assert merged("ace", "abcd") == list("abced")
    assert merged("abc", "abc") == list("abc")
    assert merged("", "ab") == ["a", "b"]


def found(folder: Path, model: str, spec: str) -> list[Result]:
    """The circuits of a spec of one of the networks of the tests."""
    code = f"import torch\nfrom tests.helpers.toy_networks import {model}\n"
    code += f"def build():\n    torch.manual_seed(0)\n    return {model}()\n"
    folder.joinpath("net.py").write_text(code)
    text = f'model python("net.py:build", resize=12, crop=12, mean=[0, 0, 0], std=[1, 1, 1])\n{spec}'
    compiled = compile_source(Source("<text>", text, folder))
    return [each.result for each in outcomes(compiled, folder / "runs", Options(allow_code=True))]


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("Chain", "fc1:2"),
        ("Branches", "head:1"),
        ("Residual", "head:1"),
        ("Groups", "point:3"),
        ("Shuffling", "head:2"),
    ],
)
@pytest.mark.parametrize("structure", ["kernel", "weight"])
def test_what_a_finished_circuit_keeps_and_of_what(here: Path, model: str, target: str, structure: str):
    """The relevant kernels are told from the wires alone, and are as many as the engine has found in the network."""
    (result,) = found(here, model, f"preserve {target} on images/dogs/* sparsity<=0.4 structure={structure}")
    mine = kept(result)
    for layer, kernels in zip(result.summary.layers, result.circuit.kernels, strict=True):
        assert mine.masks[layer.path].sum() == layer.kept
        assert mine.relevant[layer.path].sum() == layer.relevant
        assert not (mine.masks[layer.path] & ~mine.relevant[layer.path]).any()
        kernel = kept(result, kernels=True).masks[layer.path]
        inner = layer.in_channels // layer.groups
        assert kernel.sum() == len(kernels.target)
        assert kernel[kernels.target, kernels.source % inner].all()
