"""What a file holds becomes values by its format alone: every kind of brightness, and every refusal."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import EpsImagePlugin, Image

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.images import decoding as reader
from circuitlang.engine.images import image_set as module
from circuitlang.engine.images import preprocessing
from circuitlang.engine.images.image_set import load
from circuitlang.plugins.preprocess import Preprocess
from tests.helpers.image_files import array, encoded

PACKAGE = Path(module.__file__).parents[2]
RAMP = np.linspace(0, 1, 48).reshape(6, 8)
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)


def plain(channels: int, side: int = 6) -> Preprocess:
    return Preprocess(side, side, (0.0,) * channels, (1.0,) * channels)


def values(content: bytes, channels: int = 1) -> NDArray[np.float64]:
    """All of an image in 0..1, [channels, rows, columns]."""
    bands = [np.asarray(band) for band in reader.decode(content, channels)]
    scaled = [band / 255 if band.dtype == np.uint8 else band.astype(np.float64) for band in bands]
    return np.concatenate([band if band.ndim == 3 else band[..., None] for band in scaled], 2).transpose(2, 0, 1)


def refused(content: bytes, channels: int = 3, side: int = 6) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        preprocessing.read(plain(channels, side), content)
    return str(caught.value)


def whole(share: NDArray[np.float64], most: int, kind: str) -> NDArray[np.generic]:
    return np.rint(share * most).astype(kind)


def pgm(share: NDArray[np.float64], most: int) -> bytes:
    rows, columns = share.shape
    return f"P5 {columns} {rows} {most}\n".encode() + whole(share, most, ">u2").tobytes()


def tiff(samples: NDArray[np.generic], tags: dict[int, int], body: bytes = b"", odd: tuple[bytes, ...] = ()) -> bytes:
    """A grey TIFF of one strip: with a `body` that is not its samples, and `odd` entries, which Pillow can't write."""
    rows, columns = samples.shape
    body = body or samples.tobytes()
    entries = {256: columns, 257: rows, 258: 16, 259: 1, 262: 1, 273: 0, 277: 1, 278: rows, 279: len(body), **tags}
    entries[273] = 8 + 2 + 12 * (len(entries) + len(odd)) + 4
    listed = [struct.pack("<HHII", tag, 4 if value > 65535 else 3, 1, value) for tag, value in entries.items()]
    ordered = sorted((*listed, *odd), key=lambda entry: struct.unpack("<H", entry[:2]))
    start = b"II*\x00" + struct.pack("<IH", 8, len(ordered))
    return start + b"".join(ordered) + b"\x00" * 4 + body


def packed(samples: NDArray[np.generic]) -> bytes:
    """Numbers of 12 bits, two in three bytes."""
    found = bytearray()
    for one, other in samples.reshape(-1, 2).tolist():
        found += bytes((one >> 4, (one & 15) << 4 | other >> 8, other & 255))
    return bytes(found)


# Of brightness from 0 to 1 in rows and columns, a file.
WRITERS = {
    "png-8": lambda share: encoded(Image.fromarray(whole(share, 255, "u1")), "PNG"),
    "png-16": lambda share: encoded(Image.fromarray(whole(share, 65535, "u2")), "PNG"),
    "tiff-16": lambda share: encoded(Image.fromarray(whole(share, 65535, "u2")), "TIFF"),
    "tiff-16-big-endian": lambda share: encoded(Image.fromarray(whole(share, 65535, ">u2")), "TIFF", big_endian=True),
    "tiff-16-white-is-zero": lambda share: tiff(whole(1 - share, 65535, "<u2"), {262: 0}),
    "tiff-12": lambda share: tiff(share, {258: 12}, packed(whole(share, 4095, "u2"))),
    "tiff-float": lambda share: encoded(Image.fromarray(share.astype("f4")), "TIFF"),
    "tiff-float-white-is-zero": lambda share: tiff((1 - share).astype("<f4"), {258: 32, 262: 0, 339: 3}),
    "pgm-16": lambda share: pgm(share, 65535),
    "pgm-10": lambda share: pgm(share, 1023),
    "pfm": lambda share: encoded(Image.fromarray(share.astype("f4")), "PPM"),
    "npy-u1": lambda share: array(whole(share, 255, "u1")),
    "npy-u2": lambda share: array(whole(share, 65535, ">u2")),
    "npy-f2": lambda share: array(share.astype("f2")),
    "npy-f8": lambda share: array(np.asfortranarray(share)),
    "npy-channel-first": lambda share: array(share[None].astype("f4")),
    "npy-channel-last": lambda share: array(share[..., None].astype("f4")),
}


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_half_the_brightness_is_half_whatever_is_the_brightest(form: str, channels: int) -> None:
    steps = {"png-8": 255, "npy-u1": 255, "pgm-10": 1023, "npy-f2": 1000, "tiff-12": 4095}.get(form, 60000)
    for share in (1, 0.5, 0.004):
        found = values(WRITERS[form](share * RAMP), channels)
        expected = np.broadcast_to(share * RAMP, (channels, *RAMP.shape))
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.51 / steps)


