import torch
from numpy.random import Generator
from torch.nn.functional import interpolate

from circuitlang.plugins.transforms import Pixels, Share, transform


@transform
def cropped(image: Pixels, _: Generator, *, share: Share = 0.5) -> Pixels:
    """The middle of the image, `share` of its height and width, is enlarged to the whole.

    Does size matter? Pixels are interpolated linearly.
    """
    sides = [max(1, min(side, round(share * side))) for side in image.shape[:2]]
    top, left = ((side - own) // 2 for side, own in zip(image.shape[:2], sides, strict=True))
    middle = torch.from_numpy(image[top : top + sides[0], left : left + sides[1]].transpose(2, 0, 1).copy())
    larger = interpolate(middle[None], image.shape[:2], mode="bilinear", align_corners=False)[0]
    return larger.permute(1, 2, 0).contiguous().numpy()
