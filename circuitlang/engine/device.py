"""Devices that compute: by name, with a batch size and the precision of their arithmetic."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.deferred import torch

# Images at a time, unless the user says otherwise. On a GPU it is a beginning: it is halved until it fits.
_BATCH = {"cpu": 16}
_BATCH_ELSEWHERE = 128
# The number of threads that `one_thread` puts aside, 0 outside of it.
_ASIDE: ContextVar[int] = ContextVar("threads put aside", default=0)
# The first of NVIDIA's GPUs with TF32, by their compute capability.
_AMPERE = (8, 0)


def find(name: str, fast: bool = False) -> torch.device:
    """The device that `auto`, `cpu`, `cuda`, `cuda:N` or `mps` means here. Raises InputError where there is none, or,
    with `fast`, where it has no TF32."""
    device = _find(name)
    nvidia = device.type == "cuda" and not torch.version.hip
    if fast and not (nvidia and torch.cuda.get_device_capability(device) >= _AMPERE):
        label = "it is arithmetic of NVIDIA GPUs from compute capability 8.0 (Ampere) on"
        cure = "leave --fast away, or name another --device"
        raise InputError(Finding("E364", f"--fast scores in TF32, which '{device}' does not have", None, label, cure))
    return device


def _find(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        label = "there are auto, cpu, cuda, cuda:N and mps"
        raise InputError(Finding("E362", f"unknown device '{name}'", None, label))
    device = torch.device(name)
    if device.type == "cuda" and (count := torch.cuda.device_count()) <= (device.index or 0):
        label = f"torch {torch.__version__} sees {count} CUDA device{'' if count == 1 else 's'}, numbered from 0"
        raise InputError(
            Finding("E362", f"there is no device '{name}'", None, label, "--device auto takes what is there")
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(Finding("E362", "there is no device 'mps'", None, "", "--device auto takes what is there"))
    return device


def batch_size(device: torch.device) -> int:
    """Return the batch size that is tried first."""
    return _BATCH.get(device.type, _BATCH_ELSEWHERE)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute each operation on one thread of the CPU inside the block, and on as many as before afterwards.

    The last bits of convolutions and of sums depend on the number of threads. The others are `threads_aside`.
    """
    threads = torch.get_num_threads()
    token = _ASIDE.set(max(threads, _ASIDE.get()))
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _ASIDE.reset(token)


def threads_aside() -> int:
    """Return the number of threads that may compute at the same time inside `one_thread`, 0 outside of it."""
    return _ASIDE.get()


@contextmanager
def arithmetic(device: torch.device, fast: bool = False) -> Iterator[None]:
    """Compute on a GPU in full single precision inside the block, and reproducibly as far as torch can.

    If `fast`, factors are rounded to TF32, and the fastest algorithms are used. The settings are restored afterwards.

    bfloat16 is not allowed even so: it has 8 bits of precision to TF32's 11, and what layers hand on, forward and
    backward, would be rounded to it as well, not only what is multiplied.
    """
    if device.type != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    always, only_warns = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    try:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = not fast, fast, fast, fast
        # An operation without a deterministic way is no reason to refuse a network.
        torch.use_deterministic_algorithms(not fast, warn_only=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic")
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
        torch.use_deterministic_algorithms(always, warn_only=only_warns)


def on_meta_device() -> bool:
    """Return whether only shapes are wanted: under `torch.device("meta")`, nothing is downloaded and no weight kept."""
    return torch.empty(0).device.type == "meta"
