"""Transforms of images against naive rewrites, and sets whose images are transformed."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.images import image_set
from circuitlang.engine.images.hashed_images import identity
from circuitlang.engine.images.image_set import ImageSet, load
from circuitlang.engine.images.memory import collect, memory_set
from circuitlang.engine.images.transformation import transformed
from circuitlang.plan.model import MEMORY, Choice, Images, digest
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.plugins.transforms import TRANSFORMS

PLAIN = Preprocess(12, 12, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CONTENT = digest(b"an image")


def floats(high: int = 12, wide: int = 12, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((high, wide, channels), np.float32)


def by(name: str, **parameters) -> Choice:
    defaults = {parameter.name: parameter.default for parameter in TRANSFORMS.declarations[name].parameters}
    return Choice(name, {**defaults, **parameters})


def apply(image: np.ndarray, name: str, **parameters) -> np.ndarray:
    return transformed(image, [by(name, **parameters)], CONTENT)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_grey(channels):
    image = floats(channels=channels)
    expected = np.empty_like(image)
    for y, x in np.ndindex(12, 12):
        values = image[y, x].tolist()
        weights = (0.299, 0.587, 0.114) if channels == 3 else [1 / channels] * channels
        expected[y, x] = sum(weight * value for weight, value in zip(weights, values, strict=True))
    np.testing.assert_allclose(apply(image, "grey"), expected, rtol=1e-5)


def test_blurred():
    image, sigma, reach = floats(), 1.5, 6
    weights = {d: math.exp(-d * d / (2 * sigma**2)) for d in range(-reach, reach + 1)}
    total = sum(weights.values())
    expected = np.zeros(image.shape)
    for y, x in np.ndindex(12, 12):
        for down, right in np.ndindex(2 * reach + 1, 2 * reach + 1):
            a, b = down - reach, right - reach
            source = image[min(max(y + a, 0), 11), min(max(x + b, 0), 11)]
            expected[y, x] += weights[a] * weights[b] / total**2 * source
    np.testing.assert_allclose(apply(image, "blurred", sigma=sigma), expected, rtol=1e-4)


@pytest.mark.parametrize("parts", [1, 3, 5])
def test_shuffled_squares_are_the_same_in_other_places(parts):
    """Two pixels are left over by five squares of two in twelve, and stay."""
    image, side = floats(), 12 // parts
    after = apply(image, "shuffled", parts=parts)

    def squares(shown: np.ndarray) -> list[bytes]:
        starts = [(y * side, x * side) for y in range(parts) for x in range(parts)]
        return [shown[y : y + side, x : x + side].tobytes() for y, x in starts]

    assert Counter(squares(after)) == Counter(squares(image))
    assert (squares(after) == squares(image)) == (parts == 1)
    rest = parts * side
    np.testing.assert_array_equal(after[rest:], image[rest:])
    np.testing.assert_array_equal(after[:, rest:], image[:, rest:])


def test_quarter_turns_are_exact():
    image = floats()
    expected = np.empty_like(image)
    for y, x in np.ndindex(12, 12):
        expected[11 - x, y] = image[y, x]
    np.testing.assert_array_equal(apply(image, "rotated"), expected)
    np.testing.assert_array_equal(apply(image, "rotated", degrees=-270.0), expected)
    np.testing.assert_array_equal(apply(image, "rotated", degrees=360.0), image)


def test_other_turns_are_interpolated():
    """A ramp that grows to the right grows upwards as well, after 30 degrees."""
    y, x = np.mgrid[0:12, 0:12].astype(np.float32) / 12
    ramp = np.stack([x, y, x], 2)
    after = apply(ramp, "rotated", degrees=30.0)
    down, right = (np.diff(after[4:8, 4:8, 0], axis=axis).mean() * 12 for axis in (0, 1))
    assert (down, right) == pytest.approx((-math.sin(math.radians(30)), math.cos(math.radians(30))), abs=0.01)


def test_cropped():
    image = np.zeros((12, 12, 3), np.float32)
    image[3:9, 3:9] = 0.5
    np.testing.assert_allclose(apply(image, "cropped"), 0.5)
    np.testing.assert_allclose(apply(floats(), "cropped", share=1.0), floats(), rtol=1e-6)


@pytest.mark.parametrize("wide", [11, 12])
def test_scrambled_frequencies_keep_their_strength(wide):
    image = floats(12, wide)
    after = apply(image, "scrambled")
    assert not np.allclose(after, image, atol=0.1)
    before, now = (np.abs(np.fft.fft2(shown.astype(float), axes=(0, 1))) for shown in (image, after))
    inner = np.ones((12, wide), bool)
    # Frequencies that are their own mirror have phases of 0 or half a turn, so that strength is lost.
    inner[::6, :: (6 if wide == 12 else wide)] = False
    np.testing.assert_allclose(now[inner], before[inner], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(now[0, 0], before[0, 0], rtol=1e-4)


@pytest.mark.parametrize("name", TRANSFORMS.declarations)
def test_every_transform_gives_the_same_image_again(name):
    image = (floats() * 255).astype(np.uint8)
    before = image.copy()
    after = apply(image, name)
    assert after.dtype == np.uint8
    assert after.shape == image.shape
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(apply(image, name), after)
    assert not np.array_equal(after, image)


def test_chance_follows_from_the_content():
    image = floats()
    assert not np.array_equal(
        *(transformed(image, [by("shuffled")], digest(content)) for content in (b"one", b"other"))
    )


def test_a_transform_that_gives_no_image_is_an_error(monkeypatch):
    monkeypatch.setattr(TRANSFORMS, "load", lambda _: lambda image, _random, **_: image[:3])
    with pytest.raises(InputError, match="'grey' doesn't give an image"):
        apply(floats(), "grey")


def files(folder: Path, number: int = 5) -> list[Path]:
    paths = []
    for index in range(number):
        pixels = np.random.default_rng(index).integers(0, 256, (12, 12, 3), np.uint8)
        paths.append(folder / f"{index}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_a_set_has_its_images_transformed_in_order(tmp_path):
    paths, transforms = files(tmp_path), (by("shuffled"), by("grey"))
    plain, (grey, _) = load(paths, PLAIN)[0], load(paths, PLAIN, transforms=transforms)
    assert grey.contents == plain.digests
    assert grey.digests == tuple(identity(content, transforms) for content in plain.digests)
    assert not set(grey.digests) & set(plain.digests)
    for number in range(5):
        expected = transformed(plain.values(number), transforms, plain.digests[number])
        np.testing.assert_array_equal(grey.values(number), expected)
        np.testing.assert_array_equal(grey.rgb(number), expected)


def test_images_that_are_read_again_are_transformed_again(tmp_path, monkeypatch):
    paths, transforms = files(tmp_path), (by("scrambled"),)
    kept, _ = load(paths, PLAIN, transforms=transforms)
    monkeypatch.setattr(image_set, "KEEP", 0)
    again, _ = load(paths, PLAIN, transforms=transforms)
    assert not again.prepared
    torch.testing.assert_close(*(torch.cat(list(images.batches(""))) for images in (kept, again)), rtol=0, atol=0)
    Image.new("RGB", (12, 12)).save(paths[0])
    with pytest.raises(InputError, match="changed during the run"):
        again.values(0)


def test_the_same_files_are_held_out(tmp_path):
    paths = files(tmp_path, 10)
    sides = [load(paths, PLAIN, transforms=transforms)[0].split(0.3, 0) for transforms in ((), (by("grey"),))]
    assert sides[0][0].paths == sides[1][0].paths
    assert sides[1][1] is not None
    assert sides[1][1].contents == sides[0][1].contents
    assert len(sides[1][1].digests) == len(sides[1][1].contents) == 3


def test_images_in_memory(tmp_path):
    held = {"some": collect("some", [Image.open(path) for path in files(tmp_path)])}

    def some(*transforms: Choice) -> ImageSet:
        return memory_set(Images([f"{MEMORY}some"], transforms=list(transforms)), held, PLAIN)

    plain, grey = some(), some(by("grey"))
    assert grey.contents == plain.digests
    np.testing.assert_array_equal(grey.values(0), transformed(plain.values(0), [by("grey")], plain.digests[0]))
    tensors = {"some": collect("some", torch.rand(3, 3, 12, 12))}
    with pytest.raises(InputError, match="tensors can't be transformed"):
        memory_set(Images([f"{MEMORY}some"], transforms=[by("grey")]), tensors, PLAIN)


def test_identity_is_that_of_the_content_and_of_each_transform():
    known = [
        identity(CONTENT, transforms)
        for transforms in (
            (),
            (by("grey"),),
            (by("blurred"),),
            (by("blurred", sigma=3.0),),
            (by("blurred"), by("grey")),
            (by("grey"), by("blurred")),
        )
    ]
    assert known[0] == CONTENT
    assert len(set(known)) == len(known)
