from torch import Tensor

from circuitlang.engine.evaluation.metrics.pearson import pearson
from circuitlang.plugins.protocols import Moments, metric


def deviations(responses: Tensor) -> Tensor:
    """Return each response less its position's mean over the images."""
    centred = responses - responses.mean(0)
    # Values that are the same for every image leave only rounding.
    varies: Tensor = centred.norm(dim=0) > 1e-9 * responses.norm(dim=0)
    return centred * varies


@metric("higher", of=deviations)
def pearson_demeaned(moments: Moments) -> Tensor:
    """The linear correlation after each position's mean over the images is taken off both maps.

    What is the same for every image, as the frame that zero padding draws, no longer counts: a random circuit may
    correlate by it. One image has nothing left: 0. A feature of one position has its `pearson`.
    """
    return pearson(moments)
