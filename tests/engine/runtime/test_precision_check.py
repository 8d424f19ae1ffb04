"""Scores in TF32: told from exact ones everywhere, and compared with them.

A device without TF32 is made to compute in it: what goes into a product is rounded as a GPU rounds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from scipy.stats import spearmanr
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map_only

import circuitlang
from circuitlang import pipeline
from circuitlang.base.diagnostics import InputError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine import device
from circuitlang.engine.loops import backend
from circuitlang.engine.runtime import circuit_finder, fidelity_evaluator, precision_check
from circuitlang.engine.runtime.jobs import prepare
from circuitlang.engine.runtime.options import Options
from tests.conftest import draw_pictures
from tests.engine.attribution.test_criteria import best, naive_snip
from tests.helpers.outcomes import outcomes

RENDER = "all"

LINE = "preserve conv5:34 on images/dogs/* sparsity<=0.1 criterion=snip"
_PRODUCTS = ("convolution", "convolution_backward", "mm", "addmm", "bmm")


class Tf32(TorchDispatchMode):
    """Within it factors are rounded to the nearest number of 11 binary digits, halves to the even one."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function._schema.name.removeprefix("aten::") in _PRODUCTS:
            args = tree_map_only(Tensor, _rounded, args)
        return function(*args, **(kwargs or {}))


def _rounded(values: Tensor) -> Tensor:
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 2**11).round() / 2**11, exponent)


@contextmanager
def arithmetic(_: torch.device, fast: bool = False) -> Iterator[None]:
    if fast:
        with Tf32():
            yield
    else:
        with _disable_current_modes():
            yield