def test_one_bit_and_a_few_bits_are_black_to_white() -> None:
    bits = np.indices((6, 8)).sum(0) % 2 == 1
    np.testing.assert_array_equal(values(encoded(Image.fromarray(bits), "PNG"))[0], bits)
    np.testing.assert_array_equal(values(array(bits))[0], bits)
    four = Image.fromarray((np.indices((6, 8)).sum(0) % 4 * 85).astype(np.uint8))
    np.testing.assert_allclose(values(encoded(four.quantize(4), "PNG", bits=2))[0] * 255, np.asarray(four), atol=1)


def test_colours_become_luminance_for_one_channel() -> None:
    found = values(encoded(Image.fromarray(COLOURS), "PNG"))[0]
    np.testing.assert_allclose(found * 255, COLOURS @ [0.299, 0.587, 0.114], atol=0.51)


def test_a_grey_picture_is_itself_for_one_channel_and_three() -> None:
    content = encoded(Image.fromarray(COLOURS[..., 0]), "PNG")
    for channels in (1, 3):
        np.testing.assert_array_equal(values(content, channels) * 255, [COLOURS[..., 0]] * channels)


def test_transparent_pixels_are_white_for_one_channel() -> None:
    picture = Image.new("LA", (8, 6), (0, 255))
    picture.putpixel((1, 2), (0, 0))
    expected = np.zeros((6, 8))
    expected[2, 1] = 1
    np.testing.assert_array_equal(values(encoded(picture, "PNG"))[0], expected)
    deep = Image.fromarray(np.where(expected, 77, 0).astype(np.uint16))
    np.testing.assert_array_equal(values(encoded(deep, "PNG", transparency=77))[0], expected)


def test_a_picture_with_a_transparent_channel_can_be_two_or_four_channels() -> None:
    layered = np.random.default_rng(1).integers(0, 256, (6, 8, 4)).astype(np.uint8)
    found = values(encoded(Image.fromarray(layered), "PNG"), 4)
    np.testing.assert_array_equal(found * 255, layered.transpose(2, 0, 1))
    found = values(encoded(Image.fromarray(layered[..., :2]), "PNG"), 2)
    np.testing.assert_array_equal(found * 255, layered[..., :2].transpose(2, 0, 1))


@pytest.mark.parametrize("channels", [2, 4, 5])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_arrays_have_their_channels_first_or_last(channels: int, kind: str) -> None:
    most = {"u1": 255, "u2": 65535, "f4": 1}[kind]
    stored = (np.random.default_rng(2).random((6, 8, channels)) * most).astype(kind)
    for written in (stored, stored.transpose(2, 0, 1), np.asfortranarray(stored)):
        np.testing.assert_allclose(values(array(written), channels), stored.transpose(2, 0, 1) / most, rtol=1e-6)


def test_strips_that_are_laid_on_white_join(monkeypatch: pytest.MonkeyPatch) -> None:
    layered = np.random.default_rng(1).integers(0, 256, (60, 8, 4)).astype(np.uint8)
    content = encoded(Image.fromarray(layered), "PNG")
    at_once = values(content, 3)
    monkeypatch.setattr(reader, "STRIP", 40)
    np.testing.assert_array_equal(values(content, 3), at_once)


