from circuitlang.engine.deferred import torch
from circuitlang.plugins.protocols import Scores, Scoring, schedule


@schedule(passes=lambda: 0, nested=True)
def random(scoring: Scoring) -> Scores:
    """A uniformly random ranking, drawn by the circuit's seed: the baseline every criterion must beat.

    Cost: no pass.
    """
    return {
        path: torch.rand(mask.shape, dtype=torch.float64, generator=scoring.generator)
        for path, mask in scoring.relevant.items()
    }