@pytest.fixture
def tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU has TF32."""
    monkeypatch.setattr(device, "arithmetic", arithmetic)
    monkeypatch.setattr(device, "find", lambda name, fast=False: torch.device("cpu"))
    # Compiled loops don't go by torch.
    monkeypatch.setattr(backend, "compiled", lambda _: None)


def test_what_is_made_tf32_here_is():
    one = torch.ones(1, 1)
    with Tf32():
        assert float(one @ (one + 2**-10)) == 1 + 2**-10
        assert float(one @ (one + 2**-11 + 2**-13)) == 1 + 2**-10
        assert float(one @ (one + 2**-12)) == 1
    with Tf32(), arithmetic(torch.device("cpu")):
        assert float(one @ (one + 2**-12)) == 1 + 2**-12


@pytest.mark.parametrize(
    ("name", "capability", "there"),
    [("cuda", (8, 0), True), ("cuda:0", (9, 0), True), ("cuda", (7, 5), False), ("cpu", (9, 0), False)],
)
def test_a_device_without_tf32_is_refused(monkeypatch, name, capability, there):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.version, "hip", None)
    assert device.find(name) == torch.device(name)
    if there:
        assert device.find(name, fast=True) == torch.device(name)
    else:
        with pytest.raises(InputError, match="E364"):
            device.find(name, fast=True)


def test_on_the_cpu_it_is_an_error_before_anything_is_written(here):
    result = CliRunner().invoke(main, ["run", "-e", LINE, "--fast", "--device", "cpu"])
    assert result.exit_code == 1
    assert "error[E364]" in result.stderr
    assert "--fast" in result.stderr
    assert not Path("runs").exists()
    with pytest.raises(InputError, match="E364"):
        circuitlang.run(LINE, device="cpu", fast=True)


@pytest.mark.slow
def test_the_change_is_that_of_a_naive_computation(here, tf32):
    draw_pictures(here, "cats", 40)
    line = "preserve conv4:8 on images/cats/* sparsity<=0.05 criterion=snip holdout=0"
    compiled = pipeline.compile_source(Source("<text>", line))
    prepared = prepare(compiled.plan, compiled.folder, compiled.origins, Options(fast=True))
    (job,) = prepared.jobs
    (found,) = circuitlang.run(line, fast=True)
    change, subnetwork = found.summary.reduced, job.subnetwork
    assert change is not None

    # Every third of 40 pictures, in double precision.
    images = torch.cat(list(job.train.batches("")))[::3].double()
    network, path = prepared.model.module.double(), subnetwork.target.step.layer.path
    exact = naive_snip(network, path, 8, images)
    with Tf32():
        fast = naive_snip(network, path, 8, images)
    ours, theirs = (
        torch.cat([each[name][mask] for name, mask in subnetwork.relevant.items()]) for each in (fast, exact)
    )
    assert change.images == len(images) == 14
    difference = float((ours - theirs).abs().max() / theirs.max())
    assert 1e-5 < difference < 1e-3
    assert change.difference == found.metrics["score_difference"] == pytest.approx(difference, rel=0.02)
    assert change.spearman == pytest.approx(spearmanr(ours, theirs).statistic, abs=1e-6)
    one, other = (best(each, subnetwork.relevant, found.summary.asked) for each in (fast, exact))
    assert change.kept == found.summary.asked
    assert change.exchanged == sum(int((one[name] & ~other[name]).sum()) for name in one)


def test_kernels_are_exchanged_that_one_precision_alone_selects(here, tf32, monkeypatch):
    def score(builder, *_):
        """Of 48 kernels of conv1 and 16 of conv2 the earlier the more; in TF32 the 20th and 21st change places."""
        scores = torch.arange(560, 0, -1).double()
        if torch.utils._python_dispatch._get_current_dispatch_mode():
            scores[[19, 20]] = scores[[20, 19]]
        one, other = scores.split([48, 512])
        assert (builder.relevant["conv1"].sum(), builder.relevant["conv2"].sum()) == (48, 16)
        return {"conv1": one.reshape(16, 3), "conv2": other.reshape(32, 16)}

    monkeypatch.setattr(precision_check, "score", score)
    (found,) = circuitlang.run("preserve conv2:3 on images/dogs/* kernels<=20 criterion=snip refill=none", fast=True)
    change = found.summary.reduced
    assert (change.images, change.kept, change.exchanged) == (4, 20, 1)
    assert change.difference == 1 / 560
    # 1 - 6 sum d^2 / n (n^2 - 1), of 64 ranks.
    assert change.spearman == pytest.approx(1 - 6 * 2 / (64 * (64**2 - 1)))


@pytest.mark.slow
def test_fidelity_is_measured_exactly(here, tf32, monkeypatch):
    (found,) = circuitlang.run(LINE, "fast", fast=True)
    seen = [("measured", Tf32)]
    whole = fidelity_evaluator.responses

    def responses(*arguments, **named):
        seen.append(torch.utils._python_dispatch._get_current_dispatch_mode())
        return whole(*arguments, **named)

    monkeypatch.setattr(fidelity_evaluator, "responses", responses)
    (again,) = circuitlang.run(LINE, "again", fast=True)
    assert len(seen) > 3
    assert set(seen[1:]) == {None}
    assert again.metrics == found.metrics
    assert found.summary.extracted_difference < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    "rest",
    [
        "criterion=snip",
        pytest.param("criterion=force(steps=2)", marks=pytest.mark.slow),
        pytest.param("criterion=greedy ablation=mean", marks=pytest.mark.slow),
    ],
)
def test_neither_is_taken_for_the_other(here, tf32, monkeypatch, rest):
    line = f"preserve conv5:34 on images/dogs/* sparsity<=0.1 {rest}"
    scored = []
    whole = circuit_finder.score

    def score(*arguments):
        scored.append(torch.utils._python_dispatch._get_current_dispatch_mode() is not None)
        return whole(*arguments)

    monkeypatch.setattr(circuit_finder, "score", score)
    (exact,) = circuitlang.run(line)
    (fast,) = circuitlang.run(line, fast=True)
    # The first of each run is the circuit's own score; those of its baselines cost no pass.
    assert scored == [False, False, False, True, False, False]
    assert exact.summary.provenance.precision == "float32"
    assert fast.summary.provenance.precision == "tf32"
    assert exact.summary.provenance.identity != fast.summary.provenance.identity
    assert exact.summary.reduced is None
    assert exact.metrics["score_difference"] == 0
    # Finished, and its folder is that of the fast one: now each is there in the cache, and neither is scored again.
    (same,) = circuitlang.run(line, fast=True)
    assert same.summary == fast.summary
    (back,) = circuitlang.run(line)
    assert back.summary == exact.summary
    (forth,) = circuitlang.run(line, fast=True)
    assert forth.summary == fast.summary
    assert not any(scored[6:])


@pytest.mark.slow
def test_circuits_scored_together_are_scored_in_tf32(here, tf32):
    lines = "\n".join(f"preserve conv5:{unit} on images/dogs/* sparsity<=0.1 criterion=snip" for unit in (33, 34))
    together = circuitlang.run(lines, "together", fast=True)
    circuitlang.engine.cache.tensor_cache.clear()
    (alone,) = circuitlang.run(LINE, "alone", fast=True)
    circuitlang.engine.cache.tensor_cache.clear()
    (exact,) = circuitlang.run(LINE, "exact")
    scores = [torch.from_numpy(each.circuit.kernels[0].score[:5]) for each in (together[1], alone, exact)]
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-6, atol=0)
    assert float((scores[0] / scores[2] - 1).abs().max()) > 1e-5


def planned(*options: str) -> dict[str, Any]:
    ran = CliRunner().invoke(main, ["plan", "--json", "-e", LINE, *options])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)["circuits"][0]


@pytest.mark.slow
def test_plan_tells_them_apart(here, tf32):
    exact, fast = planned(), planned("--fast")
    assert (exact["state"], exact["scored"]) == (fast["state"], fast["scored"]) == ("new", "")
    # All four pictures twice more.
    assert exact["cost"]["passes"] == 1
    assert fast["cost"]["passes"] == 3
    assert fast["cost"]["returned"] - exact["cost"]["returned"] == 8
    assert CliRunner().invoke(main, ["run", "-e", LINE, "--fast", "--verbose"]).exit_code == 0
    assert (planned()["state"], planned()["scored"]) == ("changed", "")
    assert (planned("--fast")["state"], planned("--fast")["scored"]) == ("finished", "cache")


@pytest.mark.slow
def test_a_sweep_is_compared_once(here, tf32, monkeypatch):
    scored = []
    whole = precision_check.score
    monkeypatch.setattr(precision_check, "score", lambda *arguments: scored.append(1) or whole(*arguments))
    text = "preserve conv5:34 on images/dogs/* sparsity<=each(0.02, 0.05, 0.1) criterion=snip"
    found = circuitlang.run(text, fast=True)
    assert len(scored) == 2
    assert len({each.summary.reduced.difference for each in found}) == 1
    assert len({each.summary.reduced.kept for each in found}) == 3
    ran = CliRunner().invoke(main, ["plan", "--json", "-e", text, "--fast", "--out", "elsewhere"])
    assert [each["cost"]["passes"] for each in json.loads(ran.stdout)["circuits"]] == [2, 0, 0]


@pytest.mark.slow
def test_it_is_said_wherever_the_circuit_is(here, tf32):
    ran = CliRunner().invoke(main, ["run", "-e", LINE, "--fast", "--verbose"])
    assert ran.exit_code == 0
    folder = Path("runs/inline/conv5_34-snip-0.1")
    written = json.loads((folder / "circuit.json").read_text())
    assert written["provenance"]["precision"] == "tf32"
    change = written["reduced"]
    assert json.loads((folder / "metrics.json").read_text())["score_difference"] == round(change["difference"], 6)
    for text in (ran.stdout, (folder / "report.txt").read_text(), (folder / "report.html").read_text()):
        text = " ".join(text.split())
        assert "It was scored in TF32. On 4 of its images scores differ from those in single precision" in text
        assert f" by at most {change['difference']:.1e} of the largest" in text
        assert "snip, scored in TF32" in text
    assert "circuitlang run plan.yaml --out again --fast" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_what_costs_no_pass_is_the_same(here, tf32):
    exact, fast = (circuitlang.run(LINE.replace("snip", "magnitude"), str(fast), fast=fast) for fast in (False, True))
    assert fast[0].summary == exact[0].summary


@pytest.mark.slow
def test_a_split_is_scored_fast_and_its_circuits_are_compared(here, tf32):
    draw_pictures(here, "cats", 5)
    source = Source("s", "split conv5:34 on images/*/* into 2 sparsity<=0.1 criterion=snip")
    made = outcomes(source, Path("runs"), Options(fast=True))
    *parts, split = [each.result for each in made]
    assert split.split.provenance.precision == "tf32"
    assert all(each.summary.reduced and each.summary.provenance.precision == "tf32" for each in parts)


@pytest.mark.slow
def test_it_can_be_expected(here, tf32):
    text = f"circuit one = {LINE}\nexpect one.score_difference <= {{limit}}\n"
    for limit, code in (("0.1", 0), ("1e-9", 1)):
        ran = CliRunner().invoke(main, ["run", "-e", text.format(limit=limit), "--fast"])
        assert ran.exit_code == code, ran.output
    # Without, nothing differs.
    assert CliRunner().invoke(main, ["run", "-e", text.format(limit="1e-9")]).exit_code == 0


@pytest.mark.slow
def test_two_runs_differ_in_precision(here, tf32):
    folders = [str(circuitlang.run(LINE, name, fast=name == "fast").folder) for name in ("exact", "fast")]
    ran = CliRunner().invoke(main, ["diff", *folders])
    assert "precision of scores: float32 → tf32" in ran.stdout
