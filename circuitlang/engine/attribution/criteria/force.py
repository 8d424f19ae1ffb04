import math

from circuitlang.plugins.protocols import Count, CriterionName, Masks, Scores, Scoring, passes_of, schedule


@schedule("bases", passes=lambda steps, base: steps * passes_of(base))
def force(scoring: Scoring, *, steps: Count = 10, base: CriterionName = "snip") -> Scores:
    """Scores taken again and again while the network is pruned, so that they hold in the circuit, not the network.

    Step t of T keeps the best k_t = exp((t/T) ln k + (1 - t/T) ln n) of the n relevant kernels, scored by `base` in
    the network masked by the step before; kernels that were masked are scored too, with their original weight, and
    may return. de Jorge et al., "Progressive Skeletonization" (FORCE), ICLR 2021, eq. 6 and 8; for circuits:
    Hamblin et al. 2022. The last step's scores are the result. Cost: `steps` passes of `base`.
    """
    total = sum(int(mask.sum()) for mask in scoring.relevant.values())
    masks: Masks | None = None
    scores: Scores = {}
    for step in range(1, steps + 1):
        scores = scoring.score(base, masks)
        masks = scoring.select(scores, step_budget(step / steps, scoring.budget, total))
    return scores


def step_budget(share: float, budget: int, total: int) -> int:
    """Return how many of `total` kernels are left after a share of the steps: from all of them to `budget`,
    evenly in the logarithm.
    """
    return round(math.exp(share * math.log(max(budget, 1)) + (1 - share) * math.log(total)))
