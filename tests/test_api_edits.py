"""Edits from Python: of a module of the program, and those of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import circuitlang
from circuitlang.base.diagnostics import CircuitError
from tests.helpers.toy_networks import Branches, build, images

FACE = "circuit face = preserve conv5:34 on images/dogs/* kernels<=20 criterion=magnitude\n"
LESION = "edit lesion = face scale=0 on images/dogs/* measure conv5:34, classes\n"
CUT = "edit cut = conv5:34 <- conv4:45 scale=0 on images/dogs/* measure conv5:34\n"


@pytest.fixture
def network() -> nn.Module:
    return build(Branches, torch.float32).eval()


def test_a_module_and_its_tensors(here, numbers_alone, network):
    x = images(6, torch.float32)
    edit = circuitlang.edit(network, "left:1", scale=0, on=x, measure=["head:4", "head:0", "classes"])
    with torch.no_grad():
        before = network(x)
        hook = network.left.register_forward_hook(lambda _m, _i, y: torch.cat([y[:, :1], 0 * y[:, 1:2], y[:, 2:]], 1))
        after = network(x)
        hook.remove()
    response = edit["head:4"]
    assert response.before == pytest.approx(float(before[:, 4].mean()), rel=1e-4)
    assert response.after == pytest.approx(float(after[:, 4].mean()), rel=1e-4)
    assert response.change == pytest.approx((response.after - response.before) / abs(response.before), rel=1e-6)
    r = torch.corrcoef(torch.stack([before[:, 4].flatten(), after[:, 4].flatten()]))[0, 1]
    assert response.fidelity.metrics["pearson"] == pytest.approx(float(r), abs=1e-5)
    tops = [maps.mean((2, 3)).argmax(1) for maps in (before, after)]
    assert edit.metrics["same_top"] == pytest.approx(float((tops[0] == tops[1]).double().mean()))
    assert "head:4" in repr(edit)
    assert list(edit.to_frame().index) == ["head:4", "head:0"]


def test_a_patch_of_other_tensors_is_cyclic(here, numbers_alone, network):
    x = images(6, torch.float32)
    edit = circuitlang.edit(network, "right:[0, 2]", patch=x[:2], on=x[2:], measure=["head:1"], name="swap")
    with torch.no_grad():
        others = network.right(network.act(network.squeeze(x[[0, 1, 0, 1]])))
        hook = network.right.register_forward_hook(
            lambda _m, _i, y: torch.stack([others[:, 0], y[:, 1], others[:, 2]], 1)
        )
        after = network(x[2:])[:, 1]
        hook.remove()
    assert edit["head:1"].after == pytest.approx(float(after.mean()), rel=1e-4)


def test_mistakes_are_those_of_the_language(here, network):
    for part, words in (("left:9", {"scale": 0}), ("left:1", {}), ("head:0 <- squeeze:1", {"scale": 0})):
        with pytest.raises(CircuitError) as caught:
            circuitlang.edit(network, part, on=images(2, torch.float32), measure=["head:1"], **words)
        assert caught.value.findings[0].code in ("E111", "E216", "E132")


def test_edits_of_a_run_by_name(here, numbers_alone):
    run = circuitlang.run(FACE + LESION + CUT)
    assert list(run.edits) == ["lesion", "cut"]
    assert run.edits["lesion"]["conv5:34"].change == run.edits["lesion"].metrics["conv5:34.change"]
    assert "2 edits" in repr(run)
    loaded = circuitlang.load(run.folder)
    assert [circuit.summary.plan.id for circuit in loaded] == ["face"]
    assert {name: edit.result for name, edit in loaded.edits.items()} == {
        name: edit.result for name, edit in run.edits.items()
    }


def test_a_run_of_edits_alone_is_loaded(here, with_pages):
    run = circuitlang.run(CUT)
    assert list(run) == []
    loaded = circuitlang.load(Path(run.folder))
    assert list(loaded) == []
    assert list(loaded.edits) == ["cut"]
    assert "edit cut" in loaded.edits["cut"]._repr_html_()
    assert "Edits" in loaded._repr_html_()
