from __future__ import annotations

from typing import TYPE_CHECKING

from circuitlang.engine.attribution.effects import centred, centred_moments
from circuitlang.plugins.protocols import LayerSignals, criterion, signs

if TYPE_CHECKING:
    from torch import Tensor


@criterion(signs, finish=centred)
def gn(kernels: LayerSignals) -> Tensor:
    """Score a kernel by how far the feature map would move, to first order, if its output were held at its mean.

    The diagonal of the Gauss-Newton matrix of the reconstruction error: the sum over images and positions p of
    (<w, df_p/dw> - m df_p/db)^2, with w the kernel, m the mean of its output over all images and positions, and b a
    constant added to that output. The sum over positions is estimated without bias by one backward pass from random
    signs v: (sum_p v_p J_p)^2, whose expectation is sum_p J_p^2 (Hutchinson 1990; Bekas et al. 2007). The signs follow
    from the circuit's seed and the image's content. Unlike `taylor` it counts what a kernel does to the map whether
    it goes with the feature or against it. Cost: one pass.
    """
    return centred_moments(kernels)
