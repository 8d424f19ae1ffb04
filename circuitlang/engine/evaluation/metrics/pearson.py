import torch
from torch import Tensor

from circuitlang.plugins.protocols import Moments, metric


@metric("higher")
def pearson(moments: Moments) -> Tensor:
    """The linear correlation r over all images and positions; blind to scale and offset.

    r = cov(f, c) / (sd f * sd c). Where either does not vary there is nothing preserved: 0. Hamblin et al. 2022
    report its absolute value; here the sign is kept.
    """
    f, c = moments.variance_f, moments.variance_c
    # A constant's deviations from its own mean are rounding, not variation.
    varies = (f > 1e-18 * moments.mean_f.square()) & (c > 1e-18 * moments.mean_c.square())
    r = moments.covariance / torch.where(varies, f * c, 1).sqrt()
    return torch.where(varies, r.clamp(-1, 1), 0)
