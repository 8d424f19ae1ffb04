import torch
from torch import Tensor

from circuitlang.plugins.protocols import Moments, metric


@metric("higher")
def pearson(moments: Moments) -> Tensor:
    """The linear correlation r over all images and positions; blind to scale and offset.

    r = cov(f, c) / (sd f * sd c). Where either does not vary there is nothing preserved: 0. Hamblin et al. 2022
    report its absolute value; here the sign is kept.
    """
    both = varies(moments.variance_f, moments.mean_f) & varies(moments.variance_c, moments.mean_c)
    r = moments.covariance / torch.where(both, moments.variance_f * moments.variance_c, 1).sqrt()
    return torch.where(both, r.clamp(-1, 1), 0)


def varies(variance: Tensor, mean: Tensor) -> Tensor:
    """Return whether responses vary by more than the rounding of their mean."""
    # A constant's deviations from its own mean are rounding, not variation.
    return variance > 1e-18 * mean.square()
