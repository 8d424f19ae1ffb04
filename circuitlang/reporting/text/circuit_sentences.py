"""Sentences about a circuit, for the terminal and for pages."""

from __future__ import annotations

from circuitlang.base.diagnostics import listing
from circuitlang.results.types import Provenance, Summary

# So few numbers lie on a line.
_FEW = 2


def where(summary: Summary) -> str:
    """Which pictures the fidelity is of."""
    if summary.test:
        return f"on {summary.test.images} held-out picture{'' if summary.test.images == 1 else 's'}"
    if summary.train.images == 1:
        return "on the picture it was found on"
    return f"on the {summary.train.images} pictures it was found on"


def images(summary: Summary) -> str:
    """The set that was given, and which part of it is the circuit's."""
    name = summary.plan.images
    return f"{name}, part {summary.part.number} of {summary.part.parts}" if summary.part else name


def contrast(summary: Summary) -> str:
    """On which pictures it is measured that the circuit doesn't do as well; only where it is contrasted with any."""
    number = summary.contrast.images if summary.contrast else 0
    held = "held-out " if summary.contrast_held_out else ""
    return f"on {number} {held}picture{'' if number == 1 else 's'} of {summary.plan.contrast}"


def interval(ends: tuple[float, float] | None) -> str:
    """In as many decimals as the value that it is of, lest that seem to lie beside it; no dash before a minus."""
    if ends is None:
        return "–"
    return f"{ends[0]:.3f}{'–' if ends[0] >= 0 else ' to '}{ends[1]:.3f}"


def share(summary: Summary) -> float:
    """Kept, of the relevant."""
    return summary.kept / summary.relevant if summary.relevant else 0


def notes(summary: Summary) -> list[str]:
    """Return the caveats about a circuit."""
    notes = []
    if summary.unheard:
        notes.append(f"{constant_feature(str(summary.plan.target))} Try other pictures, or another feature.")
    if summary.effective == 0 and not summary.unheard:
        notes.append("The circuit has collapsed: nothing that is kept lies on a path from the image to the feature.")
    if summary.constant:
        kernels = "1 kernel reads" if summary.constant == 1 else f"{summary.constant:,} kernels read"
        notes.append(f"{kernels} channels that are the same for every image: all circuits keep them, uncounted.")
    if summary.walk and not _holds(summary):
        notes.append("No size reaches what was asked for; this is the one that comes nearest.")
    if summary.kept < summary.asked and not summary.unheard:
        reason = f"only {summary.kept:,} score above zero; none is kept to fill up"
        if summary.plan.refill == "live":
            reason = f"only {summary.kept:,} score above zero and can be on a path"
        if summary.plan.structure == "channel":
            reason = f"the channels that score take {summary.kept:,}, and one more, if there is any, too many"
        notes.append(f"{summary.asked:,} {summary.noun}s were allowed, but {reason}.")
    if summary.test is None and summary.train.images == 1:
        alone = "what it says of others is not known"
        notes.append(f"It was found on one picture and is measured on the same, as none is left to hold out: {alone}.")
    elif summary.test is None:
        notes.append("Nothing was held out: the fidelity is that of the pictures the circuit was found on.")
    if 0 < summary.responses <= _FEW:
        numbers = "one number" if summary.responses == 1 else f"{summary.responses} numbers"
        notes.append(f"It is judged by {numbers}, of which no correlation says anything; error does.")
    elif summary.judged.images == 1 and "pearson_demeaned" in summary.judged.metrics:
        notes.append("Of one picture nothing is left without what all pictures share: pearson_demeaned is 0.")
    if summary.contrast and not summary.contrast_held_out:
        notes.append("Nothing was held out of what it is contrasted with: those pictures had a say in what is kept.")
    if found := summary.reduced:
        notes.append(
            f"It was scored in TF32. On {found.images} of its pictures scores differ from those in single precision by"
            f" at most {found.difference:.1e} of the largest, their rank correlation is {found.spearman:.6f}, and"
            f" {found.exchanged:,} of {found.kept:,} {summary.noun}s that are kept would be others."
        )
    if bad := summary.provenance.unreadable:
        notes.append(f"{len(bad)} unreadable pictures were left out: {listing(bad, limit=5)}")
    return [*notes, *weights_notes(summary.provenance)]


