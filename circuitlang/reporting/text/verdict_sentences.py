"""Sentences about the verdict on a circuit, for the terminal and for pages."""

from __future__ import annotations

from msgspec import UNSET

from circuitlang.base.diagnostics import listing
from circuitlang.plan.clauses import Kernels, Sparsity
from circuitlang.plan.targets import OfClasses
from circuitlang.results.types import Summary
from circuitlang.results.verdict import METRIC, PRESERVED, decisive, equal_baselines, overfits, threshold, verdict

# Changes of class that a sentence lists.
_CONFUSIONS = 3
_TITLES = {"partly": "partly preserved"}
_VERBS = {"preserved": "keep it at", "partly": "keep it in part, at", "no better than a baseline": "reach"}


def title(summary: Summary) -> str:
    """Return the verdict as a headline names it."""
    word = verdict(summary)
    return _TITLES.get(word, word)


def verb(summary: Summary) -> str:
    """Return what the kernels of a circuit do, before the fidelity that they reach."""
    return _VERBS.get(verdict(summary), "reach only")


def reason(summary: Summary) -> str:
    """Explain a verdict other than `preserved` in a sentence; empty for `preserved`."""
    metrics = summary.judged.metrics
    match verdict(summary):
        case "constant":
            return constant_feature(str(summary.plan.target))
        case "worse than silence":
            numbers = listing([f"{name} {metrics[name]:.3f}" for name in ("error", "r2") if name in metrics])
            return f"No output at all, or the feature's mean, would be nearer to the feature: {numbers}."
        case "no better than a baseline":
            names = equal_baselines(summary)
            metric = decisive(summary)
            values = listing([f"{name} {summary.baselines[name].metrics[metric]:.3f}" for name in names])
            return f"A circuit of the same size by another rule reaches as much: {metric} of {values}."
        case "partly" | "not preserved":
            least = threshold(summary.plan)
            whose = "the bound of its statement" if least != PRESERVED else "the threshold"
            if decisive(summary) != METRIC:
                return f"Preserved would be {decisive(summary)} {1 - least:g} or less, {whose}."
            return f"Preserved would be {METRIC} {least:g} or more, {whose}."
    return ""


def conclusion(summary: Summary) -> str:
    """State in a sentence what a circuit of a class says about the class; empty for other targets."""
    plan, count = summary.plan, summary.judged.images
    if not isinstance(plan.target, OfClasses) or count < 2:
        return ""
    images = f"{count} {'held-out ' if summary.test else ''}images of {plan.images}"
    alone = f"With these {summary.kept:,} {summary.noun}s alone, the output for {plan.target} differs among {images}"
    match verdict(summary):
        case "preserved":
            return f"{alone} as it does in the network."
        case "partly":
            return f"{alone} roughly as it does in the network."
        case "no better than a baseline":
            others = listing(equal_baselines(summary))
            return f"{alone} as it does in the network, but so it does with as many by another rule ({others})."
        case "constant":
            return f"The output for {plan.target} is the same for {images}: nothing can be found about the class here."
    return f"{alone} otherwise than in the network: they say nothing about the class."


def classification(summary: Summary) -> str:
    """State in a sentence what the circuit's output does to the network's classification; empty for other targets."""
    check = summary.classes
    if check is UNSET:
        return ""
    images = summary.judged.images
    same = f"{round(check.agreement * images):,} of {images:,} images"
    if check.confusion:
        most = check.confusion[:_CONFUSIONS]
        changes = [f"from {change.network} to {change.taken_for} on {change.images:,}" for change in most]
        others = sum(change.images for change in check.confusion[_CONFUSIONS:])
        same += f" (it changes {listing([*changes, *([f'otherwise on {others:,}'] if others else [])])})"
    means = f"the mean probability of {summary.plan.target} is {check.circuit:.2f}, in the network {check.network:.2f}"
    return f"With the circuit's output for it, the network's top class stays the same on {same}, and {means}."


def advice(summary: Summary) -> str:
    """Suggest what to try next for a circuit that is not preserved, and why; empty where it is."""
    word, plan = verdict(summary), summary.plan
    if word == "preserved":
        return ""
    if word == "constant":
        return "Try other images, or another feature."
    steps, overfit = [], ""
    if overfits(summary):
        own = f"{METRIC} is {summary.train.metrics[METRIC]:.3f}"
        overfit = f"On the {summary.train.images:,} images that it was found on, {own}: it fits these. "
        steps.append("more images to find it on")
    if word == "no better than a baseline":
        steps.append("a smaller size (where criteria differ)")
    elif larger := _larger(summary):
        steps.append(f"a larger size ({larger})")
    if word != "no better than a baseline" and plan.calibrate == "none":
        steps.append("calibrate=affine (which refits scales and offsets)")
    if plan.criterion.name != "annealed":
        steps.append("criterion=annealed (which keeps most at small sizes)")
    if plan.size is not None:
        steps.append("a look at the curve (keep<=each(5%, 10%, 20%, 50%))")
    return f"{overfit}Try {listing(steps, 'or')}." if steps else ""


def constant_feature(target: str) -> str:
    """State that a feature is constant, so that there is nothing to preserve."""
    return f"Nothing to preserve: {target} is constant on these images."


def _larger(summary: Summary) -> str:
    """Return a clause for twice the size; empty where that is the whole network."""
    match summary.plan.size:
        case Sparsity(at_most=share) if share <= 0.5:
            return f"keep<={200 * share:g}%"
        case Kernels(at_most=number) if 2 * number <= summary.relevant:
            return f"kernels<={2 * number}"
    return ""
