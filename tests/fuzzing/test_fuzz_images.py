"""Damaged images of every format are read, or refused with a finding; nothing else is raised, warned of, or printed."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from circuitlang.engine.images import decoding
from circuitlang.engine.images.image_set import load
from circuitlang.plugins.preprocess import Preprocess
from tests.helpers.fuzzing import all_night, damaged, survives
from tests.helpers.image_files import array, encoded

RANDOM = np.random.default_rng(0)
SIZE = 14, 18


def pixels(*channels: int, kind: type = np.uint8) -> NDArray[np.generic]:
    return RANDOM.integers(0, np.iinfo(kind).max, (*SIZE, *channels)).astype(kind)


def samples() -> dict[str, bytes]:
    """An image of each format, and of modes that are read in other ways."""
    colour, grey = Image.fromarray(pixels(3)), Image.fromarray(pixels())
    layered, deep = Image.fromarray(pixels(4)), Image.fromarray(pixels(kind=np.uint16))
    floats = Image.fromarray(RANDOM.random(SIZE, np.float32))
    upright = Image.Exif()
    upright[0x0112] = 6
    plain = " ".join(map(str, pixels(3).ravel().tolist())).encode()
    return {
        "png": encoded(colour, "PNG"),
        "png-grey": encoded(grey, "PNG", transparency=7),
        "png-layered": encoded(layered, "PNG"),
        "png-palette": encoded(colour.quantize(16), "PNG", transparency=3),
        "png-deep": encoded(deep, "PNG"),
        "jpeg": encoded(colour, "JPEG", exif=upright),
        "jpeg-progressive": encoded(grey, "JPEG", progressive=True),
        "jpeg-cmyk": encoded(colour.convert("CMYK"), "JPEG"),
        "mpo": encoded(colour, "MPO", save_all=True, append_images=[grey.convert("RGB")]),
        "gif": encoded(colour.quantize(16), "GIF", save_all=True, append_images=[grey], transparency=2),
        "bmp": encoded(colour, "BMP"),
        "webp": encoded(layered, "WEBP"),
        "webp-animated": encoded(colour, "WEBP", save_all=True, append_images=[grey.convert("RGB")]),
        "avif": encoded(colour, "AVIF", speed=10),
        "jpeg2000": encoded(colour, "JPEG2000"),
        "tiff": encoded(colour, "TIFF", exif=upright),
        "tiff-lzw": encoded(layered, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": encoded(colour, "TIFF", compression="jpeg"),
        "tiff-deep": encoded(deep, "TIFF", save_all=True, append_images=[deep]),
        "tiff-floats": encoded(floats, "TIFF"),
        "tiff-fax": encoded(grey.convert("1"), "TIFF", compression="group4"),
        "ppm": encoded(colour, "PPM"),
        "ppm-plain": b"P3 %d %d 255\n" % (SIZE[1], SIZE[0]) + plain,
        "pgm-deep": b"P5\n# a comment\n18 14\n1000\n" + pixels(kind=np.uint16).tobytes(),
        "pfm": encoded(floats, "PPM"),
        "npy": array(pixels(3)),
        "npy-deep": array(np.asfortranarray(pixels(kind=np.uint16))),
        "npy-floats": array(RANDOM.random((3, *SIZE))),
    }


SAMPLES = samples()
# What a network of so many channels is given.
TAKES = {
    "npy": (3,),
    "npy-floats": (3,),
    "npy-deep": (3, 1),
    "png-layered": (3, 4),
    "webp": (4,),
    "tiff-deep": (1,),
    "pgm-deep": (1,),
}


def read(content: bytes, channels: int, path: Path) -> None:
    path.write_bytes(content)
    load([path], Preprocess(12, 8, (0.5,) * channels, (0.25,) * channels))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged headers name large sizes, which are within the limit and take long to decode."""
    monkeypatch.setattr(decoding, "MAX_PIXELS", 100_000)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_undamaged_image_is_read(name: str, tmp_path: Path) -> None:
    for channels in TAKES.get(name, (3, 1)):
        read(SAMPLES[name], channels, tmp_path / "image")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_image_is_read_or_refused(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    try_damaged(name, 60, 0, tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.nightly
@pytest.mark.usefixtures("small")
def test_many_damaged_images_are_read_or_refused(tmp_path: Path) -> None:
    for seed in all_night():
        for name in SAMPLES:
            try_damaged(name, 20, seed, tmp_path)


def try_damaged(name: str, number: int, seed: int, folder: Path) -> None:
    channels = TAKES.get(name, (3,))[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for content in damaged(SAMPLES[name], number, seed):
            survives(lambda content=content: read(content, channels, folder / "image"))
