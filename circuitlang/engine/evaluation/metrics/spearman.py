import torch
from torch import Tensor

from circuitlang.engine.evaluation.metrics.pearson import pearson
from circuitlang.plugins.protocols import Moments, metric


def ranks(responses: Tensor) -> Tensor:
    """The rank of each among all images and positions, from 0, ties at their mean rank."""
    _, inverse, counts = torch.unique(responses.flatten(), return_inverse=True, return_counts=True)
    middle: Tensor = counts.cumsum(0).double() - (counts + 1) / 2
    return middle[inverse].reshape(responses.shape)


@metric("higher", of=ranks)
def spearman(moments: Moments) -> Tensor:
    """The correlation of ranks over all images and positions, ties at their mean rank; blind to monotone change.

    Spearman 1904.
    """
    return pearson(moments)
