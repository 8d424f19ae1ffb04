import numpy as np
from numpy.random import Generator

from circuitlang.plugins.transforms import Pixels, transform


@transform
def scrambled(image: Pixels, random: Generator) -> Pixels:
    """Every spatial frequency keeps its strength and loses its place.

    Does the feature need more than a distribution of frequencies? The phases of a random image are added to those of
    each channel; colours that don't exist are cut off. Each image is scrambled in its own way, always the same. After
    Oppenheim and Lim, "The importance of phase in signals", 1981.
    """
    noise = np.fft.rfft2(random.standard_normal(image.shape[:2]))
    phases = noise / np.maximum(np.abs(noise), 1e-12)
    # The mean of the image has no place to lose.
    phases[0, 0] = 1
    spectrum = np.fft.rfft2(image, axes=(0, 1)) * phases[..., None]
    return np.fft.irfft2(spectrum, image.shape[:2], axes=(0, 1)).astype(np.float32)
