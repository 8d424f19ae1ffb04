"""The benchmark of GPUs runs without one, and tells circuits that differ from those that tie."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import circuitlang
from benchmarks import gpu

SPEC = "preserve conv4:8 on bundled.dogs keep<={} criterion=magnitude"


def test_a_machine_without_a_gpu_is_told_how_to_try_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SystemExit, match="--device cpu --quick"):
        gpu.main([])


@pytest.mark.slow
def test_the_whole_benchmark_runs_on_the_cpu(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIRCUITLANG_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--device", "cpu", "--quick"])
    assert not ended.value.code
    printed = capsys.readouterr().out
    assert "| conv4_8-gn-0.05 | 133 | 0 | 0 | 0.0e+00 | 0.0e+00 |" in printed
    assert "| a pass (FB) | 1.00 |" in printed
    assert "circuits per hour" in printed


def test_a_kernel_that_one_device_lacks_must_be_a_tie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small, large = (circuitlang.run(SPEC.format(share), render="none")[0] for share in ("1%", "2%"))
    assert gpu.agreement(small, small).holds
    apart = gpu.agreement(small, large)
    assert apart.different == large.summary.kept - small.summary.kept
    # The last of the large circuit is the tie with itself.
    assert 0 < apart.no_tie < apart.different
    assert not apart.holds
    assert replace(apart, no_tie=0).holds
    assert not replace(apart, no_tie=0, different=0).holds
