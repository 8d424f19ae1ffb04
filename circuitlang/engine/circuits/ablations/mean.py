from torch import Tensor

from circuitlang.plugins.protocols import AblationContext, ablation


@ablation
def mean(kernels: AblationContext) -> Tensor:
    """A removed kernel puts out, everywhere, what it does on average over the images and positions of the network.

    Its output is then right up to its variation. The mean is that of the whole network: in a circuit that lacks much
    upstream it is off. After Wang et al., "Interpretability in the Wild", 2022. Cost: one forward pass.
    """
    return kernels.mean_output
