import torch
from torch import Tensor

from circuitlang.engine.contracts import Observation, criterion
from circuitlang.engine.observe import kernel_outputs


@criterion()
def actgrad(kernels: Observation) -> Tensor:
    """How much of the feature passes through the kernel's output: activation times gradient.

    Sum over images of the mean over positions of |a dL/da|, with a the kernel's own output map (its input channel
    convolved with it, before the sum over input channels) and L the sum of the feature's absolute values.
    Hamblin et al. 2022, section 3, after Molchanov et al., "Importance Estimation", 2019. Cost: one pass.
    """
    out, inner = kernels.weight.shape[:2]
    scores = torch.zeros((out, inner), dtype=torch.float64, device=kernels.weight.device)
    positions = kernels.gradient[0, 0].numel()
    for channels, image, output in kernel_outputs(kernels):
        gradient = kernels.gradient[image].reshape(out, positions, 1)
        scores[:, channels] += (output.abs() @ gradient.abs())[..., 0] / positions
    return scores
