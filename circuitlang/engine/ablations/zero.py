from torch import Tensor

from circuitlang.engine.contracts import ablation


@ablation
def zero(weight: Tensor) -> Tensor:
    """A removed kernel puts out nothing: its weights are zero. Biases stay. Hamblin et al. 2022, section 3."""
    return weight.new_zeros(weight.shape[:2])
