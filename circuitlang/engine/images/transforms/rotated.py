import numpy as np
from numpy.random import Generator
from scipy.ndimage import rotate

from circuitlang.plugins.transforms import Pixels, transform


@transform
def rotated(image: Pixels, _: Generator, *, degrees: float = 90.0) -> Pixels:
    """The image is turned counterclockwise by so many degrees.

    Does the feature need things to be upright? Quarter turns are exact. Between them pixels are interpolated, and the
    corners that become empty are filled with the image's mirror.
    """
    if degrees % 90 == 0 and image.shape[0] == image.shape[1]:
        return np.rot90(image, int(degrees // 90) % 4)
    return np.asarray(rotate(image, degrees, reshape=False, order=1, mode="mirror"), np.float32)
