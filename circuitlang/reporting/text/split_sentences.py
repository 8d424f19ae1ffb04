"""Sentences about a split, for the terminal and for pages: the verdict and its evidence."""

from __future__ import annotations

from circuitlang.base.diagnostics import listing
from circuitlang.reporting.text import circuit_sentences
from circuitlang.results.types import SIGNIFICANT, ClusterTest, SpecificityTest, Split


def verdict(split: Split) -> str:
    """State whether there is evidence that the feature splits, in a sentence without its full stop."""
    target, parts = split.plan.target, len(split.kinds)
    if split.splits:
        return f"{target} splits into {parts} parts"
    if split.distinction is None:
        return f"whether {target} splits can't be told: fewer than two parts have held-out pictures"
    found = f"no evidence that {target} splits"
    if split.distinction.p < SIGNIFICANT:
        return f"{found}: the circuits differ, but the pictures could as well be a continuum"
    if split.separation.p < SIGNIFICANT:
        return f"{found}: the pictures do fall into kinds, but each part's circuit keeps the others as well"
    return found


def evidence(split: Split) -> list[str]:
    """Give the evidence for the verdict: the circuits, and the clusters of images; a sentence each."""
    circuits = _circuits(split.distinction) if split.distinction else "Nothing is said of the circuits."
    return [circuits, _kinds(split.separation)]


def _circuits(distinction: SpecificityTest) -> str:
    return (
        f"Circuits keep held-out pictures of their own part at r {distinction.own:.3f}, those of the others at "
        f"{distinction.other:.3f}; {probability(distinction.p)} that pictures dealt out at random differ as much. "
        f"The circuit of all pictures, as large, keeps them at {distinction.whole:.3f}."
    )


def _kinds(separation: ClusterTest) -> str:
    return (
        f"For each picture about the middle of a part {separation.valley:.2f} are half-way to another part, in a cloud "
        f"without kinds {separation.cloud:.2f}; {probability(separation.p)} that such a cloud has as few."
    )


def probability(p: float) -> str:
    """In two digits."""
    return f"p = {p:.2g}"


def notes(split: Split) -> list[str]:
    """Return the caveats about a split."""
    found = []
    if split.vectors != split.plan.criterion:
        found.append(
            f"Pictures are told apart by {split.vectors}: {split.plan.criterion}, by which circuits are found, has no "
            "score of a single picture."
        )
    if unheld := [str(number) for number, kind in enumerate(split.kinds, 1) if not kind.test]:
        found.append(f"No held-out picture is nearest to part {listing(unheld)}.")
    if split.silent:
        many = f"{len(split.silent)} pictures say" if len(split.silent) > 1 else "1 picture says"
        are = "are" if len(split.silent) > 1 else "is"
        found.append(f"{many} nothing of the feature and {are} in no part: {listing(split.silent, limit=5)}")
    return [*found, *circuit_sentences.weights_notes(split.provenance)]


def tried(split: Split) -> str:
    """The silhouettes by number of parts that were tried."""
    return ", ".join(f"{number} parts {value:.3f}" for number, value in sorted(split.separation.tried.items()))


def origin(split: Split) -> dict[str, str]:
    """Return the provenance of a split, by label."""
    provenance = split.provenance
    images = f"images {provenance.train_images[:12]}"
    names = ("circuitlang", "scikit-learn")
    versions = ", ".join(f"{name} {provenance.versions.get(name, '?')}" for name in names)
    return {
        "told apart": f"{split.vectors}, of {split.relevant:,} kernels, k-means, seed {split.plan.seed}",
        "criterion": f"{split.plan.criterion}{circuit_sentences.precision(provenance)}",
        "provenance": f"weights {provenance.weights[:12]}, {images}, {versions}",
    }
