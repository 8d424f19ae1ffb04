from collections.abc import Iterable, Mapping
from itertools import pairwise

import msgspec
import numpy as np
import torch
from torch import Tensor

from circuitlang.plugins.hypothesis_tests import CircuitClaim, HypothesisOutcome, Runs, hypothesis_test
from circuitlang.plugins.protocols import Count, Masks

# As many random circuits say which overlap is chance; they are not run.
_RANDOM = 20
# The verdict counts kernels that are in this share of the circuits of resamples.
_MOST = 0.9
# Kernels that the overlaps of circuits are counted over at once.
_COLUMNS = 1 << 16


@hypothesis_test("higher", runs=lambda _kernels, halvings, **_others: Runs(halvings=halvings))
def stability(claim: CircuitClaim, *, halvings: Count = 3, resamples: Count = 100) -> HypothesisOutcome:
    """The overlap of circuits that are found on other images: a mean intersection over union, without a p.

    The images that the circuit was found on are divided at random into halves, `halvings` times, and a circuit of the
    same size is found on each half by the same criterion. The statistic is the mean, over halvings, of the intersection
    over union of the two circuits' kernels: 1 if images have no say, and at chance that of random circuits with as many
    kernels in every layer. Half of the images find a worse circuit than all of them, so that the overlap of circuits of
    as many images as the circuit's own is larger, if anything.

    The scores of a one-pass criterion are sums over images. They are summed over at most 32 blocks of images, and
    `resamples` circuits are found on as many blocks drawn with replacement. `bootstrap` is the mean intersection over
    union of any two of them, which is too large for circuits of other images: resamples have images in common. Each of
    the circuit's kernels has a share: that of these circuits which have it, and for any other criterion that of the
    circuits on halves. `share` is their mean, and the verdict says how many are in 90% of resamples, or on all halves.

    Source: Efron, "Bootstrap methods", 1979, for the resamples; Meinshausen and Bühlmann, "Stability selection", 2010,
    for the halves, and Shah and Samworth, "Variable selection with error control", 2013, for both halves of each. Cost:
    one pass for a one-pass criterion, and for any other `halvings` times that of finding the circuit.
    """
    pairs = list(claim.found_on_halves(halvings))
    if not pairs:
        return HypothesisOutcome(verdict="left out: one image can't be halved")
    overlap = sum(overlap_of(*pair) for pair in pairs) / len(pairs)
    chance = [overlap_of(*pair) for pair in pairwise(claim.random_circuits(_RANDOM))]
    counted = shares_of(claim.found_on_resamples(resamples))
    bootstrap = mean_overlap(claim.found_on_resamples(resamples)) if counted and resamples > 1 else msgspec.UNSET
    counted = counted or shares_of(masks for pair in pairs for masks in pair)
    shares = torch.cat([share[claim.masks[path]] for path, share in counted.items()])
    own, mean = len(shares), sum(chance) / len(chance)
    share = float(shares.mean()) if own else msgspec.UNSET
    says = "it is empty"
    if own and bootstrap is msgspec.UNSET:
        says = f"{claim.noun}s are on {share:.0%} of the halves, {int((shares == 1).sum()):,} of {own:,} on all"
    elif own:
        most = f"{int((shares >= _MOST).sum()):,} of {own:,} in {_MOST:.0%}"
        says = f"{claim.noun}s are in {share:.0%} of resamples, {most}; these overlap by {bootstrap:.2f}"
    verdict = f"{says}; chance {mean:.2f}"
    return HypothesisOutcome(statistic=overlap, share=share, bootstrap=bootstrap, verdict=verdict)


def shares_of(circuits: Iterable[Masks]) -> Mapping[str, Tensor]:
    """Return the share of circuits that have each kernel, float64 [out, in / groups], by layer; {} of no circuits."""
    counts: dict[str, Tensor] = {}
    number = 0
    for masks in circuits:
        number += 1
        counts = {path: mask.double() + counts.get(path, 0) for path, mask in masks.items()}
    return {path: count / number for path, count in counts.items()}


def overlap_of(first: Masks, second: Masks) -> float:
    """Return the intersection over union of two circuits' kernels; 1 if both are empty."""
    both = sum(int((mask & second[path]).sum()) for path, mask in first.items())
    either = sum(int((mask | second[path]).sum()) for path, mask in first.items())
    return both / either if either else 1.0


def mean_overlap(circuits: Iterable[Masks]) -> float:
    """Return the mean of `overlap_of` over all pairs of two or more circuits."""
    kept = [torch.cat([mask.flatten() for mask in masks.values()]).nonzero()[:, 0] for masks in circuits]
    ever = torch.from_numpy(np.unique(torch.cat(kept).numpy()))
    columns = [torch.searchsorted(ever, own) for own in kept]
    both = torch.zeros(len(kept), len(kept), dtype=torch.float64)
    for start in range(0, len(ever), _COLUMNS):
        # Single precision counts exactly up to 2^24.
        member = torch.zeros(len(kept), min(_COLUMNS, len(ever) - start))
        for row, own in zip(member, columns, strict=True):
            row[own[(own >= start) & (own < start + _COLUMNS)] - start] = 1
        both += member @ member.T
    sizes = both.diagonal()
    either = sizes[:, None] + sizes - both
    overlaps = torch.where(either > 0, both / either, 1.0)
    # Each pair is counted twice, and each circuit overlaps with itself.
    return float((overlaps.sum() - len(kept)) / (len(kept) * (len(kept) - 1)))
