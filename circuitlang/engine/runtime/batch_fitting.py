"""Batches that fit into memory: a job that runs out of it is repeated with smaller batches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from circuitlang.engine.runtime.jobs import Job

T = TypeVar("T")


class BatchFitting:
    """The largest batch size that fits into the memory of the GPU, as far as it is known. It is kept for later jobs."""

    def __init__(self) -> None:
        self._largest = sys.maxsize

    def __call__(self, job: Job, compute: Callable[[Job], T]) -> T:
        """Compute a job, with half the batch size after each lack of memory. Raises OutOfMemoryError at size 1."""
        while True:
            size = min(self._largest, job.train.batch_size)
            try:
                return compute(job.with_batches(size))
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
            self._largest = size // 2
            torch.cuda.empty_cache()