LAB = Image.new("LAB", (8, 6))
REFUSED = {
    "32 bits in an image": (encoded(Image.fromarray(np.zeros((6, 8), np.int32)), "TIFF"), 3, "no fixed brightness"),
    "signed 16 bits": (tiff(np.zeros((6, 8), "<i2"), {339: 2}), 3, "no fixed brightness"),
    "signed 8 bits": (tiff(np.zeros((6, 8), "i1"), {258: 8, 339: 2}), 3, "no fixed brightness"),
    "LAB": (encoded(LAB, "TIFF"), 3, "LAB: save it as RGB"),
    "floats above 1": (encoded(Image.fromarray(np.full((6, 8), 1.01, "f4")), "TIFF"), 3, "not all from 0 to 1"),
    "floats below 0": (encoded(Image.fromarray(np.full((6, 8), -0.1, "f4")), "PPM"), 3, "not all from 0 to 1"),
    "no numbers": (encoded(Image.fromarray(np.full((6, 8), np.nan, "f4")), "TIFF"), 3, "not all from 0 to 1"),
    "two channels of three": (encoded(Image.fromarray(COLOURS), "PNG"), 2, "3 channels, and the network takes 2"),
    "five of three": (encoded(Image.fromarray(COLOURS), "PNG"), 5, "3 channels, and the network takes 5"),
    "four of grey": (encoded(Image.fromarray(COLOURS[..., 0]), "PNG"), 4, "1 channel, and the network takes 4"),
    "four of CMYK": (encoded(Image.new("CMYK", (8, 6)), "TIFF"), 4, "CMYK"),
    "four of deep": (encoded(Image.fromarray(np.zeros((6, 8), "u2")), "PNG"), 4, "1 channel, and the network takes 4"),
    "EPS": (encoded(Image.fromarray(COLOURS), "EPS"), 3, "not an image"),
    "ICO": (encoded(Image.fromarray(COLOURS), "ICO"), 3, "not an image"),
    "array of another depth": (array(np.zeros((6, 8, 4), "u1")), 3, "6 x 8 x 4, and the network takes 3 channels"),
    "flat array for five": (array(np.zeros((6, 8), "u1")), 5, "6 x 8, and the network takes 5 channels"),
    "three for one": (array(np.zeros((6, 8, 3), "u1")), 1, "6 x 8 x 3, and the network takes 1 channel"),
    "either end": (array(np.zeros((4, 8, 4), "u1")), 4, "may come first or last"),
    "one row of one": (array(np.zeros((1, 8, 1), "u1")), 1, "may come first or last"),
    "a batch": (array(np.zeros((1, 3, 6, 8), "u1")), 3, "not of rows x columns"),
    "a line": (array(np.zeros(8, "u1")), 3, "not of rows x columns"),
    "a number": (array(np.array(1.0)), 3, "a single number, not of"),
    "nothing": (array(np.zeros((0, 8), "u1")), 3, "no pixels"),
    "signed": (array(np.zeros((6, 8), "i2")), 3, "int16, which have no fixed brightness"),
    "long": (array(np.zeros((6, 8), "u4")), 3, "uint32, which have no fixed brightness"),
    "complex": (array(np.zeros((6, 8), "c8")), 3, "it holds no numbers"),
    "text": (array(np.zeros((6, 8), "U3")), 3, "it holds no numbers"),
    "records": (array(np.zeros((6, 8), [("a", "u1")])), 3, "it holds no numbers"),
    "objects": (array(np.full((6, 8), None)), 3, "would run code"),
    "infinite": (array(np.full((6, 8), np.inf)), 3, "infinite or not numbers"),
    "too large for single precision": (array(np.full((6, 8), 1e300)), 3, "infinite or not numbers"),
    "not a number": (array(np.full((6, 8), np.nan)), 3, "infinite or not numbers"),
    "cut off": (array(np.zeros((6, 8)))[:-1], 3, "cut off: 383 of 384 bytes"),
    "damaged header": (array(np.zeros((6, 8)))[:20], 3, "header can't be read"),
    "deep header": (array(np.zeros((6, 8))).replace(b"(6, 8)", b"(" * 6), 3, "header can't be read"),
    "archive": (b"PK\x03\x04", 3, "not an image"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_certain_meaning_is_refused(case: str) -> None:
    content, channels, reason = REFUSED[case]
    assert reason in refused(content, channels)


@pytest.mark.parametrize(
    ("shape", "said"), [((9000, 9000), "pixels"), ((3, 9000, 9000), "values"), ((1 << 31, 4), "pixels")]
)
def test_the_size_of_an_array_is_checked_in_its_header(shape: tuple[int, ...], said: str) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    assert f"{said} are more than 80 million" in refused(header.getvalue())


@pytest.mark.parametrize("shape", ["(-1, 8)", "(6, 1" + "0" * 400 + ")", "(6, 'a')", "(" + "1, " * 40 + ")"])
def test_a_shape_that_no_array_has_is_refused(shape: str) -> None:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    assert len(refused(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + b"\x00" * 99)) < 200


@pytest.mark.parametrize(
    ("form", "most"), [("PNG", 80), ("JPEG", 80), ("GIF", 80), ("WEBP", 40), ("AVIF", 20), ("JPEG2000", 10)]
)
def test_the_limit_on_pixels_is_lower_where_a_pixel_takes_more(
    form: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(Image.fromarray(COLOURS), form)
    monkeypatch.setattr(reader, "MAX_PIXELS", 48 * 80 // most)
    preprocessing.read(plain(3), content)
    monkeypatch.setattr(reader, "MAX_PIXELS", 48 * 80 // most - 1)
    assert "8 x 6 pixels are more than" in refused(content)


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (1, 19_000)])
def test_a_picture_that_grows_when_it_is_resized_is_refused(size: tuple[int, int]) -> None:
    said = refused(encoded(Image.new("L", size), "PNG"), side=64)
    assert re.search(r"would be resized to (64 x \d{7}|\d{7} x 64), which is more than 40 million pixels", said)


def test_a_picture_of_eighty_million_columns_is_refused() -> None:
    """Without its pixels: the header is enough."""
    content = tiff(np.zeros((1, 1), "u1"), {256: 80_000_000, 258: 1})
    assert "would be resized to 5120000000 x 64" in refused(content, side=64)


@pytest.mark.parametrize("large", [False, True])
def test_large_images_take_turns(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are stored or as they are resized: several threads would fill memory together."""
    held = []

    def watched(content: bytes, channels: int) -> object:
        held.append(preprocessing.TURN.locked())
        return reader.decode(content, channels)

    monkeypatch.setattr(preprocessing, "decode", watched)
    monkeypatch.setattr(preprocessing, "LARGE", 90)
    preprocessing.read(plain(3, 8 if large else 6), encoded(Image.new("L", (9, 6)), "PNG"))
    preprocessing.read(plain(3, 2), encoded(Image.new("L", (20, 6) if large else (9, 6)), "PNG"))
    assert held == [large, large]
    assert not preprocessing.TURN.locked()


def test_an_array_of_floats_must_be_on_the_scale_of_mean_and_std() -> None:
    imagenet = Preprocess(6, 6, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    loud = np.full((6, 8, 3), 255, "f4")
    with pytest.raises(ValueError, match="from 255 to 255, but mean and std are for 0 to 1"):
        preprocessing.read(imagenet, array(loud))
    assert preprocessing.read(imagenet, array(loud.astype("u1"))).max() == 255
    # Values that overshoot a little, and values for which mean and std are said, are as they are.
    assert preprocessing.read(imagenet, array(loud / 250)).max() == np.float32(1.02)
    assert preprocessing.read(Preprocess(6, 6, (120.0,) * 3, (60.0,) * 3), array(loud)).max() == 255
    assert preprocessing.read(plain(3), array(loud)).max() == 255


def test_nothing_but_the_reader_opens_pictures() -> None:
    """And it says which formats: Pillow starts Ghostscript for EPS, whatever the name of the file. A diagram's own are
    looked at before they are drawn, and crops in packed runs before a browser is to show them."""
    opening = [path for path in PACKAGE.rglob("*.py") if "Image.open(" in path.read_text()]
    assert sorted(path.name for path in opening) == ["decoding.py", "site.py", "svg_check.py"]
    assert all(path.read_text().count("Image.open(") == path.read_text().count("formats=") for path in opening)
    assert not {"EPS", "WMF", "PSD", "FITS", "MIC", "FPX", "GRIB", "HDF5", "BUFR", "ICO"} & set(reader.FORMATS)


def test_no_program_is_started_for_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\necho ran >> '{tmp_path}/ran'\nexit 1\n")
    ghostscript.chmod(ghostscript.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(ghostscript.parent), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    picture = tmp_path / "dog.png"
    picture.write_bytes(encoded(Image.fromarray(COLOURS), "EPS"))
    with pytest.raises(InputError, match="can't be read"):
        load([picture], plain(3))
    assert not (tmp_path / "ran").exists()
    # That it would be started otherwise.
    with pytest.raises(Exception), Image.open(picture) as opened:  # noqa: B017, PT011
        opened.load()
    assert (tmp_path / "ran").exists()


def test_nothing_is_printed_or_warned_of(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """libtiff, which has a stderr of its own, and Pillow say things of good pictures that nobody needs."""
    # An entry of eight bytes in a file of four, and a unit of two values.
    odd = struct.pack("<HHII", 65000, 16, 1, 1), struct.pack("<HHII", 296, 3, 2, 1)
    samples = np.arange(48, dtype=np.uint8).reshape(6, 8)
    content = tiff(samples, {258: 8, 259: 8}, zlib.compress(samples.tobytes()), odd)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(values(content)[0] * 255, samples)
        # An error that Pillow logs, for a handler of last resort that prints it.
        assert refused(tiff(samples, {277: 300})) == "not an image"
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_warnings_are_as_they_were_afterwards() -> None:
    before = list(warnings.filters)
    values(encoded(Image.fromarray(COLOURS), "PNG"), 3)
    assert list(warnings.filters) == before


def test_a_file_that_changes_during_a_run_is_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP", 0)
    paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for number, path in enumerate(paths):
        path.write_bytes(array(np.full((6, 8), number / 2)))
    pictures, _ = load(paths, plain(1))
    assert [float(each.mean()) for each in next(pictures.batches(""))] == [0, 0.5]
    paths[1].write_bytes(array(np.full((6, 8), 0.75)))
    with pytest.raises(InputError, match=r"b\.npy changed during the run"):
        next(pictures.batches(""))
    paths[1].unlink()
    with pytest.raises(InputError, match=r"b\.npy changed during the run"):
        next(pictures.batches(""))
