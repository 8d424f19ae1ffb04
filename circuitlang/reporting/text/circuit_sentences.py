"""Sentences about a circuit, for the terminal and for pages."""

from __future__ import annotations

from msgspec import UNSET

from circuitlang.base.diagnostics import listing
from circuitlang.plan.clauses import claims, details
from circuitlang.reporting.text import concept_sentences, verdict_sentences
from circuitlang.reporting.text.extension_calls import without_defaults
from circuitlang.results.assertions import failed_bounds
from circuitlang.results.types import Fidelity, Provenance, Summary
from circuitlang.results.verdict import FEW, verdict


def where(summary: Summary) -> str:
    """Name the images that the fidelity is measured on."""
    if summary.test:
        return f"on {summary.test.images} held-out image{'' if summary.test.images == 1 else 's'}"
    if summary.train.images == 1:
        return "on the image it was found on"
    return f"on the {summary.train.images} images it was found on"


def images(summary: Summary) -> str:
    """Name the image set of a circuit, and its part of a split."""
    name = summary.plan.images
    return f"{name}, part {summary.part.number} of {summary.part.parts}" if summary.part else name


def contrast(summary: Summary) -> str:
    """Name the contrast images that the circuit is measured on. Only for circuits with a contrast."""
    number = summary.contrast.images if summary.contrast else 0
    held = "held-out " if summary.contrast_held_out else ""
    return f"on {number} {held}image{'' if number == 1 else 's'} of {summary.plan.contrast}"


def measured(fidelity: Fidelity) -> str:
    """State the fidelity on other images by the deciding metrics, and the number of images."""
    texts = [f"{name} {fidelity.metrics[name]:.3f}" for name in ("pearson", "error")]
    return f"{', '.join(texts)} on {fidelity.images:,} image{'' if fidelity.images == 1 else 's'}"


def also(summary: Summary) -> dict[str, Fidelity]:
    """Return the fidelity on the images that a circuit is judged by and on the others, by what they are called."""
    return {"held-out" if summary.test else "in-sample": summary.judged, **summary.also}


def also_caption(summary: Summary) -> str:
    """State on which images `also` is measured."""
    return f"without the {summary.train.images:,} images that the circuit was found on"


# Outputs of a removed kernel, by the ablation.
ABLATED = {
    "zero": "nothing",
    "mean": "its mean over the images",
    "resample": "output for another image",
    "optimal": "the constant that loses least",
    "blur": "output for a blurred image",
}


def robust(summary: Summary) -> dict[str, Fidelity | None]:
    """Return the fidelity under the ablations that a plan names; None of one that needs another image."""
    return {way: (summary.robust or {}).get(way) for way in summary.plan.robust or ()}


def robust_caption(summary: Summary) -> str:
    """State what `robust` is the fidelity of, and on which images."""
    refit = "" if summary.plan.calibrate == "none" else ", without its refit"
    return f"the circuit's {summary.noun}s{refit} under other ablations, {where(summary)}"


def interval(ends: tuple[float, float] | None) -> str:
    """Format an interval with as many decimals as its value; "to" instead of a dash before a minus."""
    if ends is None:
        return "–"
    return f"{ends[0]:.3f}{'–' if ends[0] >= 0 else ' to '}{ends[1]:.3f}"


def counted(summary: Summary) -> str:
    """Return how many kernels are kept, and of what."""
    within = summary.plan.within
    of = f" of {within.name or within.id}" if within is not UNSET else ""
    return f"{summary.kept:,} of {summary.relevant:,} {summary.noun}s{of}"


def share(summary: Summary) -> float:
    """Return the kept share of the relevant kernels."""
    return summary.kept / summary.relevant if summary.relevant else 0


def notes(summary: Summary) -> list[str]:
    """Return the caveats about a circuit."""
    notes = []
    if not_preserved := verdict_sentences.reason(summary):
        notes.append(f"{not_preserved} {verdict_sentences.advice(summary)}".rstrip())
    if summary.effective == 0 and not summary.unheard:
        notes.append("The circuit has collapsed: no kept kernel lies on a path from the image to the feature.")
    notes += filter(None, [concept_sentences.caveat(summary)])
    notes += [f"The circuit fails a bound of its statement: {bound.says}." for bound in failed_bounds(summary)]
    if summary.constant:
        kernels = "1 kernel reads" if summary.constant == 1 else f"{summary.constant:,} kernels read"
        notes.append(f"{kernels} channels that are constant on all images: every circuit keeps them, uncounted.")
    if summary.walk and not _holds(summary):
        notes.append("No size meets the bounds; this one comes nearest.")
    if summary.kept < summary.asked and not summary.unheard:
        reason = f"only {summary.kept:,} score above zero, and kernels of score zero are not kept"
        if summary.plan.refill == "live":
            reason = f"only {summary.kept:,} score above zero and can be connected"
        if summary.plan.structure == "channel":
            reason = f"the channels that score above zero and fit have {summary.kept:,}"
        if summary.plan.stable is not UNSET:
            reason = f"{summary.kept:,} of the best are in {summary.plan.stable:.0%} of the circuits of other images"
        notes.append(f"{summary.asked:,} {summary.noun}s were allowed, but {reason}.")
    if summary.test is None and summary.train.images == 1:
        notes.append("Nothing was held out: the circuit was found and measured on one image, so others may differ.")
    elif summary.test is None:
        notes.append("Nothing was held out: fidelity is measured on the images the circuit was found on.")
    if 0 < summary.responses <= FEW:
        numbers = "one number" if summary.responses == 1 else f"{summary.responses} numbers"
        notes.append(f"Fidelity is measured on {numbers}: too few for a correlation, so the error decides.")
    elif summary.judged.images == 1 and "pearson_demeaned" in summary.judged.metrics:
        notes.append("pearson_demeaned is 0: of a single image nothing is left without the mean over images.")
    if summary.contrast and not summary.contrast_held_out:
        notes.append("No contrast image was held out: those it is measured on also decided what is kept.")
    if check := summary.reduced:
        notes.append(
            f"It was scored in TF32. On {check.images} of its images scores differ from those in single precision by"
            f" at most {check.difference:.1e} of the largest, their rank correlation is {check.spearman:.6f}, and"
            f" {check.exchanged:,} of {check.kept:,} kept {summary.noun}s would be others."
        )
    if unreadable := summary.provenance.unreadable:
        notes.append(f"{len(unreadable)} unreadable images were left out: {listing(unreadable, limit=5)}")
    return [*notes, *weights_notes(summary.provenance)]


