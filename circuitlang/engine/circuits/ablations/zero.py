from torch import Tensor

from circuitlang.plugins.protocols import AblationContext, ablation


@ablation
def zero(kernels: AblationContext) -> Tensor:
    """A removed kernel puts out nothing: its weights are zero. Biases stay. Hamblin et al. 2022, section 3."""
    return kernels.weight.new_zeros(kernels.weight.shape[:2])
