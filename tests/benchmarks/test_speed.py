"""The benchmark of speed follows what it measures."""

from __future__ import annotations

import pytest
import torch

from benchmarks import speed
from circuitlang.engine.graph.tracer import trace


@pytest.mark.slow
def test_a_longer_course_of_learning_takes_more_steps():
    """36 of them: three passes more at the size, of twelve batches each."""
    graph = trace(speed.network("squeezenet1_0"), (64, 64))
    short, long = (speed.learned(graph, "squeezenet1_0", torch.randn(1, 3, 64, 64), 0.05, passes) for passes in (1, 9))
    assert long - short == 36
