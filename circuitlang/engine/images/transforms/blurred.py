import numpy as np
from numpy.random import Generator
from scipy.ndimage import gaussian_filter

from circuitlang.plugins.transforms import Pixels, Positive, transform


@transform
def blurred(image: Pixels, _: Generator, *, sigma: Positive = 2.0) -> Pixels:
    """Details smaller than about `sigma` pixels are averaged out, by a Gaussian.

    Does the feature need them? `sigma` is in pixels of the prepared image. Beyond its border, the image is continued
    by its last pixels.
    """
    return np.asarray(gaussian_filter(image, (sigma, sigma, 0), mode="nearest"), np.float32)
