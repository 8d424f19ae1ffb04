from numpy.random import Generator

from circuitlang.plugins.transforms import Count, Pixels, transform


@transform
def shuffled(image: Pixels, random: Generator, *, parts: Count = 4) -> Pixels:
    """The image is cut into `parts` x `parts` squares, which change places.

    Is the feature made of shape, or of texture? Within a square, all is as it was. What is left over at the border
    stays, where the image can't be divided evenly. Each image is shuffled in its own way, always the same.
    """
    high, wide = (side // parts for side in image.shape[:2])
    squares = image[: high * parts, : wide * parts].reshape(parts, high, parts, wide, -1).swapaxes(1, 2)
    moved = random.permutation(squares.reshape(parts * parts, high, wide, -1)).reshape(squares.shape)
    shown = image.copy()
    shown[: high * parts, : wide * parts] = moved.swapaxes(1, 2).reshape(high * parts, wide * parts, -1)
    return shown
