import numpy as np
from numpy.random import Generator

from circuitlang.plugins.transforms import Pixels, transform

# The weights of red, green and blue in what an eye sees as brightness, of ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)


@transform
def grey(image: Pixels, _: Generator) -> Pixels:
    """Each pixel becomes as bright as it looks, without colour.

    Is the feature made of colour? Of images that don't have three channels, every channel becomes the mean of all.
    """
    channels = image.shape[2]
    weights = _LUMA if channels == len(_LUMA) else (1 / channels,) * channels
    return np.repeat(image @ np.asarray(weights, np.float32)[:, None], channels, 2)
