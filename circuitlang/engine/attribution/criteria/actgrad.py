from __future__ import annotations

from typing import TYPE_CHECKING

from circuitlang.engine.attribution.effects import flows
from circuitlang.plugins.protocols import LayerSignals, criterion

if TYPE_CHECKING:
    from torch import Tensor


@criterion()
def actgrad(kernels: LayerSignals) -> Tensor:
    """Score a kernel by how much of the feature passes through its output: activation times gradient.

    Sum over images of the mean over positions of |a dL/da|, with a the kernel's own output map (its input channel
    convolved with it, before the sum over input channels) and L the sum of the feature's absolute values.
    Hamblin et al. 2022, section 3, after Molchanov et al., "Importance Estimation", 2019. Cost: one pass.
    """
    return flows(kernels) / kernels.gradient[0, 0].numel()
