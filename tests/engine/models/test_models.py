"""Where networks come from: torchvision's builders, its cache of weights, files of weights."""

from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.images import preprocessing
from circuitlang.engine.models.checkpoint_reader import read
from circuitlang.engine.models.weights import fingerprint
from circuitlang.plugins.protocols import MODELS


def load(name, arguments, folder=Path()):
    return MODELS.load("torchvision")(name, arguments, lambda path: folder / path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub cache, where torch looks for weights before it downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    return checkpoints


@pytest.mark.parametrize("arguments", [{"weights": "IMAGENET1K_V1"}, {"weights": "DEFAULT"}, {}])
def test_named_weights_come_from_torchs_cache(hub, arguments):
    torch.manual_seed(5)
    state = models.squeezenet1_1().state_dict()
    torch.save(state, hub / Path(models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url).name)
    loaded = load("squeezenet1_1", arguments)
    assert all(torch.equal(value, state[name]) for name, value in loaded.module.state_dict().items())
    assert loaded.classes[207] == "golden retriever"
    assert (loaded.preprocess.resize, loaded.preprocess.crop) == (256, 224)
    assert loaded.preprocess.mean == (0.485, 0.456, 0.406)


def test_weights_that_cannot_be_downloaded_say_where_to_put_them(hub, monkeypatch):
    from urllib import error, request

    def refuse(*_args, **_kwargs):
        raise error.URLError("no network")

    monkeypatch.setattr(request, "urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(InputError) as caught:
        load("squeezenet1_1", {})
    (finding,) = caught.value.findings
    assert finding.code == "E304"
    assert str(hub) in finding.help
    assert "squeezenet1_1-b8a52dc0.pth" in finding.help


def test_weights_in_the_cache_that_would_run_code_are_refused(hub, tmp_path):
    class Harmful:
        def __reduce__(self):
            return Path.mkdir, (tmp_path / "harmed",)

    torch.save({"x": Harmful()}, hub / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(InputError):
        load("squeezenet1_1", {})
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_from_a_file(tmp_path, suffix):
    torch.manual_seed(6)
    state = models.resnet18(num_classes=7).state_dict()
    path = tmp_path / f"mine{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state} if suffix == ".pth" else state, path)
    loaded = load("resnet18", {"weights": path.name, "num_classes": 7}, tmp_path)
    assert all(torch.equal(value, state[name]) for name, value in loaded.module.state_dict().items())


@pytest.mark.slow
def test_weights_of_another_model_say_what_does_not_fit(tmp_path):
    save_file(models.resnet18(num_classes=7).state_dict(), tmp_path / "mine.safetensors")
    with pytest.raises(InputError) as caught:
        load("resnet18", {"weights": "mine.safetensors"}, tmp_path)
    (finding,) = caught.value.findings
    assert finding.code == "E305"
    assert "fc.weight is 7x512, not 1000x512" in finding.label
    with pytest.raises(InputError) as caught:
        load("vgg11", {"weights": "mine.safetensors"}, tmp_path)
    assert "missing: classifier.0.bias" in caught.value.findings[0].label
    assert "unexpected: bn1.bias" in caught.value.findings[0].label


def test_random_weights_are_the_same_every_time_and_the_generator_stays():
    before = torch.random.get_rng_state()
    one, two = (load("squeezenet1_1", {"weights": "none"}).module for _ in range(2))
    assert fingerprint(one) == fingerprint(two)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_fingerprint_is_of_every_tensor():
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    before = fingerprint(module)
    module[1].running_mean[0] += 1
    assert fingerprint(module) != before


def test_a_folder_is_not_a_weights_file(tmp_path):
    (tmp_path / "x.safetensors").mkdir()
    with pytest.raises(InputError, match="no weights file"):
        read(tmp_path / "x.safetensors")


def test_published_weights_fit_without_side_classifiers(hub):
    original = models.googlenet(init_weights=False)
    torch.save(original.state_dict(), hub / Path(models.GoogLeNet_Weights.DEFAULT.url).name)
    loaded = load("googlenet", {"aux_logits": False, "init_weights": False})
    assert loaded.module.aux1 is None
    assert torch.equal(loaded.module.fc.weight, original.fc.weight)
    with torch.device("meta"):
        assert load("googlenet", {"aux_logits": False, "init_weights": False}).classes == loaded.classes


SEGMENTATION = ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50"]


def segmentation(name):
    """A network with the tensors that published weights have."""
    side = {} if name.startswith("lraspp") else {"aux_loss": True}
    return models.get_model(name, weights=None, weights_backbone=None, num_classes=21, **side)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEGMENTATION)
def test_published_weights_of_segmentation_fit(hub, name):
    original = segmentation(name).state_dict()
    torch.save(original, hub / Path(models.get_model_weights(name).DEFAULT.url).name)
    loaded = load(name, {})
    assert len(loaded.classes) == 21
    found = loaded.module.state_dict()
    assert found.keys() == original.keys()
    assert all(torch.equal(found[key], each) for key, each in original.items())
    if name.startswith("lraspp"):
        return
    less = load(name, {"aux_loss": False}).module.state_dict()
    assert less.keys() == {key for key in original if not key.startswith("aux_classifier.")}
    assert all(torch.equal(each, original[key]) for key, each in less.items())
    with torch.device("meta"):
        assert load(name, {}).module.state_dict().keys() == original.keys()


# Every pair of values; `make test-slow` has the other combinations.
@pytest.mark.parametrize(
    ("name", "side", "nested"),
    [
        pytest.param(*case, marks=() if case[1] == (case[2] == case[0].startswith("deep")) else pytest.mark.slow)
        for case in product(SEGMENTATION, (False, True), (False, True))
    ],
)
def test_a_file_of_weights_says_whether_there_is_a_side_classifier(tmp_path, name, side, nested):
    state = {key: each for key, each in segmentation(name).state_dict().items() if side or "aux" not in key}
    content = {"model": {f"module.{key}": each for key, each in state.items()}, "epoch": 3} if nested else state
    torch.save(content, tmp_path / "own.pth")
    found = load(name, {"weights": "own.pth"}, tmp_path).module.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], each) for key, each in state.items())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_published_weights_that_want_another_normalisation_get_it(hub, name):
    """torchvision sets transform_input with these weights; normalising with halves gives the network the same input."""
    builder = getattr(models, name)
    torch.manual_seed(5)
    original = builder(init_weights=False)
    url = models.get_model_weights(name).DEFAULT.url
    torch.save(original.state_dict(), hub / Path(url).name)
    loaded = load(name, {})
    theirs = builder(weights="DEFAULT").eval()
    picture = torch.randint(0, 255, (1, 96, 96, 3), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    usual = ((picture.float() / 255 - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2)
    torch.testing.assert_close(
        preprocessing.normalise(loaded.preprocess, picture), theirs._transform_input(usual), rtol=1e-4, atol=1e-5
    )
