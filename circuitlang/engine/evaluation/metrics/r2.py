import torch
from torch import Tensor

from circuitlang.plugins.protocols import Moments, metric


@metric("higher")
def r2(moments: Moments) -> Tensor:
    """The share of the feature's variance that the circuit reproduces, scale and offset included.

    R2 = 1 - sum (f - c)^2 / sum (f - mean f)^2; 1 is perfect, below 0 is worse than the feature's mean. A feature
    that does not vary has none to explain: 0.
    """
    varies = moments.variance_f > 1e-18 * moments.mean_f.square()
    return torch.where(varies, 1 - moments.difference / torch.where(varies, moments.variance_f, 1), 0)
