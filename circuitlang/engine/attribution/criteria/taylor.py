from __future__ import annotations

from typing import TYPE_CHECKING

from circuitlang.engine.attribution.effects import centred, centred_moments
from circuitlang.plugins.protocols import LayerSignals, criterion

if TYPE_CHECKING:
    from torch import Tensor


@criterion(finish=centred)
def taylor(kernels: LayerSignals) -> Tensor:
    """Score a kernel by how much the feature would change, to first order, if its output were held at its mean.

    Sum over images of (<w, dL/dw> - m dL/db)^2, with w the kernel, m the mean of its output over all images and
    positions, b a constant added to that output, and L the sum of the feature's absolute values. The first term is
    what switching the kernel off does; the second takes back what its mean alone does, which says nothing of the
    image. First-order effects, signed within an image: Molchanov et al., "Importance Estimation", 2019, eq. 8; the
    centring is circuitlang's own. Cost: one pass.
    """
    return centred_moments(kernels)
