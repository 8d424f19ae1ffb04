from torch import Tensor

from circuitlang.engine.contracts import metric


@metric("higher")
def r2(original: Tensor, circuit: Tensor) -> float:
    """The share of the feature's variance that the circuit reproduces, scale and offset included.

    R2 = 1 - sum (f - c)^2 / sum (f - mean f)^2; 1 is perfect, below 0 is worse than the feature's mean. A feature
    that does not vary has none to explain: 0.
    """
    total = float((original - original.mean()).square().sum())
    return 1 - float((original - circuit).square().sum()) / total if total > 0 else 0.0
