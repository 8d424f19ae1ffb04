from torch import Tensor

from circuitlang.engine.contracts import metric


@metric("higher")
def pearson(original: Tensor, circuit: Tensor) -> float:
    """The linear correlation r over all images and positions; blind to scale and offset.

    r = cov(f, c) / (sd f * sd c). Where either does not vary there is nothing preserved: 0. Hamblin et al. 2022
    report its absolute value; here the sign is kept.
    """
    f, c = original.flatten() - original.mean(), circuit.flatten() - circuit.mean()
    scale = float(f.norm() * c.norm())
    # A constant's deviations from its own mean are rounding, not variation.
    if float(c.norm()) <= 1e-9 * float(circuit.norm()) or float(f.norm()) <= 1e-9 * float(original.norm()):
        return 0.0
    return max(-1.0, min(1.0, float(f @ c) / scale))
