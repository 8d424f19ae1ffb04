"""Verify that a traced network computes what the network itself computes.

Tracing runs a network's code once, with placeholders for images. With a hook that is lost, a test of types, a random
number or a counter, the traced network may compute something else. Both are therefore run on a few images:

1. the module as it is given, on four images, on the same in reverse order, and on one of them alone, each time with
   other random states, with gradients and without: it must give every image the same answer;
2. the traced network, on the four and on the one: it must give the module's answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.device import arithmetic
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelNode
from circuitlang.engine.graph.error_reasons import reason
from circuitlang.engine.graph.module_runs import ModuleRuns, Outputs, Runs, output_tensors
from circuitlang.engine.graph.output_difference import agree
from circuitlang.engine.graph.tracer import check_traceable, graphs
from circuitlang.engine.graph.verification_findings import (
    agreement_by_module,
    describe_difference,
    first_disagreement,
    inconsistent_network,
    wrong_trace,
)
from circuitlang.engine.models.sandbox import quiet

# Images that a network is verified with.
IMAGES = 4


@dataclass(frozen=True)
class Doubt:
    """A finding about a traced network whose output is not the network's, or about a network that can't be relied on.

    `sound` has the paths of modules whose outputs agree in all runs: targets there may be used.
    """

    finding: Finding
    sound: frozenset[str]

    def about(self, step: ChannelNode, module: fx.GraphModule) -> Finding | None:
        """Return what is wrong with a target, or None if its outputs agree in all runs."""
        node = next(node for node in module.graph.nodes if node.name == step.name)
        return None if node.op == "call_module" and str(node.target) in self.sound else self.finding


@dataclass(frozen=True)
class Verified:
    """A traced network, and what is doubtful about it."""

    graph: Graph
    doubt: Doubt | None = None


def verified(model: nn.Module, size: tuple[int, int], images: Tensor) -> Verified:
    """Trace a network by the first method that computes what the network does on some images [N, 3, H, W].

    The model is left as it is. Raises InputError if it can't be traced or run.
    """
    check_traceable(model)
    weight = next(model.parameters(), images)
    images = images.to(weight.device, weight.dtype)
    with arithmetic(images.device):
        return _verified(model, size, images)


def _verified(model: nn.Module, size: tuple[int, int], images: Tensor) -> Verified:
    module_runs = ModuleRuns(model, images)
    runs = module_runs.plain
    own = runs.steady and runs.separate
    first: Graph | None = None
    try:
        for graph in graphs(model, size, images.shape[1]):
            first = first or graph
            if own and _trace_agrees(graph, runs, images):
                return Verified(graph)
            if not own:
                # No other method could agree with it.
                break
    except InputError:
        if own:
            raise
    if first is None:
        raise InputError(inconsistent_network(module_runs.watched))
    return Verified(first, _doubt(first, module_runs, images))


def _trace_agrees(graph: Graph, runs: Runs, images: Tensor) -> bool:
    try:
        whole, alone = (_run(graph, batch)[0] for batch in (images, images[:1]))
    except Exception:  # whatever operations raise for a number of images that the network was not traced with
        return False
    return agree(whole, runs.whole, runs.tolerance) and agree(alone, runs.alone, runs.tolerance)


class _Recorder(fx.Interpreter):
    """Runs a traced network and records the outputs of its modules."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.outputs: dict[str, list[Tensor]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_module" and isinstance(value, Tensor):
            self.outputs.setdefault(str(n.target), []).append(value.clone())
        return value


def _run(graph: Graph, images: Tensor, watch: bool = False) -> tuple[list[Tensor], Outputs]:
    """Run a traced network and return its outputs, and those of its modules if they are watched."""
    runner = _Recorder(graph.module) if watch else fx.Interpreter(graph.module)
    with torch.no_grad(), quiet():
        outputs = output_tensors(runner.run(images.clone()))
    return outputs, runner.outputs if isinstance(runner, _Recorder) else {}


def _doubt(graph: Graph, original: ModuleRuns, images: Tensor) -> Doubt:
    """Return what is wrong with a traced network, and the modules whose outputs agree in all runs."""
    runs = original.watched
    whole, _, alone = runs.inner
    ours: Outputs = {}
    ours_alone: Outputs = {}
    try:
        ours, ours_alone = (_run(graph, batch, True)[1] for batch in (images, images[:1]))
    except Exception:  # whatever operations raise for a number of images that the network was not traced with
        ours_alone = {}
    traced = {
        path: path in whole
        and _calls_agree(calls, whole[path], runs.tolerance)
        and _calls_agree(ours_alone.get(path, ()), alone.get(path, ()), runs.tolerance)
        for path, calls in ours.items()
    }
    steady, separate = agreement_by_module(runs)
    sound = {path for path, agrees in traced.items() if agrees and steady[path] and separate[path]}
    if runs.steady and runs.separate:
        finding = wrong_trace(original.model, _describe_failure(graph, runs, images), first_disagreement(traced))
    else:
        finding = inconsistent_network(runs)
    return Doubt(finding, frozenset(sound))


def _calls_agree(actual: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> bool:
    """Return whether a module was called equally often, at least once, with outputs that agree."""
    return len(actual) == len(wanted) > 0 and agree(actual, wanted, tolerance)


def _describe_failure(graph: Graph, runs: Runs, images: Tensor) -> str:
    """Return how the outputs of a traced network differ from the network's, for a sentence."""
    try:
        whole, alone = (_run(graph, batch)[0] for batch in (images, images[:1]))
    except Exception as error:  # whatever operations raise for a number of images that it was not traced with
        return f"an error ({reason(error)})"
    if not agree(whole, runs.whole, runs.tolerance):
        return describe_difference(whole, runs.whole)
    return describe_difference(alone, runs.alone)


def as_batch(images: Sequence[Tensor]) -> Tensor | None:
    """Return images [1, C, H, W] as one batch, a single one with its mirror image; None if there are none."""
    if not images:
        return None
    return torch.cat([*images, images[0].flip(-1)] if len(images) == 1 else [*images])
