from __future__ import annotations

from typing import TYPE_CHECKING

from circuitlang.engine.attribution.effects import absolute_effects
from circuitlang.plugins.protocols import LayerSignals, criterion

if TYPE_CHECKING:
    from torch import Tensor


@criterion()
def snip(kernels: LayerSignals) -> Tensor:
    """Score a kernel by how much the feature would change, to first order, if its weights were turned down.

    Sum over images of the mean over the kernel's weights of |w dL/dw|, with L the sum of the feature's absolute
    values. Lee, Ajanthan and Torr, "SNIP", ICLR 2019, eq. 4; as a score of kernels: Hamblin et al. 2022, section 3.
    The absolute value is taken image by image; the published code takes it of a batch's sum, which makes scores
    depend on the batch size. Cost: one pass.
    """
    return absolute_effects(kernels) / kernels.weight[0, 0].numel()
