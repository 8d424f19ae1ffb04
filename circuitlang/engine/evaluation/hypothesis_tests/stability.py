from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec
import torch
from torch import Tensor

from circuitlang.plugins.hypothesis_tests import CircuitClaim, HypothesisOutcome, Runs, hypothesis_test
from circuitlang.plugins.protocols import Count, Masks

# As many random circuits say which overlap is chance; they are not run.
_RANDOM = 20


@hypothesis_test("higher", runs=lambda _kernels, halvings: Runs(halvings=halvings))
def stability(claim: CircuitClaim, *, halvings: Count = 3) -> HypothesisOutcome:
    """The overlap of circuits that are found on other images: a mean intersection over union, without a p.

    The images that the circuit was found on are divided at random into halves, `halvings` times, and a circuit of the
    same size is found on each half by the same criterion. The statistic is the mean, over halvings, of the intersection
    over union of the two circuits' kernels: 1 if images have no say, and at chance that of random circuits with as many
    kernels in every layer. Each of the circuit's kernels has a share: that of these circuits which have it. `share` is
    their mean, and the verdict says how many are in all of these circuits.
    Half of the images find a worse circuit than all of them, so that the overlap of circuits of as many images as the
    circuit's own is larger, if anything.

    Source: Meinshausen and Bühlmann, "Stability selection", 2010, for the halves, and Shah and Samworth, "Variable
    selection with error control", 2013, for both halves of each. Cost: `halvings` times that of finding the circuit;
    for a one-pass criterion, whose scores are sums over images, one pass for every ten halvings.
    """
    pairs = list(claim.found_on_halves(halvings))
    if not pairs:
        return HypothesisOutcome(verdict="left out: one image can't be halved")
    overlap = sum(overlap_of(*pair) for pair in pairs) / len(pairs)
    chance = [overlap_of(*pair) for pair in pairwise(claim.random_circuits(_RANDOM))]
    circuits = [masks for pair in pairs for masks in pair]
    shares = torch.cat([share[claim.masks[path]] for path, share in shares_of(circuits).items()])
    own, always = len(shares), int((shares == 1).sum())
    share = float(shares.mean()) if own else msgspec.UNSET
    says = f"{claim.noun}s are on {share:.0%} of the halves, {always:,} of {own:,} on all" if own else "it is empty"
    verdict = f"{says}; chance {sum(chance) / len(chance):.2f}"
    return HypothesisOutcome(statistic=overlap, share=share, verdict=verdict)


def shares_of(circuits: Sequence[Masks]) -> Mapping[str, Tensor]:
    """Return the share of circuits that have each kernel, float64 [out, in / groups], by layer."""
    return {path: torch.stack([masks[path] for masks in circuits]).double().mean(0) for path in circuits[0]}


def overlap_of(first: Masks, second: Masks) -> float:
    """Return the intersection over union of two circuits' kernels; 1 if both are empty."""
    both = sum(int((mask & second[path]).sum()) for path, mask in first.items())
    either = sum(int((mask | second[path]).sum()) for path, mask in first.items())
    return both / either if either else 1.0
