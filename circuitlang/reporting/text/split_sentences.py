"""Sentences about a split, for the terminal and for pages: the verdict and its evidence."""

from __future__ import annotations

from circuitlang.base.diagnostics import listing
from circuitlang.reporting.text import circuit_sentences
from circuitlang.reporting.text.extension_calls import without_defaults
from circuitlang.results.split import SIGNIFICANT, ClusterTest, SpecificityTest, Split

# Verdicts on circuits that preserve something.
_PRESERVING = ("preserved", "partly")
_NO_BETTER = "no better than a baseline"
# The difference of two correlations that is no difference to anybody who uses the circuits.
_NEAR = 0.05


def verdict(split: Split) -> str:
    """State whether there is evidence that the feature splits, in a sentence without its full stop."""
    target, parts = split.plan.target, len(split.kinds)
    if split.splits:
        return f"{target} splits into {parts} parts"
    if split.distinction is None:
        return f"whether {target} splits is unknown: fewer than two parts have held-out images"
    none = f"no evidence that {target} splits"
    if split.distinction.p < SIGNIFICANT:
        return f"{none}: the circuits differ, but the images form no separate groups"
    if split.separation.p < SIGNIFICANT:
        return f"{none}: the images form separate groups, but each part's circuit preserves the others as well"
    return none


def conclusion(split: Split) -> str:
    """State in a sentence, without its full stop, what was found, and whether the parts' circuits preserve anything."""
    parts, verdicts = len(split.kinds), [kind.verdict for kind in split.kinds]
    preserving = [number for number, word in enumerate(verdicts, 1) if word in _PRESERVING]
    others = listing(list(dict.fromkeys(word for word in verdicts if word not in _PRESERVING)))
    if not all(verdicts) or (len(preserving) == parts and not split.splits):
        return verdict(split)
    if set(verdicts) == {_NO_BETTER}:
        return f"whether {split.plan.target} splits can't be told: no part's circuit is better than one by another rule"
    if not preserving:
        return f"whether {split.plan.target} splits can't be told: no part's circuit preserves it ({others})"
    if len(preserving) < parts:
        number = f"{len(preserving)} of {parts} parts' circuits preserve it" if len(preserving) > 1 else ""
        return f"{verdict(split)}, but only {number or 'the circuit of one part preserves it'}; the others: {others}"
    in_part = ", in part," if "partly" in verdicts else ""
    near = split.distinction is not None and split.distinction.own - split.distinction.other < _NEAR
    sentence = f"{verdict(split)}, each preserved{in_part} by a circuit of its own"
    return f"{sentence}; the others' circuits preserve it nearly as well" if near else sentence


def is_clear(split: Split) -> bool:
    """Return whether a feature splits into parts that their circuits preserve, as far as that is known."""
    return split.splits and all(kind.verdict in ("", *_PRESERVING) for kind in split.kinds)


def evidence(split: Split) -> list[str]:
    """Give the evidence for the verdict: the circuits, and the clusters of images; a sentence each."""
    circuits = _circuits(split.distinction) if split.distinction else "The circuits are not compared."
    return [circuits, _clusters(split.separation)]


def _circuits(distinction: SpecificityTest) -> str:
    return (
        f"Circuits preserve held-out images of their own part at r {distinction.own:.3f}, those of the others at "
        f"{distinction.other:.3f} (permutation test: {probability(distinction.p)}). "
        f"The circuit of all images, of the same size, preserves them at {distinction.whole:.3f}."
    )


def _clusters(separation: ClusterTest) -> str:
    groups = "separate groups" if separation.p < SIGNIFICANT else "no separate groups"
    return (
        f"Between-cluster ratio {separation.valley:.2f} ({separation.cloud:.2f} without clusters; "
        f"{probability(separation.p)}): the images form {groups}."
    )


def probability(p: float) -> str:
    """Format a probability with two significant digits."""
    return f"p = {p:.2g}"


def notes(split: Split) -> list[str]:
    """Return the caveats about a split."""
    notes = []
    if split.vectors != split.plan.criterion:
        vectors, criterion = without_defaults(split.vectors), without_defaults(split.plan.criterion)
        notes.append(
            f"Images are clustered by {vectors}: {criterion}, which finds the circuits, has no scores for a single "
            "image."
        )
    if unheld := [str(number) for number, kind in enumerate(split.kinds, 1) if not kind.test]:
        notes.append(f"No held-out image is nearest to part {listing(unheld)}.")
    if split.silent:
        images = f"{len(split.silent)} images give" if len(split.silent) > 1 else "1 image gives"
        are = "are" if len(split.silent) > 1 else "is"
        notes.append(f"{images} every kernel a score of zero and {are} in no part: {listing(split.silent, limit=5)}")
    return [*notes, *circuit_sentences.weights_notes(split.provenance)]


def tried(split: Split) -> str:
    """List the mean silhouettes by the number of parts that was tried."""
    return ", ".join(f"{number} parts {value:.3f}" for number, value in sorted(split.separation.tried.items()))


def origin(split: Split) -> dict[str, str]:
    """Return the provenance of a split, by label."""
    provenance = split.provenance
    images = f"images {provenance.train_images[:12]}"
    names = ("circuitlang", "scikit-learn")
    versions = ", ".join(f"{name} {provenance.versions.get(name, '?')}" for name in names)
    vectors = without_defaults(split.vectors)
    return {
        "clustered by": f"{vectors}, of {split.relevant:,} kernels, k-means, seed {split.plan.seed}",
        "criterion": f"{without_defaults(split.plan.criterion)}{circuit_sentences.precision(provenance)}",
        "provenance": f"weights {provenance.weights[:12]}, {images}, {versions}",
    }
