import torch
from torch import Tensor

from circuitlang.plugins.protocols import Moments, metric


@metric("lower")
def error(moments: Moments) -> Tensor:
    """The normalised error ||c - f|| / ||f|| over all images and positions; 0 is perfect, 1 is as bad as silence.

    A feature that is zero everywhere is met by silence alone: 0 for it, 1 for anything else.
    """
    scale = moments.variance_f + moments.mean_f.square()
    silent = scale <= 0
    relative = (moments.difference / torch.where(silent, 1, scale)).sqrt()
    return torch.where(silent, (moments.difference > 0).double(), relative)