def weights_notes(provenance: Provenance) -> list[str]:
    """Return sentences about weights that are not a plain state dict."""
    return [f"The weights are not a plain state dict: {note}." for note in provenance.weights_notes]


def remarks(summary: Summary) -> str:
    """Summarise in a few words what sets a circuit apart beside its numbers; empty where nothing does."""
    plan, found = summary.plan, []
    if summary.unheard or not summary.effective:
        found.append("nothing to preserve" if summary.unheard else "collapsed")
    if summary.walk and not _holds(summary):
        found.append("bound not met")
    if plan.calibrate != "none":
        found.append(f"refitted ({plan.calibrate})")
    if plan.contrast:
        found.append(f"against {plan.contrast}")
    if summary.test is None:
        found.append("in-sample")
    return ", ".join(found)


def constant_feature(target: str) -> str:
    """Why there is nothing to preserve."""
    return f"There is nothing to preserve: {target} does not answer to these pictures, and is the same on all of them."


def _holds(summary: Summary) -> bool:
    """Return whether the circuit that was searched for meets its bounds."""
    values = next(each.values for each in summary.walk if each.kernels == summary.asked)
    return all(bound.margin(value) >= 0 for value, bound in zip(values, summary.plan.bounds, strict=True))


def comparisons(summary: Summary) -> list[str]:
    """Explain the baselines beside the circuit, and the caveat of each metric; a line each."""
    return [
        f"{listing(list(summary.baselines))}: as large, chosen so; without: the network less the circuit",
        "pearson forgives scale and offset, r2 and error do not; what all pictures share,",
        "as the frame of zero padding, counts for pearson but not for pearson_demeaned",
    ]


def search(summary: Summary) -> str:
    """State what was searched for."""
    wanted = listing([f"{each.metric}{each.relation}{each.value:g}" for each in summary.plan.bounds])
    return f"for the smallest circuit with {wanted}; to within 1% of its size"


def outcomes(summary: Summary) -> list[tuple[list[bool], str]]:
    """Return the sizes that were tried, the bounds that each meets, and a remark."""
    found = []
    for tried in summary.walk:
        held = [bound.margin(value) >= 0 for value, bound in zip(tried.values, summary.plan.bounds, strict=True)]
        mine = tried.kernels == summary.asked
        says = ("the smallest that holds" if all(held) else "the nearest") if mine else "" if all(held) else "fails"
        found.append((held, says))
    return found


def budget(summary: Summary) -> str:
    """State the requested size."""
    size = str(summary.plan.size)
    if summary.plan.size is None:
        size = "as few as hold" if _holds(summary) else "as many as come nearest, since none holds"
    return f"asked for {summary.asked:,}: {size}; effective: kept and on a live path"


def precision(provenance: Provenance) -> str:
    """In what scores were computed, where it isn't single precision."""
    return ", scored in TF32" if provenance.precision == "tf32" else ""


def origin(summary: Summary) -> dict[str, str]:
    """Return the provenance of a circuit, by label."""
    plan, provenance = summary.plan, summary.provenance
    hashes = f"weights {provenance.weights[:12]}, images {provenance.train_images[:12]}"
    module = f"missing: {summary.missing.get('module', 'it was not made')}"
    if summary.parameters is not None and summary.rounding is not None:
        module = f"{summary.parameters:,} parameters, differs by at most {summary.rounding:g} of the largest value"
    return {
        "criterion": f"{plan.criterion}{precision(provenance)}",
        "ablation": str(plan.ablation),
        "weights": "as in the network" if plan.calibrate == "none" else f"refitted, calibrate={plan.calibrate}",
        "provenance": f"{hashes}, circuitlang {provenance.versions.get('circuitlang', '?')}",
        "module": f"module.pt2: {module}",
    }
