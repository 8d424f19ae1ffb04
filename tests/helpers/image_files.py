"""The contents of image files."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    """Return the file of a picture in a format of Pillow."""
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


def array(values: NDArray[np.generic]) -> bytes:
    """Return an `.npy` file."""
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()
