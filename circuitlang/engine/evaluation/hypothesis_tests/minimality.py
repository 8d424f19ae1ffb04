from circuitlang.engine.evaluation.significance import LEVEL, binomial_at_most, holm
from circuitlang.plugins.hypothesis_tests import CircuitClaim, HypothesisOutcome, Runs, hypothesis_test
from circuitlang.plugins.protocols import Count


def _runs(size: int | None, references: int, kernels: int, quantile: float) -> Runs:
    """Return the cost: an inflated circuit with and without its kernel for each reference, and one for each kernel."""
    size = kernels if size is None else size
    return Runs(circuits=2 * references + size) if 0 < size <= kernels and 0 < quantile < 1 else Runs()


@hypothesis_test("higher", runs=_runs)
def minimality(
    claim: CircuitClaim, *, references: Count = 100, kernels: Count = 300, quantile: float = 0.9
) -> HypothesisOutcome:
    """The share of kernels that matter no more than irrelevant ones; a small p refutes that the circuit is minimal.

    A kernel's loss is the increase of the error when it is removed from the circuit. References are the losses of
    kernels that don't belong to it: a random path through one is added to the circuit, and that kernel removed from
    this inflated circuit. A kernel matters if its loss exceeds that of `quantile` of the references. Its p is the
    probability that a kernel that matters exceeds no more of them, by the binomial distribution, adjusted by Holm for
    the number of kernels. The p of the circuit is the smallest of any kernel. It is left out for circuits of more than
    `kernels` kernels.

    Source: Shi et al. 2024, "Hypothesis testing the circuit hypothesis in LLMs", section 3.1, with Holm in place of
    Bonferroni. Cost: 2 `references` + the circuit's kernels, as many circuits on the held-out images.
    """
    size = sum(int(mask.sum()) for mask in claim.masks.values())
    if not 0 < quantile < 1:
        return HypothesisOutcome(verdict="left out: its quantile is not between 0 and 1")
    if size == 0:
        return HypothesisOutcome(verdict="left out: the circuit is empty")
    if size > kernels:
        return HypothesisOutcome(verdict=f"left out: {size:,} {claim.noun}s are more than the {kernels:,} it tests")
    generator, losses = claim.generator(1), []
    for _ in range(references):
        pair = claim.inflated(generator)
        if pair is None:
            return HypothesisOutcome(verdict=f"left out: there is no {claim.noun} outside of the circuit")
        inflated, without = pair
        losses.append(claim.changed_error(without) - claim.changed_error(inflated))
    own = claim.error(claim.circuit)
    exceeds = []
    for masks in claim.single_knock_outs():
        own_loss = claim.changed_error(masks) - own
        exceeds.append(sum(own_loss > loss for loss in losses))
    adjusted = holm([binomial_at_most(count, references, quantile) for count in exceeds])
    superfluous = sum(p <= LEVEL for p in adjusted)
    verdict = f"{superfluous} of {size} {claim.noun}s are superfluous"
    verdict += ": not minimal" if superfluous else ": not refuted"
    return HypothesisOutcome(statistic=superfluous / size, p=min(adjusted), verdict=verdict)
