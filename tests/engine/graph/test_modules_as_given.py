"""Runs of networks whose forward method is easy to misread: what is written is of the network that was given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import circuitlang
from circuitlang import pipeline
from circuitlang.base.diagnostics import InputError
from circuitlang.engine.runtime.options import Options

NETS = '''
import random
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm


def body():
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1))


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.own, self.other = body(), body()

    def forward(self, x, labels=None):
        return self.own(x) if labels is None else self.other(x)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.own = body()

    def forward(self, x, scale=1.0):
        return self.own(x * scale)


class Masked(Scaled):
    def forward(self, x, mask=None):
        return self.own(x if mask is None else x * mask)


class Noise(Scaled):
    def forward(self, x):
        return self.own(x) + torch.randn(1, 5, 1, 1)


class Coin(Scaled):
    def forward(self, x):
        return self.own[2](self.own[:2](x) * random.random())


def hooked():
    net = body()
    net[0].register_forward_hook(lambda m, i, o: o.flip(1))
    return net


class Standard(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5), self.bias)


def standardised():
    return nn.Sequential(Standard(3, 6, 3, padding=1), nn.ReLU(), Standard(6, 5, 3, padding=1))


def pruned():
    net = body()
    for layer in (net[0], net[2]):
        prune.l1_unstructured(layer, "weight", 0.5)
    return net


def weight_normed():
    return nn.Sequential(weight_norm(nn.Conv2d(3, 6, 3, padding=1)), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1))


def spectral_normed():
    return nn.Sequential(spectral_norm(nn.Conv2d(3, 6, 3, padding=1)), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1))


def parametrized():
    net = body()
    parametrizations.weight_norm(net[0])
    parametrizations.orthogonal(net[2])
    return net


class Blurred(nn.Sequential):
    """A fixed blur between two layers."""

    def __init__(self):
        super().__init__(*body())
        self.register_buffer("blur", torch.full((6, 1, 3, 3), 1 / 9))

    def forward(self, x):
        return self[2](F.conv2d(self[1](self[0](x)), self.blur, padding=1, groups=6))


def lazy():
    return nn.Sequential(nn.LazyConv2d(6, 3, padding=1), nn.LazyBatchNorm2d(), nn.LazyConv2d(5, 3, padding=1))


def parallel():
    return nn.DataParallel(body())


class Grid(nn.Module):
    """Takes images of one size."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(5, 6, 3, padding=1), nn.Conv2d(6, 5, 3, padding=1)
        line = torch.linspace(-1, 1, 16)
        self.register_buffer("grid", torch.stack(torch.meshgrid(line, line, indexing="ij"))[None])

    def forward(self, x):
        print("a print of the network's own")
        return self.b(F.relu(self.a(torch.cat([x, self.grid.expand(x.shape[0], -1, -1, -1)], 1))))


