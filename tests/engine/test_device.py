"""Devices by name, a pretended one, batches that are halved until they fit, settings of a GPU that are put back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.utils._python_dispatch import _disable_current_modes

import circuitlang
from circuitlang.base.diagnostics import CircuitError, InputError
from circuitlang.cli.main import main
from circuitlang.engine import device
from circuitlang.engine.cache import tensor_cache
from circuitlang.engine.loops import backend
from circuitlang.engine.runtime import artifacts, job_runner
from tests.helpers import fake_device

LINE = "preserve conv5:34 on images/dogs/* sparsity<=0.1 criterion=gn"


def test_auto_is_a_gpu_where_there_is_one_and_else_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.find("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.find("auto") == torch.device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "", "meta", "cpu:1"])
def test_a_device_that_is_not_known_is_refused(name):
    with pytest.raises(InputError, match="E362: unknown device"):
        device.find(name)


@pytest.mark.parametrize(("count", "name", "there"), [(0, "cuda", False), (2, "cuda:1", True), (2, "cuda:2", False)])
def test_a_device_that_is_not_there_is_refused(monkeypatch, count, name, there):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if there:
        assert device.find(name) == torch.device(name)
    else:
        with pytest.raises(InputError, match="E362: there is no device"):
            device.find(name)


def test_a_missing_device_is_an_error_before_anything_is_written(here, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    result = CliRunner().invoke(main, ["run", "-e", LINE, "--device", "cuda"])
    assert result.exit_code == 1
    assert "error[E362]" in result.stderr
    assert not Path("runs").exists()


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_a_gpu_is_as_exact_as_it_must_be_and_as_it_was_after(fast, raises):
    def settings():
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        sure = torch.are_deterministic_algorithms_enabled()
        return cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32, sure

    before = settings()
    seen = []

    def body():
        # As where scores are computed in a run.
        with device.arithmetic(torch.device("cuda")):
            seen.append(settings())
            with device.arithmetic(torch.device("cuda"), fast):
                seen.append(settings())
                if raises:
                    raise KeyError
            seen.append(settings())

    if raises:
        with pytest.raises(KeyError):
            body()
    else:
        body()
    exact = (True, False, False, False, True)
    within = (False, True, True, True, False) if fast else exact
    assert seen == [exact, within, *([] if raises else [exact])]
    assert exact != before == settings()


@pytest.fixture
def little_memory(monkeypatch):
    """A device that takes two pictures at a time; the sizes that were tried."""
    tried: list[int] = []
    whole = job_runner.execute

    def execute(prepared, job):
        tried.append(job.train.batch_size)
        assert job.test is None or job.test.batch_size == job.train.batch_size
        if job.train.batch_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(prepared, job)

    monkeypatch.setattr(job_runner, "execute", execute)
    return tried


@pytest.mark.slow
def test_batches_are_halved_until_they_fit_and_stay_so(here, little_memory):
    first, second = circuitlang.run(LINE + "\npreserve conv5:33 on images/dogs/* sparsity<=0.1 criterion=gn")
    assert little_memory == [16, 8, 4, 2, 2]
    assert first.summary.kept == second.summary.kept == 676


def test_what_does_not_fit_picture_by_picture_is_an_error_with_a_cure(here, monkeypatch):
    def execute(prepared, job):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(job_runner, "execute", execute)
    with pytest.raises(CircuitError) as caught:
        circuitlang.run(LINE, batch_size=3)
    (finding,) = caught.value.findings
    assert finding.code == "E392"
    assert "--batch-size" in finding.help


@pytest.mark.slow
def test_the_batch_size_has_no_say_in_what_is_found(here, little_memory):
    (one,) = circuitlang.run(LINE, "one", batch_size=1)
    (same,) = circuitlang.run(LINE, "one", batch_size=2)
    (two,) = circuitlang.run(LINE, "two", batch_size=2)
    assert little_memory == [1, 2]
    assert one.summary.provenance == same.summary.provenance == two.summary.provenance
    assert one.metrics == pytest.approx(two.metrics, abs=1e-5)


def test_tensors_elsewhere_are_not_mixed_with_those_here():
    """What the tests below stand on."""
    with fake_device.Elsewhere():
        there = torch.ones(2, 3, device=fake_device.DEVICE)
        assert float((there + 1).sum()) == 12
        assert type(there.cpu()) is torch.Tensor
        assert there[torch.tensor([0])].device == fake_device.DEVICE
        for mixed in (
            lambda: there + torch.ones(2, 3),
            lambda: torch.ones(2, 3)[there.long()],
            lambda: torch.ones(2).index_add_(0, torch.tensor([0]), there[0, :1]),
            lambda: there.index_select(0, torch.tensor([0])),
        ):
            with pytest.raises(RuntimeError, match="same device"):
                mixed()
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()


@pytest.fixture
def another_device(monkeypatch) -> None:
    """Makes `--device mps` one that a run can be on without having it."""
    whole = artifacts.pack

    def pack(module, *arguments):
        # The exporter has tensors of its own on `meta`.
        with _disable_current_modes():
            return whole(module, *arguments)

    find = device.find
    monkeypatch.setattr(artifacts, "pack", pack)
    monkeypatch.setattr(
        device, "find", lambda name, fast=False: fake_device.DEVICE if name == "mps" else find(name, fast)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "clauses",
    [
        pytest.param("criterion=snip", marks=pytest.mark.slow),
        "criterion=actgrad ablation=mean calibrate=kernels refill=live",
        "criterion=gn structure=weight refill=live",
        pytest.param("criterion=taylor structure=channel calibrate=bias", marks=pytest.mark.slow),
        pytest.param("criterion=force(steps=2)", marks=pytest.mark.slow),
        pytest.param("criterion=path(steps=2) calibrate=affine ablation=mean", marks=pytest.mark.slow),
        pytest.param("criterion=learned(steps=2)", marks=pytest.mark.slow),
        pytest.param("criterion=annealed(passes=2)", marks=pytest.mark.slow),
        pytest.param("criterion=snip calibrate=kernels(method=end_to_end, passes=1)", marks=pytest.mark.slow),
        "criterion=greedy",
        pytest.param("criterion=greedy structure=weight", marks=pytest.mark.slow),
    ],
)
def test_a_circuit_is_the_same_on_another_device(here, another_device, clauses, monkeypatch):
    # Compiled loops, which are for the CPU alone, add up in another order.
    monkeypatch.setattr(backend, "compiled", lambda _: None)
    spec = f"preserve conv4:8 on images/dogs/* sparsity<=0.1 {clauses}"
    (expected,) = circuitlang.run(spec, "here")
    tensor_cache.clear()
    with fake_device.Elsewhere():
        (found,) = circuitlang.run(spec, "there", device="mps")
    assert found.metrics == expected.metrics
    for one, other in zip(expected.circuit.kernels, found.circuit.kernels, strict=True):
        assert np.array_equal(one.score, other.score)
    assert found.summary.provenance == expected.summary.provenance
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(found.module()(images), expected.module()(images))
