"""Runs with a module and images that are objects of the program."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.transforms import functional

import circuitlang
from circuitlang import CircuitError, InputError
from circuitlang.plugins.preprocess import Preprocess
from tests.conftest import ROOT

SIZE = 24
TARGET = "block:1"
PATHS = sorted((ROOT / "examples" / "images" / "dogs").iterdir())[:8]


class Net(nn.Module):
    """A convolution and a block."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.block = nn.Sequential(nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.first(x))


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Net:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    return Net()


def noise(channels: int = 3) -> Tensor:
    return torch.randn(8, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


class Labelled(Dataset[Any]):
    """Images with labels, which raises no IndexError behind its end."""

    def __init__(self, images: Any) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Any:
        return self._images[index % len(self._images)], index


def found(model: nn.Module, on: Any, **words: Any) -> circuitlang.api.LoadedCircuit:
    return circuitlang.preserve(model, TARGET, on=on, kernels=12, criterion="snip", render="none", **words)


def digest(circuit: circuitlang.api.LoadedCircuit) -> tuple[str, bytes]:
    provenance = circuit.summary.provenance
    return provenance.train_images, b"".join(mask.tobytes() for mask in circuit.masks.values())


def test_tensors_of_every_kind_are_the_same_images(net: Net) -> None:
    x = noise()
    expected = digest(found(net, x))
    kinds = [x.numpy(), list(x), TensorDataset(x), Labelled(x), DataLoader(TensorDataset(x), 3), iter(x)]
    for images in kinds:
        assert digest(found(net, images)) == expected
    assert digest(found(net, x.flip(0)))[0] != expected[0]


def test_a_circuit_of_tensors_is_that_of_a_hook(net: Net) -> None:
    """The kept kernels, by the formula, and the network with the circuit."""
    x = noise()
    circuit = found(net, x, holdout=0)
    scores = []
    for image in x.split(1):
        twin = copy.deepcopy(net)
        twin(image)[:, 1].abs().sum().backward()
        layers = [twin.first, twin.block[1]]
        scores.append(
            torch.cat([(each.weight * each.weight.grad).abs().detach().mean((2, 3)).flatten() for each in layers])
        )
    total = torch.stack(scores).double().sum(0)
    masks = [circuit.masks["first"], circuit.masks["block.1"]]
    kept = torch.cat([torch.from_numpy(mask).flatten() for mask in masks])
    assert int(kept.sum()) == 12
    relevant = torch.cat([torch.ones(18), torch.zeros(24)]).bool()
    relevant[18 + 6 : 18 + 12] = True
    # Kernels that end nowhere are replaced, so that what is kept need not be the best twelve.
    assert total[kept].mean() > total[~kept & relevant].mean()
    assert not kept[~relevant].any()
    with circuit.masked_model(net) as masked:
        whole, part = net(x)[:, 1].detach().numpy(), masked(x)[:, 1].detach().numpy()
    pearson = np.corrcoef(whole.ravel(), part.ravel())[0, 1]
    assert circuit.metrics["train.pearson"] == pytest.approx(pearson, abs=1e-5)


@pytest.mark.slow
def test_pil_images_and_paths_are_prepared_alike(net: Net) -> None:
    words = {"resize": SIZE, "crop": SIZE, "mean": [0.5] * 3, "std": [0.25] * 3}
    files = found(net, PATHS, preprocess=words)
    whole = found(net, PATHS, preprocess=words, holdout=0)
    images = found(net, [Image.open(path) for path in PATHS], preprocess=words, holdout=0)
    declared = found(net, list(map(str, PATHS)), preprocess=Preprocess(SIZE, SIZE, (0.5,) * 3, (0.25,) * 3))
    assert digest(files) == digest(declared)
    np.testing.assert_equal(whole.masks, images.masks)
    spec = f'preserve {TARGET} on "{PATHS[0].parent}/*" kernels<=12 criterion=snip'
    (pattern,) = circuitlang.run(f"{spec} holdout=0", model=net, preprocess=words, render="none")
    assert pattern.metrics["train.images"] == len(list(PATHS[0].parent.iterdir()))


def test_a_function_prepares_images(net: Net) -> None:
    def prepared(image: Any) -> Tensor:
        assert isinstance(image, Image.Image)
        return functional.to_tensor(functional.center_crop(image.convert("RGB"), [SIZE]))

    tensors = torch.stack([prepared(Image.open(path)) for path in PATHS])
    expected = digest(found(net, tensors))
    assert digest(found(net, PATHS, preprocess=prepared)) == expected
    assert digest(found(net, Labelled([Image.open(path) for path in PATHS]), preprocess=prepared)) == expected


def test_transforms_of_torchvision_say_how_images_are_prepared(net: Net) -> None:
    from torchvision.transforms._presets import ImageClassification

    preset = ImageClassification(crop_size=SIZE, resize_size=30)
    words = {"resize": 30, "crop": SIZE}
    assert digest(found(net, PATHS, preprocess=preset)) == digest(found(net, PATHS, preprocess=words))


def test_a_spec_names_sets_in_memory(net: Net) -> None:
    x = noise()
    spec = f"""
    images some = [red, blue] limit=10 seed=3
    circuit one = preserve {TARGET} on red kernels<=12 criterion=snip test=blue
    circuit two = preserve {TARGET} on some kernels<=12 criterion=snip
    preserve {TARGET} on [red, blue] except blue kernels<=12 criterion=snip
    compare one, two
    """
    run = circuitlang.run(spec, model=net, images={"red": x, "blue": x[:4] + 1}, render="none")
    assert run.names()[:2] == ["one", "two"]
    assert run["two"] is run[1]
    assert repr(run).startswith("<run of 3 circuits: one, two and ")
    assert (run[0].metrics["train.images"], run[0].metrics["test.images"]) == (8, 4)
    assert run[1].metrics["train.images"] + run[1].metrics["test.images"] == 10
    assert run[2].metrics["train.images"] + run[2].metrics["test.images"] == 8
    with pytest.raises(InputError, match="unknown circuit 'twoo'") as caught:
        run["twoo"]
    assert caught.value.findings[0].help == "did you mean 'two'?"


def test_the_module_is_left_as_it_is(net: Net) -> None:
    net.train()
    before, mode = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    found(net, noise())
    assert [module.training for module in net.modules()] == mode
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_a_module_is_told_by_its_weights_and_its_operations(net: Net) -> None:
    x = noise()
    first = found(net, x)
    time = (first.folder / "metrics.json").stat().st_mtime_ns
    again = found(copy.deepcopy(net), x)
    assert (again.folder / "metrics.json").stat().st_mtime_ns == time
    other = copy.deepcopy(net)
    other.block[2] = nn.Sigmoid()
    changed = found(other, x)
    assert changed.summary.provenance.weights == first.summary.provenance.weights
    assert changed.summary.provenance.identity != first.summary.provenance.identity
    with torch.no_grad():
        net.first.weight.mul_(2)
    assert found(net, x).summary.provenance.weights != first.summary.provenance.weights


def test_a_plan_runs_again_with_its_objects_alone(net: Net) -> None:
    x = noise()
    circuit = found(net, x, name="one")
    plan = circuit.folder.parent / "plan.yaml"
    with pytest.raises(InputError, match="the model is not in memory") as caught:
        circuitlang.run(plan)
    assert {finding.code for finding in caught.value.findings} == {"E316"}
    assert all("circuitlang.run(" in finding.help for finding in caught.value.findings)
    (again,) = circuitlang.run(plan, model=net, images={"images": x})
    assert again.summary.provenance.identity == circuit.summary.provenance.identity


def test_grey_and_other_channels(net: Net) -> None:
    del net
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    circuit = circuitlang.preserve(wide, '"2":0', on=noise(5), sparsity=0.5, criterion="snip", render="none")
    assert circuit.masks["0"].shape == (4, 5)


@pytest.mark.parametrize(
    ("on", "words", "message"),
    [
        ("bytes", {}, "images\\[0\\] is no network input"),
        ("oblong", {}, "images\\[0\\] is not square"),
        ("ragged", {}, "the tensors of 'images' have several shapes"),
        ("nan", {}, "images\\[0\\] has values that are infinite"),
        ("mixed", {}, "'images' mixes tensors and images"),
        ("number", {}, "'images' are no images"),
        ("words", {}, "images\\[0\\] is no image"),
        ("none", {}, "there are no images in 'images'"),
        ("flat", {}, "'images' has 2 dimensions"),
        ("missing", {}, "no-such.png can't be read"),
        ("text", {}, "README.md can't be used"),
        ("sound", {"preprocess": 3}, "preprocess= can't be used"),
        ("sound", {"preprocess": {"size": 3}}, "preprocess= has no 'size'"),
        ("sound", {"preprocess": {"crop": 0}}, "crop of preprocess= is out of range"),
        ("sound", {"preprocess": {"crop": 99}}, "tensors of 3 x 24 x 24 for a network of 3 x 99 x 99"),
        ("sound", {"structure": "kernels"}, "unknown"),
    ],
)
def test_what_can_not_be_used_is_named(net: Net, on: str, words: dict[str, Any], message: str) -> None:
    x = noise()
    objects: dict[str, Any] = {
        "bytes": (x * 10).byte(), "oblong": x[..., :-2], "ragged": [x[0], x[1, :, 2:, 2:]], "nan": x * float("nan"),
        "mixed": [x[0], Image.new("RGB", (9, 9))], "number": 3, "words": [{}], "none": [], "flat": x[0, 0],
        "missing": [Path("no-such.png")], "text": [ROOT / "README.md"], "sound": x,
    }  # fmt: skip
    with pytest.raises(CircuitError, match=message):
        found(net, objects[on], **words)


def test_mistakes_of_calls_have_cures(net: Net) -> None:
    x = noise()
    calls: list[tuple[Any, dict[str, Any], str]] = [
        (f"preserve {TARGET} on x kernels<=9", {"images": {"x": x}, "jobs": 2}, "jobs=2 can't be combined"),
        (f"model alexnet\npreserve {TARGET} on x kernels<=9", {"images": {"x": x}}, "the spec names a model"),
        (f"preserve {TARGET} on x kernels<=9", {"images": {"x y": x}}, "'x y' can't be the name of an image set"),
        ("preserve blok:1 on x kernels<=9", {"images": {"x": x}}, "unknown layer 'blok'"),
        ("images x = y/*\npreserve block:1 on x kernels<=9", {"images": {"x": x}}, "'x' is defined twice"),
        ('preserve block:1 on [x, "y/*"] kernels<=9', {"images": {"x": x}}, "can't be joined with images in memory"),
    ]
    for spec, words, message in calls:
        with pytest.raises(CircuitError, match=message):
            circuitlang.run(spec, model=net, **words)
    with pytest.raises(InputError, match="preserve finds one circuit"):
        circuitlang.preserve(net, "block:[1, 2]", on=x, kernels=9)
    with pytest.raises(InputError, match="model= is no torch"):
        circuitlang.preserve("resnet18", TARGET, on=x, kernels=9)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="preprocess= is for model= or images="):
        circuitlang.run("preserve conv1:1 on x/* kernels<=9", preprocess={})


def test_a_notebook_shows_the_place_and_the_cure() -> None:
    """IPython calls this method for the lines to print in place of a traceback."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    with pytest.raises(CircuitError) as caught:
        circuitlang.compile("preserve conv9:3 on images/dogs/* keep<=10%")
    try:
        lines: list[str] = []
        shell._showtraceback = lambda _kind, _value, text: lines.extend(text)
        shell.showtraceback((type(caught.value), caught.value, caught.tb))
    finally:
        InteractiveShell.clear_instance()
    text = "\n".join(lines)
    assert "error[E102]: unknown layer 'conv9'" in text
    assert "--> <text>:1:10" in text
    assert "= help: did you mean 'conv5'?" in text
    assert "Traceback" not in text
