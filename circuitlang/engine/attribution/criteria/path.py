from circuitlang.engine.attribution.criteria.force import step_budget
from circuitlang.plugins.protocols import Count, CriterionName, Edits, Scores, Scoring, passes_of, schedule


@schedule("bases", passes=lambda steps, base: steps * passes_of(base))
def path(scoring: Scoring, *, steps: Count = 4, base: CriterionName = "greedy") -> Scores:
    """Scores taken again and again while the network is pruned, in the circuit as it will be built.

    Like `force`: step t of T keeps the best k_t = exp((t/T) ln k + (1 - t/T) ln n) of the n relevant kernels, and
    kernels that were removed are scored too, with their original weight, and may return. But each step scores in the
    circuit that the step before would give: with what the spec's `ablation` puts for removed kernels, refitted layer by
    layer as `calibrate` says, and with dead kernels replaced where `refill=live`. Where circuits are refitted at the
    end, what matters is what a refit can't make up for, which shows only after one. Pruning in turns with least-squares
    reconstruction: Luo et al., "ThiNet", and He et al., "Channel Pruning", both ICCV 2017; the schedule: de Jorge et
    al., "Progressive Skeletonization" (FORCE), ICLR 2021, eq. 8. The last step's scores are the result.
    Cost: `steps` passes of `base`, and between them `steps` - 1 layerwise refits where the spec asks for any.
    """
    total = sum(int(mask.sum()) for mask in scoring.relevant.values())
    edits: Edits | None = None
    scores: Scores = {}
    for step in range(1, steps + 1):
        scores = scoring.score(base, edits)
        if step < steps:
            edits = scoring.build(scoring.select(scores, step_budget(step / steps, scoring.budget, total)))
    return scores
