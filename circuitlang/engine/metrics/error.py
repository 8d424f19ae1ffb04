from torch import Tensor

from circuitlang.engine.contracts import metric


@metric("lower")
def error(original: Tensor, circuit: Tensor) -> float:
    """The normalised error ||c - f|| / ||f|| over all images and positions; 0 is perfect, 1 is as bad as silence.

    A feature that is zero everywhere is met by silence alone: 0 for it, 1 for anything else.
    """
    scale = float(original.norm())
    difference = float((circuit - original).norm())
    return difference / scale if scale > 0 else float(difference > 0)
