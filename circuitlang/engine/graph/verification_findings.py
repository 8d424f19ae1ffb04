"""Findings about networks that have no answer of their own for an image, or that were traced as another network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from circuitlang.base.diagnostics import Finding, listing
from circuitlang.engine.graph.module_runs import Runs
from circuitlang.engine.graph.output_difference import agree, first_image, reverse, worst_difference
from circuitlang.engine.models.sandbox import hooked


def agreement_by_module(runs: Runs) -> tuple[dict[str, bool], dict[str, bool]]:
    """Return which modules gave the same outputs each time, and which the same for an image alone as among others."""
    whole, again, alone = runs.inner
    steady = {path: agree(again.get(path, ()), reverse(calls), runs.tolerance) for path, calls in whole.items()}
    separate = {path: agree(alone.get(path, ()), first_image(calls), runs.tolerance) for path, calls in whole.items()}
    return steady, separate


def inconsistent_network(runs: Runs) -> Finding:
    """Return what is wrong with a network that has no answer of its own for an image, however it is traced."""
    steady, separate = agreement_by_module(runs)
    if not runs.steady:
        return _unsteady(runs, describe_difference(runs.again, reverse(runs.whole)), first_disagreement(steady))
    return _together(describe_difference(runs.alone, first_image(runs.whole)), first_disagreement(separate))


def first_disagreement(agreement: Mapping[str, bool]) -> str:
    """Return the place where runs first disagree, for a sentence, from whether modules agree in the order of calls."""
    last = ""
    for path, agrees in agreement.items():
        if not agrees:
            return f"first at '{path}'"
        last = path
    return f"behind '{last}'" if last else "before any module is called"


def describe_difference(actual: Sequence[Tensor], wanted: Sequence[Tensor]) -> str:
    """Return the difference between outputs, for a sentence."""
    if len(actual) != len(wanted):
        return f"{len(actual)} outputs for {len(wanted)}"
    worst = worst_difference(actual, wanted)
    return "other sizes" if worst == float("inf") else f"{worst:.1e} of the largest value"


def _unsteady(runs: Runs, apart: str, where: str) -> Finding:
    if runs.drawn:
        message = "the network draws random numbers in evaluation mode"
        label = f"scores would differ from run to run: by {apart}, {where} ({listing(runs.drawn)})"
        cure = "draw them in training only (`if self.training`), or choose a target in front of it"
        return Finding("E308", message, None, label, cure)
    message = "the network gives the same images other outputs when it is called again"
    if runs.changed:
        label = f"by {apart}, {where}; each call changes its {listing(runs.changed, limit=4)}"
        return Finding("E308", message, None, label, "leave what it stores as it is in evaluation mode")
    outside = "it uses something that lies outside of it, such as the time, a global variable or the grad mode"
    label = f"by {apart}, {where}; {outside}"
    return Finding("E308", message, None, label, "let its output follow from its weights and the image alone")


def _together(apart: str, where: str) -> Finding:
    message = "the network's output for an image depends on the other images of its batch"
    label = f"alone it differs by {apart}, {where}"
    cure = "use stored statistics in evaluation mode, or choose a target in front of it"
    return Finding("E308", message, None, label, cure)


def wrong_trace(model: nn.Module, apart: str, where: str) -> Finding:
    """Return the finding for a traced network that computes something else than the network."""
    message = "what could be read of the network does not compute what the network computes"
    label = f"outputs differ by {apart}, {where}; {_suspect(model)}"
    cure = "let the forward method do the same for every image, or choose a target in front of it"
    return Finding("E308", message, None, label, cure)


def _suspect(model: nn.Module) -> str:
    """Return the probable reason why a network was traced as another."""
    replaced = [path or "the network" for path, module in model.named_modules() if "forward" in vars(module)]
    hooks = [path or "the network" for path, module in model.named_modules() if hooked(module)]
    if replaced:
        return f"the forward method of {listing(replaced, limit=4)} was replaced"
    if hooks:
        return f"hooks are registered on {listing(hooks, limit=4)}"
    return "the forward method may decide by the type, the number or the values of its images"