class Sampled(nn.Module):
    """PyTorch warns whenever it is called."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 3, padding=1)
        self.register_buffer("grid", torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 16)] * 2, indexing="xy"), -1))

    def forward(self, x):
        return self.b(F.grid_sample(F.relu(self.a(x)), self.grid.expand(x.shape[0], -1, -1, -1)))
'''
UNIT = 3


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with six images and the networks, to stand in."""
    generator = np.random.default_rng(0)
    (tmp_path / "pics").mkdir()
    for number in range(6):
        coarse = generator.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((16, 16), Image.Resampling.BICUBIC).save(tmp_path / "pics" / f"{number}.png")
    (tmp_path / "net.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spec(name: str, target: str = f"class({UNIT})", size: str = "sparsity<=60%") -> str:
    model = f'model python("net.py:{name}", resize=16, crop=16)'
    return f"{model}\ncircuit c = preserve {target} on pics/* {size} criterion=snip\n"


def run(name: str, *rest: str):
    (found,) = circuitlang.run(spec(name, *rest), allow_code=True)
    return found


def build(name: str):
    """The network as the run builds it."""
    names: dict = {}
    exec(compile((Path("net.py")).read_text(), "net.py", "exec"), names)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return names[name]().eval()


def images():
    x = np.stack([np.asarray(Image.open(path)) for path in sorted(Path("pics").glob("*.png"))])
    x = torch.from_numpy(x).float() / 255
    x = (x - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    return x.permute(0, 3, 1, 2)


WHOLE = ["Branch", "Scaled", "Masked", "hooked", "standardised", "pruned", "weight_normed", "parametrized", "Blurred"]


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("name", [*WHOLE, "spectral_normed", "parallel"])
def test_a_circuit_of_all_kernels_is_the_network(place, name):
    found = run(name, f"class({UNIT})", "sparsity<=100%")
    with torch.no_grad():
        wanted = build(name)(images())[:, UNIT : UNIT + 1]
    torch.testing.assert_close(found.module()(images()), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("name", [*WHOLE, "spectral_normed", "parallel"])
@pytest.mark.parametrize("given", [True, False])
def test_the_masked_network_is_the_whole_network_with_the_circuit_in_it(place, name, given):
    found = run(name)
    model = build(name) if given else None
    before = {key: value.clone() for key, value in model.state_dict().items()} if model else {}
    with found.masked_model(model, allow_code=True) as network, torch.no_grad():
        maps = network(images())
    torch.testing.assert_close(maps[:, UNIT : UNIT + 1], found.module()(images()), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        whole = build(name)(images())
    assert not torch.allclose(maps[:, UNIT], whole[:, UNIT], atol=1e-3)
    assert maps.shape == whole.shape
    if model:
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_the_branch_of_the_default_argument_is_the_network(place):
    assert list(run("Branch").masks) == ["own.0", "own.2"]


@pytest.mark.parametrize(("name", "generator"), [("Noise", "torch"), ("Coin", "random")])
def test_random_numbers_are_refused_at_the_model(place, name, generator):
    with pytest.raises(InputError) as caught:
        run(name)
    (finding,) = caught.value.findings
    assert finding.code == "E308"
    assert finding.message == "the network draws random numbers in evaluation mode"
    assert f"({generator})" in finding.label
    assert finding.span is not None
    assert finding.span.text == "python"


@pytest.mark.parametrize("name", ["Noise", "Coin"])
def test_check_deep_refuses_what_a_run_refuses(place, name):
    Path("a.circuit").write_text(spec(name))
    (finding,) = (
        each for each in pipeline.check_file(Path("a.circuit"), Options(allow_code=True)).findings if each.code < "W"
    )
    assert finding.message == "the network draws random numbers in evaluation mode"


def test_layers_that_wait_for_images_get_their_weights(place):
    one, other = run("lazy"), run("lazy")
    assert list(one.masks) == ["0", "2"]
    assert one.summary.provenance.weights == other.summary.provenance.weights


@pytest.mark.slow
def test_a_run_that_ends_well_prints_nothing_of_a_librarys_or_the_networks(place):
    Path("a.circuit").write_text(spec("Grid", "b:1", "sparsity<=40%"))
    words = [sys.executable, "-m", "circuitlang", "run", "a.circuit", "--allow-code", "--progress", "none"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Error" not in done.stdout
    assert "a print of" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_run_prints_no_warnings_of_a_library(place, jobs):
    again = "circuit d = preserve class(1) on pics/* sparsity<=30% criterion=snip\n"
    Path("a.circuit").write_text(spec("Sampled", size="sparsity<=40%") + again)
    words = [
        sys.executable,
        "-m",
        "circuitlang",
        "run",
        "a.circuit",
        "--allow-code",
        "--progress",
        "none",
        "--jobs",
        jobs,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_warnings_are_there_for_those_who_ask(place):
    Path("a.circuit").write_text(spec("Sampled"))
    words = [
        sys.executable,
        "-W",
        "default",
        "-m",
        "circuitlang",
        "run",
        "a.circuit",
        "--allow-code",
        "--progress",
        "none",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "UserWarning: Default grid_sample" in done.stderr
