"""Pictures of every kind a folder really holds."""

import io
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.images import decoding as reader
from circuitlang.engine.images import image_set as module
from circuitlang.engine.images import preprocessing
from circuitlang.engine.images.file_patterns import find
from circuitlang.engine.images.image_set import load
from circuitlang.plan.model import Images
from circuitlang.plugins.preprocess import Preprocess

PLAIN = Preprocess(8, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def photo(width=40, height=30) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x + y) * 2 % 256], -1).astype(np.uint8))


def encoded(picture: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def decode(content: bytes) -> Image.Image:
    """The only band of an image for a network of three channels."""
    (band,) = reader.decode(content)
    return band


def close(picture: Image.Image, expected: Image.Image, tolerance: float) -> None:
    assert picture.mode == "RGB"
    assert picture.size == expected.size
    difference = np.abs(np.asarray(picture).astype(int) - np.asarray(expected.convert("RGB")).astype(int))
    assert difference.mean() <= tolerance


def test_grey():
    close(decode(encoded(photo().convert("L"), "PNG")), photo().convert("L"), 0)


def test_palette():
    paletted = photo().quantize(64)
    close(decode(encoded(paletted, "PNG")), paletted, 0)


def test_palette_with_a_transparent_colour_is_laid_on_white():
    paletted = Image.new("P", (4, 4), 1)
    paletted.putpalette([0, 0, 0, 200, 10, 10])
    paletted.putpixel((0, 0), 0)
    found = decode(encoded(paletted, "PNG", transparency=0))
    assert found.getpixel((0, 0)) == (255, 255, 255)
    assert found.getpixel((1, 1)) == (200, 10, 10)


def test_transparency_is_laid_on_white():
    picture = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    picture.putpixel((1, 1), (200, 0, 0, 255))
    found = decode(encoded(picture, "PNG"))
    assert found.getpixel((0, 0)) == (255, 255, 255)
    assert found.getpixel((1, 1)) == (200, 0, 0)


def test_grey_with_transparency():
    picture = Image.new("LA", (4, 4), (30, 0))
    assert decode(encoded(picture, "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_cmyk():
    close(decode(encoded(photo().convert("CMYK"), "JPEG", quality=98)), photo(), 12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation):
    turns = {2: [0], 3: [3], 4: [1], 5: [5], 6: [4], 7: [6], 8: [2]}
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(encoded(photo(), "PNG", exif=exif))
    expected = photo()
    for turn in turns.get(orientation, []):
        expected = expected.transpose(Image.Transpose(turn))
    close(found, expected, 0)


def test_webp_and_the_first_frame_of_an_animation():
    close(decode(encoded(photo(), "WEBP", lossless=True)), photo(), 0)
    frames = encoded(photo(), "GIF", save_all=True, append_images=[Image.new("RGB", (40, 30))])
    close(decode(frames), photo().quantize(256), 12)


def test_a_huge_picture_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(reader, "MAX_PIXELS", 1000)
    with pytest.raises(ValueError, match="40 x 30 pixels are more"):
        decode(encoded(photo(), "PNG"))


def test_a_decompression_bomb_is_refused():
    """Its header alone says 60,000 x 60,000 pixels; decoding it would take 10 GB."""
    content = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    with pytest.raises(ValueError, match="million"):
        decode(bytes(content))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not an image"),
        (encoded(photo(), "JPEG")[:300], "corrupt"),
        (encoded(photo(), "PNG")[:80], "corrupt"),
        (encoded(Image.fromarray(np.full((4, 4), 1.5, np.float32)), "TIFF"), "not all from 0 to 1"),
    ],
)
def test_what_is_not_a_sound_picture_says_why(content, reason):
    with pytest.raises(ValueError, match=reason):
        decode(content)


@pytest.mark.parametrize("size", [(40, 30), (31, 57), (256, 300), (9, 200)])
@pytest.mark.parametrize(("resize", "crop"), [(24, 16), (16, 16), (232, 224)])
def test_preparing_is_what_torchvision_does(size, resize, crop):
    """Resize the shorter side and crop the centre, as the weights' own transforms would."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    preprocess = Preprocess(resize, crop, mean, std)
    picture = photo(*size)
    expected = functional.center_crop(functional.resize(picture, [resize]), [crop])
    prepared = preprocessing.prepare(preprocess, [picture])
    assert np.array_equal(prepared, np.asarray(expected))
    tensor = functional.normalize(
        functional.to_dtype(functional.to_image(expected), torch.float32, scale=True), mean, std
    )
    torch.testing.assert_close(preprocessing.normalise(preprocess, torch.from_numpy(prepared[None]))[0], tensor)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a b.png", "é.png", "sub/c.png", ".hidden.png", "Z.png"):
        path = tmp_path / "dogs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = photo()
        picture.putpixel((0, 0), (len(name), ord(name[0]) % 256, 0))
        picture.save(path)
    return tmp_path


def names(paths, folder):
    return [str(path.relative_to(folder)) for path in paths]


def test_files_are_found_in_bytewise_order_and_a_star_stays_in_one_folder(folder):
    assert names(find(Images(["dogs/*"]), folder), folder) == ["dogs/Z.png", "dogs/a b.png", "dogs/b.png", "dogs/é.png"]
    assert "dogs/sub/c.png" in names(find(Images(["dogs/**/*.png"]), folder), folder)
    assert names(find(Images(["dogs/é.png"]), folder), folder) == ["dogs/é.png"]


def test_a_file_whose_name_is_a_pattern_is_taken_to_the_letter(folder):
    (folder / "dogs" / "[1].png").write_bytes((folder / "dogs" / "b.png").read_bytes())
    assert names(find(Images(["dogs/[1].png"]), folder), folder) == ["dogs/[1].png"]


def test_each_file_counts_once_and_except_takes_away(folder):
    assert len(find(Images(["dogs/*", "dogs/b.png"]), folder)) == 4
    assert names(find(Images(["dogs/*"], exclude=["dogs/*b.png"]), folder), folder) == ["dogs/Z.png", "dogs/é.png"]


def test_a_limit_is_a_sample_by_seed(folder):
    chosen = {tuple(find(Images(["dogs/*"], limit=2, seed=seed), folder)) for seed in range(20)}
    assert len(chosen) > 1
    assert find(Images(["dogs/*"], limit=2, seed=3), folder) == find(Images(["dogs/*"], limit=2, seed=3), folder)
    assert all(len(each) == 2 for each in chosen)


@pytest.mark.parametrize(
    ("pattern", "code", "words"),
    [
        ("cats/*", "E302", "'cats' does not exist"),
        ("dogs/deep/er/*", "E302", "'dogs/deep/er' does not exist"),
        ("dogs/*.jpg", "E301", "nothing matches"),
        ("dogs", "E301", "is a folder"),
        ("dogs/x.png", "E302", "does not exist"),
    ],
)
def test_a_pattern_that_nothing_matches_says_which_part_is_missing(folder, pattern, code, words):
    with pytest.raises(InputError) as caught:
        find(Images([pattern]), folder)
    (finding,) = caught.value.findings
    assert finding.code == code
    assert words in finding.message


def test_except_that_leaves_nothing_is_an_error(folder):
    with pytest.raises(InputError, match="no images are left"):
        find(Images(["dogs/*"], exclude=["dogs/*"]), folder)


def test_all_unreadable_pictures_are_named_at_once_or_skipped(folder):
    (folder / "dogs" / "broken.png").write_bytes(b"nonsense")
    (folder / "dogs" / "cut.png").write_bytes((folder / "dogs" / "b.png").read_bytes()[:100])
    paths = find(Images(["dogs/*"]), folder)
    with pytest.raises(InputError) as caught:
        load(paths, PLAIN)
    (finding,) = caught.value.findings
    assert "2 of 6" in finding.message
    assert "broken.png: not an image" in finding.label
    assert "cut.png: corrupt" in finding.label
    assert "--skip-unreadable" in finding.help
    pictures, bad = load(paths, PLAIN, skip_unreadable=True)
    assert len(pictures) == 4
    assert [each.split(":")[0] for each in bad] == ["broken.png", "cut.png"]


def test_what_is_wrong_with_several_pictures_is_said_once(folder):
    for name in ("x.png", "y.png", "z.png"):
        (folder / "dogs" / name).write_bytes(b"nonsense")
    (folder / "dogs" / "empty.png").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        load(find(Images(["dogs/*"]), folder), PLAIN)
    assert caught.value.findings[0].label == "empty.png: empty and x.png and 2 more: not an image"


def test_a_set_without_one_readable_picture_is_an_error_even_when_skipping(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    with pytest.raises(InputError, match="none of the images"):
        load([path], PLAIN, skip_unreadable=True)


def test_a_picture_without_permission_is_named(folder, monkeypatch):
    """Permissions don't stop root, who runs the tests in many places; the refusal is made."""
    read = module.read_bytes

    def refuse(path: Path, largest: int) -> bytes:
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied")
        return read(path, largest)

    monkeypatch.setattr(module, "read_bytes", refuse)
    with pytest.raises(InputError, match="1 of 4") as caught:
        load(find(Images(["dogs/*"]), folder), PLAIN)
    assert "b.png: Permission denied" in caught.value.findings[0].label


def test_the_digest_is_of_contents_not_of_names(folder):
    one, _ = load(find(Images(["dogs/*"]), folder), PLAIN)
    (folder / "dogs").rename(folder / "wolves")
    other, _ = load(find(Images(["wolves/*"]), folder), PLAIN)
    assert one.digest == other.digest
    (folder / "wolves" / "b.png").write_bytes(encoded(Image.new("RGB", (9, 9)), "PNG"))
    changed, _ = load(find(Images(["wolves/*"]), folder), PLAIN)
    assert changed.digest != one.digest


def test_pictures_that_do_not_fit_in_memory_are_read_again(folder, monkeypatch):
    paths = find(Images(["dogs/*"]), folder)
    kept, _ = load(paths, PLAIN)
    monkeypatch.setattr(module, "KEEP", 300)
    streamed, _ = load(paths, PLAIN)
    assert kept.prepared
    assert not streamed.prepared
    for one, other in zip(kept.batches(""), streamed.batches(""), strict=True):
        assert torch.equal(one, other)


def test_a_split_is_by_seed_and_keeps_copies_together(folder):
    original = folder / "dogs" / "b.png"
    for number in range(6):
        (folder / "dogs" / f"copy{number}.png").write_bytes(original.read_bytes())
    pictures, _ = load(find(Images(["dogs/*"]), folder), PLAIN)
    for seed in range(8):
        train, test = pictures.split(0.25, seed)
        assert test is not None
        assert len(train) + len(test) == len(pictures)
        assert not set(train.digests) & set(test.digests)
        assert pictures.split(0.25, seed)[1].digests == test.digests
    assert len({pictures.split(0.25, seed)[1].digests for seed in range(8)}) > 1


def test_one_picture_or_no_holdout_leaves_nothing_to_test_on(folder):
    pictures, _ = load(find(Images(["dogs/*"]), folder), PLAIN)
    assert pictures.split(0, 0) == (pictures, None)
    one = pictures.take([0])
    assert one.split(0.2, 0) == (one, None)


def test_the_next_batch_is_decoded_while_one_is_computed_with(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEEP", 0)
    asked, values = [], module.ImageSet.values
    second = threading.Event()

    def watched(self, index):
        asked.append(index)
        if index == 2:
            second.set()
        return values(self, index)

    monkeypatch.setattr(module.ImageSet, "values", watched)
    for index in range(6):
        Image.new("RGB", (8, 8), (40 * index, 0, 0)).save(tmp_path / f"{index}.png")
    pictures, _ = load(sorted(tmp_path.iterdir()), PLAIN)
    batches = replace(pictures, batch_size=2).batches("")
    first = next(batches)
    assert second.wait(10), "nothing is decoded before it is asked for"
    found = torch.cat([first, *batches])
    assert [round(float(each[0, 0, 0]) * 255) for each in found] == [0, 40, 80, 120, 160, 200]
    assert asked == [0, 1, 2, 3, 4, 5]


def test_whoever_stops_early_leaves_no_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEEP", 0)
    for index in range(6):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{index}.png")
    pictures, _ = load(sorted(tmp_path.iterdir()), PLAIN)
    before = threading.active_count()
    batches = replace(pictures, batch_size=1).batches("")
    next(batches)
    batches.close()
    assert threading.active_count() == before
