"""Networks for images of any number of channels: the number that is found, the values that go in, and a run of each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import circuitlang
from circuitlang.base.diagnostics import InputError
from circuitlang.cli.main import main
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.images import preprocessing
from circuitlang.engine.images.image_set import ImageSet, load
from circuitlang.engine.models.input_channels import image_channels
from circuitlang.engine.models.sandbox import private_copy
from circuitlang.engine.runtime.model_loading import load_model
from circuitlang.engine.visuals.excited_units import of_feature
from circuitlang.engine.visuals.exemplars import collect
from circuitlang.engine.visuals.feature_visualisation import SIZE as SHOWN
from circuitlang.engine.visuals.feature_visualisation import ascend, visualise
from circuitlang.plan.model import Model
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.plugins.progress import no_progress
from circuitlang.results.visualised_channels import strongest_channels
from tests.engine.attribution.test_criteria import assert_scores, naive_actgrad, naive_snip
from tests.engine.visuals.test_activation_maps import thinned
from tests.engine.visuals.test_exemplars import circuit
from tests.helpers.toy_networks import SIZE, Fixed

CHANNELS = [1, 2, 4, 5]
NET = """
import torch
from torch import nn

def build(inner):
    return nn.Sequential(nn.Conv2d(inner, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3))
"""


class Deep(nn.Module):
    """Grouped where the number of channels allows, with a second look at the image by a skip connection."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        groups = 2 if inner % 2 == 0 else 1
        self.stem = nn.Conv2d(inner, 4, 3, padding=1, groups=groups)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Conv2d(4 + inner, 5, 3, stride=2)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.norm(self.stem(x)).relu(), x], 1)
        return self.head(self.body(x).relu().mean((2, 3)))


