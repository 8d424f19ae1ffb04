import torch
from torch import Tensor

from circuitlang.engine.contracts import metric
from circuitlang.engine.metrics.pearson import pearson


@metric("higher")
def spearman(original: Tensor, circuit: Tensor) -> float:
    """The correlation of ranks over all images and positions, ties at their mean rank; blind to monotone change.

    Spearman 1904.
    """
    return pearson(_ranks(original), _ranks(circuit))


def _ranks(values: Tensor) -> Tensor:
    _, inverse, counts = torch.unique(values.flatten(), return_inverse=True, return_counts=True)
    middle: Tensor = counts.cumsum(0).double() - (counts - 1) / 2
    return middle[inverse]
