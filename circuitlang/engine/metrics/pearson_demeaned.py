from torch import Tensor

from circuitlang.engine.contracts import metric
from circuitlang.engine.metrics.pearson import pearson


@metric("higher")
def pearson_demeaned(original: Tensor, circuit: Tensor) -> float:
    """The linear correlation after each position's mean over the images is taken off both maps.

    What is the same for every image, as the frame that zero padding draws, no longer counts: a random circuit may
    correlate by it. One image has nothing left: 0. A feature of one position has its `pearson`.
    """
    return pearson(_deviations(original), _deviations(circuit))


def _deviations(responses: Tensor) -> Tensor:
    deviations = responses - responses.mean(0)
    # Of values that are the same for every image, what is left is rounding.
    varies: Tensor = deviations.norm(dim=0) > 1e-9 * responses.norm(dim=0)
    return deviations * varies
