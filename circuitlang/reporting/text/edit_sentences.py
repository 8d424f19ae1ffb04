"""Sentences about an edit of the network, for the terminal and for pages."""

from __future__ import annotations

from circuitlang.plan.edits import OfChannels, OfCircuit
from circuitlang.reporting.text.circuit_sentences import interval
from circuitlang.results.edit import ChangedClass, EditResult, Response, TopClasses

# Shares that differ by less are written alike.
_SAME = 0.0005
# A larger change is that of a mean near 0, and its two ends say more.
_RELATIVE = 10


def title(result: EditResult) -> str:
    """Name the edited part and the change, as the language writes them: `face scale=0`."""
    return f"{result.plan.of} {result.plan.how}"


def edited(result: EditResult) -> str:
    """Describe the edited part: its name, and how many kernels or channels it has."""
    of, count = result.plan.of, f"{result.edited:,} {result.noun}{'' if result.edited == 1 else 's'}"
    match of:
        case OfCircuit():
            return f"{of} ({count}, the circuit of {result.target})"
        case OfChannels(group=group) if group:
            channels = OfChannels(of.layer, of.units)
            return f"{of} ({channels})"
        case OfChannels():
            return str(of)
    return f"the kernel {of}" if result.edited == 1 else f"the {count} {of}"


def changed(result: EditResult) -> str:
    """State the change that was made, for the beginning of a sentence."""
    plan = result.plan
    if plan.scale == 0:
        return f"Without {edited(result)}"
    if plan.scale is not None:
        return f"With {edited(result)} times {plan.scale:g}"
    return f"With {edited(result)} from {plan.patch}"


def claims(result: EditResult) -> list[str]:
    """State what becomes of the first target, and of the classes."""
    said = []
    if result.responses:
        first = result.responses[0]
        said.append(f"{changed(result)}, the mean response of {first.target} {moved(first)}.")
    if result.classes is not None:
        share = result.classes.same_top
        whose = "all images" if share >= 1 - _SAME else "no image" if share <= _SAME else f"{share:.1%} of the images"
        begin = "The" if said else f"{changed(result)}, the"
        said.append(f"{begin} top class of {whose} stays.")
    return said


def moved(response: Response) -> str:
    """State how the mean response of a target changes: `falls by 31.2% (−40.1% to −22.3%)`."""
    ends = f"from {response.before:.3g} to {response.after:.3g}".replace("-", "−")
    if response.change is None or abs(response.change) > _RELATIVE:
        return f"goes {ends}"
    if abs(response.change) < _SAME / 10:
        return "stays as it is"
    verb = "rises" if response.change > 0 else "falls"
    interval = f" (95% interval {change_interval(response)})" if response.interval else ""
    return f"{verb} by {abs(response.change):.1%}{interval}, {ends}"


def change(response: Response) -> str:
    """Format the relative change of a mean response, with its sign."""
    return "–" if response.change is None else _percent(response.change)


def change_interval(response: Response) -> str:
    """Format the interval of a relative change."""
    if response.interval is None:
        return "–"
    return f"{_percent(response.interval[0])} to {_percent(response.interval[1])}"


def metric_interval(response: Response, name: str) -> str:
    """Format the interval of a metric of a target."""
    return interval(response.fidelity.intervals.get(name))


def metrics(result: EditResult) -> list[str]:
    """Return the names of the metrics that the targets were measured by."""
    return list(dict.fromkeys(name for response in result.responses for name in response.fidelity.metrics))


def caption(result: EditResult) -> str:
    """State on which images responses were measured, and what the numbers are."""
    number = f"{result.images:,} image{'' if result.images == 1 else 's'} of {result.plan.images}"
    return f"mean response without the edit and with it, and the edited map against the original, on {number}"


def patching(result: EditResult) -> str:
    """State which image each image is patched from; empty where nothing is patched."""
    if result.plan.patch is None:
        return ""
    said = "each image is patched from the one of the same number"
    if result.patched < result.images:
        said += f", and from the first again after {result.patched:,}"
    return said


def class_name(number: int, name: str) -> str:
    """Name a class by its name and number."""
    return f"{name} ({number})" if name else f"class {number}"


def named(changed: ChangedClass) -> str:
    """Name a class of the table."""
    return class_name(changed.number, changed.name)


def move(top: TopClasses) -> str:
    """State a change of the top class: `beagle (3) → cat (5)`."""
    before, after = (class_name(*pair) for pair in zip((top.before, top.after), top.names, strict=True))
    return f"{before} → {after}"


def classes_caption(result: EditResult) -> str:
    """State which classes the table has."""
    table = result.classes
    assert table is not None
    shown = len(table.changed)
    which = f"the {shown} of {table.classes:,} whose mean output changes most" if shown < table.classes else "all"
    return f"{which}: mean outputs and probabilities, and the images of which each is the top class"


def _percent(value: float) -> str:
    return f"{value:+.1%}".replace("-", "−") if abs(value) >= _SAME else "0.0%"