def deep(inner: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(inner)
    return Deep(inner).to(dtype).eval()


def random_images(inner: int, count: int = 4) -> Tensor:
    return torch.randn(count, inner, SIZE, SIZE, generator=torch.Generator().manual_seed(3)).double()


def part(module: nn.Module, inner: int, path: str = "body") -> TargetSubnetwork:
    graph = trace(module, (SIZE, SIZE), inner)
    return TargetSubnetwork(graph, Target(graph.find(path), (1,)))


@pytest.mark.parametrize("inner", CHANNELS)
@pytest.mark.parametrize("path", ["body", "head"])
def test_scores_are_those_of_the_formulas(inner: int, path: str) -> None:
    module, x = deep(inner), random_images(inner)
    subnetwork = part(module, inner, path)
    builder = Builder(subnetwork, Fixed(x))
    assert_scores(score(builder, "snip", {}, 5, 0), naive_snip(module, path, 1, x), subnetwork.relevant)
    assert_scores(score(builder, "actgrad", {}, 5, 0), naive_actgrad(module, path, 1, x), subnetwork.relevant)


def resized(values: np.ndarray, side: int) -> Tensor:
    """The shorter side to `side` by the same filter, in double precision and by another library; [C, H, W]."""
    rows, columns = values.shape[1:]
    size = [max(side, int(each * side / min(rows, columns))) for each in (rows, columns)]
    exact = torch.from_numpy(values.astype(np.float64))[None]
    return functional.interpolate(exact, size, mode="bilinear", antialias=True, align_corners=False)[0]


@pytest.mark.parametrize("inner", CHANNELS)
@pytest.mark.parametrize("kind", ["f4", "u2", "u1"])
@pytest.mark.parametrize("shape", [(20, 31), (9, 8)])
def test_an_array_is_resized_cropped_and_normalised(
    inner: int, kind: str, shape: tuple[int, int], tmp_path: Path
) -> None:
    most = {"u1": 255, "u2": 65535, "f4": 1}[kind]
    stored = (np.random.default_rng(inner).random((inner, *shape)) * most).astype(kind)
    np.save(tmp_path / "a.npy", stored)
    mean, std = tuple(0.1 * n + 0.2 for n in range(inner)), tuple(0.1 * n + 0.3 for n in range(inner))
    pictures, _ = load([tmp_path / "a.npy"], Preprocess(14, 10, mean, std))
    whole = resized(stored / most, 14)
    top, left = round((whole.shape[1] - 10) / 2), round((whole.shape[2] - 10) / 2)
    crop = whole[:, top : top + 10, left : left + 10]
    expected = (crop - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    (found,) = pictures.batches("")
    # Images of 8 bits are rounded to 8 bits after each of the two directions.
    tolerance = {"u1": 1.01 / 255 / 0.3, "u2": 1e-5, "f4": 1e-5}[kind]
    torch.testing.assert_close(found[0].double(), expected, rtol=0, atol=tolerance)


def test_an_array_of_bytes_is_what_a_picture_of_them_is(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (20, 31, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", colours)
    np.save(tmp_path / "b.npy", colours.transpose(2, 0, 1))
    preprocess = Preprocess(14, 10, (0.5,) * 3, (0.25,) * 3)
    picture, array, first = (load([tmp_path / name], preprocess)[0] for name in ("a.png", "a.npy", "b.npy"))
    for other in (array, first):
        assert torch.equal(next(picture.batches("")), next(other.batches("")))
        np.testing.assert_array_equal(picture.rgb(0), other.rgb(0))


def test_pictures_and_arrays_can_be_in_one_set(tmp_path: Path) -> None:
    """Numbers of 8 bits and floats, in one batch."""
    grey = np.full((12, 12), 51, np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", grey / 255)
    np.save(tmp_path / "c.npy", (grey.astype(np.uint16) * 257))
    pictures, _ = load(sorted(tmp_path.iterdir()), Preprocess(8, 8, (0.0,), (1.0,)))
    (found,) = pictures.batches("")
    torch.testing.assert_close(found, torch.full((3, 1, 8, 8), 0.2))


def shown(values: np.ndarray, preprocess: Preprocess) -> list[list[int]]:
    return preprocessing.shown(preprocess, values.reshape(1, -1, preprocess.channels).astype(np.float32))[0].tolist()


def test_a_person_is_shown_grey_for_one_channel_or_two_and_three_of_more() -> None:
    one, two, five = (Preprocess(8, 8, (0.0,) * n, (1.0,) * n) for n in (1, 2, 5))
    assert shown(np.array([0, 0.2, 1, 7]), one) == [[0] * 3, [51] * 3, [255] * 3, [255] * 3]
    assert shown(np.array([0.2, 0.6]), two) == [[102] * 3]
    assert shown(np.array([1, 0.2, 0.4, 0.6, 0.8]), five) == [[255, 51, 102]]
    assert preprocessing.shown(one, np.array([[[9]]], np.uint8)).tolist() == [[[9, 9, 9]]]
    assert preprocessing.shown(five, np.array([[[1, 2, 3, 4, 5]]], np.uint8)).tolist() == [[[1, 2, 3]]]


def test_values_of_another_scale_are_shown_around_their_mean() -> None:
    preprocess = Preprocess(8, 8, (1000.0,), (250.0,))
    assert shown(np.array([400, 500, 1000, 1500, 9000]), preprocess) == [
        [0] * 3,
        [0] * 3,
        [128] * 3,
        [255] * 3,
        [255] * 3,
    ]


class Repeats(nn.Sequential):
    """Takes grey images, and makes three channels of them."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.repeat(1, 3, 1, 1))


class HeadFirst(nn.Module):
    """Lists its layers in another order than it runs them in."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.stem = nn.Conv2d(6, 2, 1), nn.Conv2d(4, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x))


class Averages(nn.Sequential):
    """Takes colours, and makes grey of them by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mean(1, keepdim=True))


class Own(nn.Module):
    """Computes with a weight of its own, which no layer announces."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, inner, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight)


FOUND = [
    *((deep(inner, torch.float32), inner) for inner in (*CHANNELS, 3, 13)),
    (Repeats(nn.Conv2d(3, 4, 3)), 1),
    (HeadFirst(), 4),
    (Averages(nn.Conv2d(1, 4, 3)), 3),
    (nn.Sequential(nn.Flatten(), nn.Linear(2 * SIZE * SIZE, 3)), 2),
    (nn.Conv2d(6, 6, 3, groups=6), 6),
    (nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(7, 4, 3)), 7),
    (Own(9), 9),
]


@pytest.mark.parametrize(("net", "expected"), FOUND)
@pytest.mark.parametrize("place", ["cpu", "meta"])
def test_the_number_of_channels_is_found_from_the_network(net: nn.Module, expected: int, place: str) -> None:
    with torch.device(place):
        moved = net.to_empty(device=place) if place == "meta" else net
        before = torch.random.get_rng_state()
        assert image_channels(private_copy(moved).eval(), (SIZE, SIZE)) == expected
    assert torch.equal(before, torch.random.get_rng_state())
    graph = trace(moved, (SIZE, SIZE), expected)
    assert graph.steps[graph.image].shape == (expected, SIZE, SIZE)


def test_layers_that_wait_for_their_first_image_get_the_usual_number() -> None:
    assert image_channels(nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyConv2d(2, 3)), (SIZE, SIZE)) == 3


def test_a_network_that_takes_no_image_has_the_usual_number() -> None:
    assert image_channels(nn.Conv2d(4, 4, SIZE + 1), (SIZE, SIZE)) == 3


def test_an_image_of_a_wrong_size_does_not_hide_the_number_of_channels(here: Path) -> None:
    """As in a network for MNIST, whose linear layer takes maps of one size."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 10 * 10, 3))
    assert image_channels(net, (12, 12)) == image_channels(net, (16, 16)) == 1
    assert not any(each._forward_hooks for each in net.modules())
    (here / "net.py").write_text(NET.replace("nn.Conv2d(4, 3, 3)", "nn.Flatten(), nn.Linear(9, 3)"))
    result = call("layers", 'python("net.py:build", inner=1, resize=14, crop=14)', "--allow-code")
    assert "the network can't take images of 1 channel and 14 x 14 pixels: " in result.output


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network's code, to stand in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def call(*words: str) -> Result:
    result = CliRunner().invoke(main, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def draw(folder: Path, inner: int, count: int = 5) -> None:
    """Arrays of random images, whose channels come first in some and last in others."""
    folder.mkdir()
    random = np.random.default_rng(inner)
    for number in range(count):
        values = random.random((inner, 16, 20)).astype("f4")
        np.save(folder / f"{number}.npy", values if number % 2 else values.transpose(1, 2, 0))


@pytest.mark.slow
@pytest.mark.parametrize("inner", [1, 4])
def test_a_run_for_other_than_three_channels(inner: int, here: Path, with_pages: None) -> None:
    draw(here / "images", inner)
    lists = f"mean={[0.5] * inner}, std={[0.25] * inner}" if inner == 4 else ""
    (here / "a.circuit").write_text(
        f'model python("net.py:build", inner={inner}, resize=14, crop=12, {lists or "weights=none"})\n'
        "circuit one = preserve conv2:1 on images/* sparsity<=60% criterion=snip holdout=0%"
    )
    ran = call("run", "a.circuit", "--allow-code", "--visualise")
    assert ran.exit_code == 0, ran.output
    folder = here / "runs" / "a" / "one"
    assert {"report.html", "diagram.svg", "diagram.html", "module.pt2"} <= {each.name for each in folder.iterdir()}
    assert "finished before" in call("run", "a.circuit", "--allow-code").output

    loaded = circuitlang.load(folder)
    images = torch.randn(3, inner, 12, 12)
    with loaded.masked_model(allow_code=True) as masked:
        torch.testing.assert_close(loaded.module()(images), masked(images)[:, [1]], rtol=1e-5, atol=1e-5)


def test_a_circuit_of_many_channels_is_the_model_of_another_spec(here: Path) -> None:
    """Its module says how images are prepared, and for how many channels."""
    draw(here / "images", 5)
    text = f'model python("net.py:build", inner=5, resize=14, crop=12, mean={[0.4] * 5}, std={[0.2] * 5})\n'
    rest = "circuit one = preserve conv2:1 on images/* sparsity<=60% criterion=snip holdout=0%"
    (here / "a.circuit").write_text(text + rest)
    assert call("run", "a.circuit", "--allow-code").exit_code == 0
    module = 'model file("runs/a/one/module.pt2")\n'
    (here / "b.circuit").write_text(module + rest.replace("conv2:1", "conv2:0").replace("60%", "100%"))
    again = call("run", "b.circuit")
    assert again.exit_code == 0, again.output
    loaded = load_model(Model("file", "runs/a/one/module.pt2"), here)
    assert loaded.preprocess == Preprocess(14, 12, (0.4,) * 5, (0.2,) * 5)


@pytest.mark.slow
def test_the_onnx_file_takes_the_channels_of_the_network(here: Path) -> None:
    import onnx

    draw(here / "images", 2)
    (here / "a.circuit").write_text(
        'model python("net.py:build", inner=2, resize=14, crop=12)\n'
        "circuit one = preserve conv2:1 on images/* sparsity<=60% criterion=snip holdout=0%"
    )
    assert call("run", "a.circuit", "--allow-code").exit_code == 0
    loaded = circuitlang.load(here / "runs" / "a" / "one")
    loaded.export(here / "one.onnx")
    (images,) = onnx.load(here / "one.onnx").graph.input
    assert [each.dim_value for each in images.type.tensor_type.shape.dim][1:] == [2, 12, 12]


def test_a_one_channel_network_reads_pictures_in_colour_as_grey(here: Path) -> None:
    (here / "images").mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (5, 16, 20, 3)).astype(np.uint8)
    for number, values in enumerate(colours):
        Image.fromarray(values).save(here / "images" / f"{number}.png")
    (here / "a.circuit").write_text(
        'model python("net.py:build", inner=1, resize=16, crop=16)\n'
        "preserve conv2:1 on images/* sparsity<=60% criterion=snip"
    )
    assert call("check", "--deep", "a.circuit", "--allow-code").exit_code == 0
    pictures, _ = load(sorted((here / "images").iterdir()), Preprocess(16, 16, (0.0,), (1.0,)))
    (found,) = pictures.batches("")
    expected = colours[:, :, 2:18] @ np.array([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(found[:, 0].numpy(), expected, atol=0.51 / 255)


@pytest.mark.parametrize("inner", CHANNELS)
def test_crops_and_made_pictures_are_in_colour_for_a_person(inner: int) -> None:
    module = deep(inner, torch.float32)
    subnetwork = part(module, inner)
    preprocess = Preprocess(SIZE, SIZE, (0.5,) * inner, (0.25,) * inner)
    random = np.random.default_rng(0)
    prepared = tuple(random.random((SIZE, SIZE, inner)).astype(np.float32) for _ in range(3))
    pictures = ImageSet((Path("a"), Path("b"), Path("c")), ("a", "b", "c"), preprocess, prepared)
    found = circuit(subnetwork)
    crops = collect(subnetwork, pictures, found)
    assert {crop.shape for crop in crops.values()} == {(64, 64, 3)}
    visions = visualise(subnetwork, thinned(subnetwork), strongest_channels(found, ()), preprocess, 0, no_progress)
    assert visions.target.shape == (2, SHOWN, SHOWN, 3)
    with subnetwork.edited(None):
        units = of_feature(subnetwork)
        before, after = (ascend(units, preprocess, 0, steps) for steps in (0, 30))
        excited = [float(units.responses((each - 0.5) / 0.25)) for each in (before, after)]
    assert excited[1] > excited[0]
    assert after.shape == (1, inner, *units.size)


def test_made_pictures_are_on_the_scale_of_the_data() -> None:
    module = deep(2, torch.float32)
    preprocess = Preprocess(SIZE, SIZE, (1000.0, -5.0), (250.0, 2.0))
    (made,) = ascend(of_feature(part(module, 2)), preprocess, 0, 3)
    assert 500 < float(made[0].min()) < float(made[0].max()) < 1500
    assert -9 < float(made[1].min()) < float(made[1].max()) < -1


REFUSED = [
    ("resize=100000", "E203", "100000 is out of range", "at most 4096"),
    ("crop=9000", "E203", "9000 is out of range", "at most 2048"),
    ("crop=0", "E203", "0 is out of range", "at least 1"),
    ("image_channels=5000", "E203", "5000 is out of range", "at most 1024"),
    ("image_channels=grey", "E202", "expected a whole number", ""),
    ("mean=0.5", "E202", "expected a number for each channel", "write mean=[0.5, 0.5, 0.5]"),
    ("mean=[]", "E202", "expected a number for each channel", "write mean=[0.5, 0.5, 0.5]"),
    ("std=[0.5, 0]", "E203", "std is out of range", "numbers from 1e-30"),
    ("std=[-1]", "E203", "std is out of range", "numbers from 1e-30"),
    ("mean=[1e300]", "E203", "mean is out of range", "to 1e+30"),
]


@pytest.mark.parametrize(("words", "code", "message", "label"), REFUSED)
def test_words_of_the_statement_have_limits(words: str, code: str, message: str, label: str, here: Path) -> None:
    (here / "a.circuit").write_text(f'model python("net.py:build", {words})\npreserve conv2:1 on x/* sparsity<=60%')
    result = call("check", "a.circuit")
    assert result.exit_code == 1
    assert f"error[{code}" in result.output
    assert message in result.output
    assert label in result.output


UNFIT = [
    ({"mean": [0.5], "std": [0.5, 0.5]}, "the numbers of channels differ", "mean is for 1 and std is for 2"),
    (
        {"mean": [0.5], "image_channels": 3},
        "the numbers of channels differ",
        "mean is for 1 and image_channels is for 3",
    ),
    ({"crop": 300}, "crop (300) is larger than resize (224)", "add resize=300"),
    (
        {"crop": 2048, "resize": 2048, "image_channels": 5},
        "images of 5 channels and 2048 x 2048 pixels",
        "smaller crop",
    ),
    # What a plan that was written by hand may say.
    ({"crop": 10**9}, "crop can't be 1000000000", "a whole number from 1 to 2048"),
    ({"crop": "wide"}, "crop can't be 'wide'", "a whole number from 1 to 2048"),
    ({"resize": True}, "resize can't be True", "a whole number from 1 to 4096"),
    ({"mean": 0.5}, "mean can't be 0.5", "a number for each channel of the images"),
    ({"mean": ["a"]}, "mean can't be ['a']", "a number for each channel of the images"),
    ({"mean": [10**400]}, "mean can't be", "numbers from -1e+30 to 1e+30"),
    ({"std": [float("nan")]}, "std can't be [nan]", "numbers from 1e-30 to 1e+30"),
    ({"mean": [0.5] * 2000}, "mean can't be", "a number for each channel of the images"),
]


@pytest.mark.parametrize(("words", "message", "help_"), UNFIT)
def test_what_does_not_fit_together_is_refused(words: dict[str, object], message: str, help_: str, here: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_model(Model("python", "net.py:build", {"inner": 3, **words}), here, allow_code=True)
    (finding,) = caught.value.findings
    assert finding.code == "E203"
    assert message in finding.message
    assert help_ in f"{finding.label} {finding.help}"


def preprocess_of(here: Path, **words: object) -> Preprocess:
    return load_model(Model("python", "net.py:build", words), here, allow_code=True).preprocess


def test_the_statement_says_how_many_channels_there_are(here: Path) -> None:
    imagenet = preprocess_of(here, inner=3)
    assert (imagenet.mean[0], imagenet.std[0]) == (0.485, 0.229)
    assert preprocess_of(here, inner=2) == Preprocess(224, 224, (0.0, 0.0), (1.0, 1.0))
    assert preprocess_of(here, inner=2, mean=[0.5, 0.25]).mean == (0.5, 0.25)
    assert preprocess_of(here, inner=2, std=[2, 4]) == Preprocess(224, 224, (0.0, 0.0), (2.0, 4.0))
    (here / "net.py").write_text("from torch import nn\ndef build():\n    return nn.AdaptiveAvgPool2d(1)\n")
    assert preprocess_of(here).channels == 3
    assert preprocess_of(here, image_channels=7).mean == (0.0,) * 7


@pytest.mark.parametrize(
    ("words", "said"), [("image_channels=4", "image_channels"), ("mean=[0.1, 0.1, 0.1, 0.1]", "mean")]
)
def test_a_network_of_another_number_than_is_said_is_refused(words: str, said: str, here: Path) -> None:
    (here / "a.circuit").write_text(
        f'model python("net.py:build", inner=2, {words}, resize=14, crop=12)\n'
        "preserve conv2:1 on images/* sparsity<=60%"
    )
    draw(here / "images", 4)
    result = call("check", "--deep", "a.circuit", "--allow-code")
    assert f"error[E203]: {said} is for 4 channels, which the network does not take" in result.output
    assert "it takes 2" in result.output
    assert "1 error" in result.output


def test_images_are_not_blamed_for_a_model_that_is_refused(here: Path) -> None:
    """Without the network it can't be said how many channels images should have."""
    draw(here / "images", 4)
    (here / "a.circuit").write_text('model python("no.py:build")\npreserve conv2:1 on images/* sparsity<=60%')
    result = call("check", "--deep", "a.circuit", "--allow-code")
    assert "error[E304]" in result.output
    assert "1 error" in result.output


def test_models_of_timm_for_other_numbers_of_channels(here: Path) -> None:
    words = {"weights": "none", "in_chans": 1}
    found = load_model(Model("timm", "test_resnet", words), here).preprocess
    usual = load_model(Model("timm", "test_resnet", {"weights": "none"}), here).preprocess
    assert found.mean == pytest.approx([sum(usual.mean) / 3])
    assert found.std == pytest.approx([sum(usual.std) / 3])
    assert (found.crop, found.resize, found.resample) == (usual.crop, usual.resize, usual.resample)


def test_a_module_file_that_says_wrong_numbers_is_refused(here: Path) -> None:
    program = torch.export.export(nn.Conv2d(2, 3, 3).eval(), (torch.zeros(2, 2, 9, 9),))
    for extra, message in (
        (Preprocess(9, 9, (0.5,), (0.5,)), "mean is not a number for each of 2 channels"),
        (Preprocess(9, 9, (0.5, 0.5), (0.5, 0.0)), "std is not a number for each of 2 channels"),
    ):
        said = json.dumps({"resize": 9, "crop": 9, "mean": extra.mean, "std": extra.std, "resample": 2})
        torch.export.save(program, here / "net.pt2", extra_files={"preprocess.json": said})
        with pytest.raises(InputError) as caught:
            load_model(Model("file", "net.pt2"), here)
        assert message in caught.value.findings[0].label
    torch.export.save(program, here / "net.pt2")
    assert load_model(Model("file", "net.pt2"), here).preprocess == Preprocess(9, 9, (0.0, 0.0), (1.0, 1.0))


def test_pictures_that_would_fill_memory_or_start_programs_are_findings(here: Path) -> None:
    (here / "images").mkdir()
    Image.new("L", (1, 60_000)).save(here / "images" / "long.png")
    Image.new("RGB", (8, 8)).save(here / "images" / "script.png", "EPS")
    (here / "a.circuit").write_text("preserve conv5:34 on images/* sparsity<=10%")
    result = call("check", "--deep", "a.circuit")
    assert result.exit_code == 1
    assert "error[E303]: 2 of 2 images can't be read" in result.output
    assert "long.png: 1 x 60000 pixels would be resized to 64 x 3840000" in result.output
    assert "script.png: not an image" in result.output