def weights_notes(provenance: Provenance) -> list[str]:
    """Return sentences about weights that are not a plain state dict."""
    return [f"The weights are not a plain state dict: {note}." for note in provenance.weights_notes]


def remarks(summary: Summary) -> str:
    """Summarise the verdict, unless a circuit is preserved, and its circumstances in a few words."""
    words = [verdict_sentences.title(summary)] if verdict(summary) != "preserved" else []
    return ", ".join(filter(None, (*words, circumstances(summary))))


def circumstances(summary: Summary) -> str:
    """Summarise in a few words what sets a circuit apart beside its numbers; empty where nothing does."""
    plan, words = summary.plan, []
    if not summary.effective and not summary.unheard:
        words.append("collapsed")
    if summary.walk and not _holds(summary):
        words.append("bound not met")
    words += filter(None, [concept_sentences.remark(summary)])
    words += claims(plan) + details(plan)
    if summary.test is None:
        words.append("in-sample")
    return ", ".join(words)


def _holds(summary: Summary) -> bool:
    """Return whether the circuit that was searched for meets its bounds."""
    values = next(trial.values for trial in summary.walk if trial.kernels == summary.asked)
    return all(bound.margin(value) >= 0 for value, bound in zip(values, summary.plan.bounds, strict=True))


def comparisons(summary: Summary) -> list[str]:
    """Explain the baselines beside the circuit, and the caveat of each metric; a line each."""
    return [
        f"{listing(list(summary.baselines))}: baselines of the same size; without: the circuit ablated",
        "pearson ignores scale and offset, r2 and error do not; what all images share,",
        "such as the frame of zero padding, counts for pearson but not for pearson_demeaned",
    ]


def search(summary: Summary) -> str:
    """State what was searched for."""
    wanted = listing([f"{bound.metric}{bound.relation}{bound.value:g}" for bound in summary.plan.bounds])
    return f"for the smallest circuit with {wanted}, to within 1% of its size"


def outcomes(summary: Summary) -> list[tuple[list[bool], str]]:
    """Return the sizes that were tried, the bounds that each meets, and a remark."""
    rows = []
    for trial in summary.walk:
        held = [bound.margin(value) >= 0 for value, bound in zip(trial.values, summary.plan.bounds, strict=True)]
        remark = "" if all(held) else "fails"
        if trial.kernels == summary.asked:
            remark = "the smallest that holds" if all(held) else "the nearest"
        rows.append((held, remark))
    return rows


def budget(summary: Summary) -> str:
    """State the requested size."""
    return f"asked for {summary.asked:,}: {_size(summary)}; effective: kept and connected"


def counts(summary: Summary) -> str:
    """State how many kernels were asked for, kept, and are connected."""
    return f"{summary.asked:,} asked for ({_size(summary)}), {summary.kept:,} kept, {summary.effective:,} connected"


def _size(summary: Summary) -> str:
    if summary.plan.size is not None:
        return str(summary.plan.size)
    return "the smallest that holds" if _holds(summary) else "the nearest, as none holds"


def precision(provenance: Provenance) -> str:
    """State the precision of scores where it isn't single precision; else an empty text."""
    return ", scored in TF32" if provenance.precision == "tf32" else ""


def origin(summary: Summary) -> dict[str, str]:
    """Return the provenance of a circuit, by label."""
    plan, provenance = summary.plan, summary.provenance
    hashes = f"weights {provenance.weights[:12]}, images {provenance.train_images[:12]}"
    module = f"missing: {summary.missing.get('module', 'not written')}"
    if summary.parameters is not None and summary.rounding is not None:
        module = f"{summary.parameters:,} parameters, differs by at most {summary.rounding:g} of the largest value"
    return {
        "criterion": f"{without_defaults(plan.criterion)}{precision(provenance)}",
        "ablation": without_defaults(plan.ablation),
        "weights": "as in the network" if plan.calibrate == "none" else f"refitted, calibrate={plan.calibrate}",
        "provenance": f"{hashes}, circuitlang {provenance.versions.get('circuitlang', '?')}",
        "module": f"module.pt2: {module}",
    }
