"""Networks from programs, from the user's own code and from timm: the same numbers as the network itself, and nothing
that runs without being allowed to."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import re
import shutil
import sys
import zipfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from circuitlang.base.diagnostics import InputError
from circuitlang.bundled import network
from circuitlang.bundled.doodles import draw
from circuitlang.cli.main import main
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import select
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.plugins.loaded_model import PathResolver
from circuitlang.plugins.protocols import MODELS
from tests.helpers.toy_networks import Branches, Chain, Residual

NET = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
import helper
def build(width=4):
    print("building")
    return helper.net(width)
def broken():
    raise ValueError("first\\nno such luck")
def leave():
    raise SystemExit(3)
def number():
    return 5
"""
HELPER = """
from torch import nn
def net(width):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, 5, 3))
"""


class _Batches:
    def __init__(self, images):
        self._images = images

    def __len__(self):
        return len(self._images)

    def batches(self, _label):
        return iter([self._images])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with pictures and a network's code, to stand in."""
    for number in range(3):
        path = tmp_path / "images" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        draw("dogs", 2_000_000 + number).save(path)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "helper.py").write_text(HELPER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(source, name, arguments=None, allow_code=False):
    return MODELS.load(source)(name, arguments or {}, PathResolver(Path(), allow_code))


def refused(source, name, arguments=None, allow_code=False):
    with pytest.raises(InputError) as caught:
        load(source, name, arguments, allow_code)
    (finding,) = caught.value.findings
    return finding


def call(*arguments, code=0):
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def export(module, size, path="net.pt2", batch=1, free=False):
    """Write a module as a program, for a batch of a size, or of any size."""
    shapes = ({0: torch.export.Dim("batch", min=1, max=512)},) if free else None
    program = torch.export.export(module.eval(), (torch.zeros(batch, 3, size, size),), dynamic_shapes=shapes)
    torch.export.save(program, path)


def randomised(module):
    """A module with statistics and biases that differ from those a layer begins with."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in module.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5)
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module.eval()


NETWORKS = {
    "chain": (Chain, 12, "fc1", "relu2"),
    "doodle": (network.build, network.SIZE, "conv5", "relu5"),
    "alexnet": (lambda: models.alexnet(num_classes=9), 64, "conv4", "classifier.1"),
    "squeezenet": (lambda: models.squeezenet1_1(num_classes=9), 64, "conv9", "features.4.expand1x1_activation"),
    "resnet18": (lambda: models.resnet18(num_classes=9), 64, "layer2.1.conv1", "layer2.0.relu"),
    "mobilenet": (lambda: models.mobilenet_v3_small(num_classes=9), 64, "conv8", "features.3.block.0.1"),
    "densenet": (lambda: models.DenseNet(8, (2, 2), 8, num_classes=9), 64, "conv4", "features.norm0"),
    "vgg": (lambda: models.vgg11_bn(num_classes=9, init_weights=False), 64, "conv5", "features.1"),
}


# Small networks are exported by `make test`, the others in CI.
QUICK = ("doodle", "resnet18", "densenet")
EVERY = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NETWORKS]


def _quick(name: str, batch: int) -> bool:
    """Every batch of the smallest, and each of the others with one of its own."""
    return name in QUICK and (name == QUICK[0] or batch == QUICK.index(name) + 1)


@pytest.mark.parametrize(
    ("name", "free", "batch"),
    [
        pytest.param(name, free, batch, marks=() if _quick(name, batch) else pytest.mark.slow)
        for name in NETWORKS
        for free, batch in ((False, 1), (False, 3), (True, 2))
    ],
)
def test_a_program_gives_the_numbers_of_the_network_it_was(here, name, free, batch):
    build, size, target, _ = NETWORKS[name]
    torch.manual_seed(1)
    original = randomised(build())
    export(original, size, batch=batch, free=free)
    loaded = load("file", "net.pt2").module
    images = torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(loaded(images), original(images))
    one, other = (TargetSubnetwork(graph, Target(graph.find(target), (1,))) for graph in
                  (trace(module, (size, size)) for module in (original, loaded)))  # fmt: skip
    assert [layer.path for layer in one.layers] == [layer.path for layer in other.layers]
    assert [layer.name for layer in one.layers] == [layer.name for layer in other.layers]
    first, second = (score(Builder(subnetwork, _Batches(images)), "snip", {}, 10, 0) for subnetwork in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[path], second[path]) for path in first)
    kept, same = (select(scores, subnetwork.relevant, 10) for subnetwork, scores in ((one, first), (other, second)))
    assert all(torch.equal(kept[path], same[path]) for path in kept)


@pytest.mark.parametrize("name", EVERY)
def test_a_program_keeps_the_names_that_targets_use(here, name):
    build, size, _, word = NETWORKS[name]
    original = build().eval()
    export(original, size)
    mine = trace(load("file", "net.pt2").module, (size, size)).widths()
    assert mine[word] == trace(original, (size, size)).widths()[word]


@pytest.mark.slow
def test_a_program_runs_from_a_spec_as_the_network_it_was(here):
    original = load("bundled", "doodle").module
    export(original, network.SIZE)
    line = "preserve conv5:34 on images/* kernels<=50 holdout=0"
    given = (
        f'model file("net.pt2", mean=[{", ".join(map(str, network.MEAN))}], std=[{", ".join(map(str, network.STD))}])'
    )
    call("run", "-e", line, "--out", "one")
    call("run", "-e", f"{given}\n{line}", "--out", "two")
    ((one,), (two,)) = (Path(out).glob("*/*/circuit.safetensors") for out in ("one", "two"))
    from safetensors.torch import load_file

    first, second = load_file(one), load_file(two)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert "conv5" in call("layers", 'file("net.pt2")').stdout
    Path("spec.circuit").write_text(f"{given}\n{line}\n")
    assert "no mistakes" in call("check", "--deep", "spec.circuit").stdout


@pytest.mark.slow
def test_a_program_changed_in_its_operations_alone_is_computed_again(here):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    line = 'model file("net.pt2")\npreserve conv2:1 on images/* kernels<=5'
    export(net, 32)
    call("run", "-e", line)
    assert "finished before" in call("run", "-e", line).stdout
    net[1] = nn.Tanh()
    export(net, 32)
    assert "finished before" not in call("run", "-e", line).stdout


class _InPlace(nn.Module):
    """What is written into is used again."""

    def __init__(self, view):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3)
        self.two = nn.Linear(4 * 100, 6)
        self.view = view

    def forward(self, x):
        x = self.one(x)
        if self.view:
            row = x.flatten(1)
            x.relu_()
            return self.two(row)
        x.sigmoid_()
        y = x.relu_()
        y += 1
        return self.two((x + 0).flatten(1)) if self.view is None else self.two(torch.flatten(y * 2, 1))


def test_writing_in_place_is_followed_or_refused(here):
    images = torch.randn(2, 3, 12, 12)
    for view in (False, None):
        original = _InPlace(view).eval()
        export(original, 12)
        assert torch.equal(load("file", "net.pt2").module(images), original(images))
    export(_InPlace(True), 12)
    finding = refused("file", "net.pt2")
    assert (finding.code, finding.label) == ("E308", "it reads what relu_ wrote into in another shape")


_SCALE = torch.arange(1.0, 5.0)[:, None, None]


class _Joined(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.one, self.how = nn.Conv2d(3, 4, 3), how

    def forward(self, x):
        return self.how(self.one(x))


@pytest.mark.parametrize(
    ("how", "name"),
    [
        (lambda x: torch.cat([x, x]), "aten.cat"),
        (lambda x: x.mean(0, keepdim=True), "aten.mean"),
        (lambda x: x.view(4, 100), "aten.view"),
        (lambda x: x.flatten(0), "aten.flatten"),
        (lambda x: torch.softmax(x, 0), "aten.softmax"),
        (lambda x: torch.bernoulli(x.sigmoid()), "aten.bernoulli"),
        (lambda x: x * torch.rand(4, 1, 1), "aten.rand"),
        (lambda x: x.roll(1), "aten.roll"),
        (lambda x: x.flip(0), "aten.flip"),
        (lambda x: x.cumsum(0), "aten.cumsum"),
        (lambda x: x.std(), "aten.std"),
        (lambda x: torch.stack([x, x]), "aten.stack"),
        (lambda x: torch.einsum("nchw,mchw->nm", x, x), "aten.einsum"),
        (lambda x: x[[0]], "aten.index"),
        (lambda x: x.permute(1, 0, 2, 3), "aten.permute"),
        (lambda x: x[0], "aten.select"),
        (lambda x: nn.functional.dropout(x, 0.5, True), "aten.dropout"),
    ],
)
def test_what_can_not_be_followed_in_a_program_is_named(here, how, name):
    export(_Joined(how), 12)
    finding = refused("file", "net.pt2")
    assert finding.code == "E308"
    assert name in finding.message


@pytest.mark.parametrize(
    "how",
    [
        lambda x: x.view(1, 2, 2, 10, 10).transpose(1, 2).reshape(1, 4, 10, 10),
        lambda x: x * _SCALE - 1,
        lambda x: torch.cat(x.split([3, 1], 1)[::-1], 1)[:, 1:, ::2],
        lambda x: nn.functional.pad(x.chunk(2, 1)[1], (0, 1, 0, 0, 1, 1), value=2.0),
        lambda x: nn.functional.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2),
        lambda x: (x / 2).mean((2, 3)).unsqueeze(2).expand(-1, -1, 3),
    ],
)
def test_what_moves_channels_about_is_the_same_in_a_program(here, how):
    original = _Joined(how).eval()
    export(original, 12)
    images = torch.randn(1, 3, 12, 12)
    module = load("file", "net.pt2").module
    assert torch.equal(module(images), original(images))
    assert module(torch.randn(3, 3, 12, 12)).shape == (3, *original(images).shape[1:])


@pytest.mark.parametrize("build", [Branches, Residual])
def test_a_padding_may_be_an_operator_of_its_own(here, build):
    original = build().eval()
    export(original, 12)
    images = torch.randn(2, 3, 12, 12)
    assert torch.equal(load("file", "net.pt2").module(images), original(images))


def rewritten(change):
    """The program net.pt2 with records of other content."""
    with zipfile.ZipFile("net.pt2") as old:
        records = {name: old.read(name) for name in old.namelist()}
    change(records)
    with zipfile.ZipFile("net.pt2", "w") as new:
        for name, content in records.items():
            new.writestr(name, content)


class _Harmful:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_a_program_with_pickles_is_refused_and_runs_nothing(here):
    export(Chain(), 12)

    def change(records):
        config = json.loads(records["net/data/weights/model_weights_config.json"])
        config["config"]["conv1.weight"]["use_pickle"] = True
        records["net/data/weights/model_weights_config.json"] = json.dumps(config).encode()
        content = io.BytesIO()
        torch.save(_Harmful(), content)
        records["net/data/weights/weight_0"] = content.getvalue()

    rewritten(change)
    finding = refused("file", "net.pt2")
    assert (finding.code, finding.label.split(",")[0]) == ("E306", "its conv1.weight is a pickled object")
    assert not Path("ran").exists()
    # The refusal is about something: torch's own loader runs it.
    with pytest.raises(Exception):  # noqa: B017, PT011
        torch.export.load("net.pt2")
    assert Path("ran").exists()


def test_example_inputs_and_expressions_of_a_program_are_never_evaluated(here):
    export(Chain(), 12, batch=2, free=True)

    def change(records):
        records["net/data/sample_inputs/model.pt"] = pickle.dumps(_Harmful())
        model = json.loads(records["net/models/model.json"])
        for meta in model["graph_module"]["graph"]["tensor_values"].values():
            for size in meta["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = "__import__('pathlib').Path('ran').touch()"
        records["net/models/model.json"] = json.dumps(model).encode()

    rewritten(change)
    assert load("file", "net.pt2").module(torch.zeros(3, 3, 12, 12)).shape == (3, 3)
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", pickle.dumps(_Harmful())])
def test_what_is_no_program_is_refused(here, content):
    Path("net.pt2").write_bytes(content)
    assert refused("file", "net.pt2").code == "E306"
    assert not Path("ran").exists()


def test_a_damaged_program_is_refused(here):
    export(Chain(), 12)
    for name, content in (("net/models/model.json", b"{}"), ("net/data/weights/weight_0", b"123")):
        rewritten(lambda records, name=name, content=content: records.update({name: content}))
        assert refused("file", "net.pt2").code == "E306"
    assert refused("file", "other.pt2").code == "E304"
    assert refused("file", "net.pt2", {"weights": "x.pt"}).code == "E105"


def test_a_pickled_program_of_another_kind_is_refused(here):
    torch.save({"x": _Harmful()}, "net.pt2")
    assert refused("file", "net.pt2").code == "E306"
    assert not Path("ran").exists()


LINE = 'model python("net.py:build"{})\npreserve conv2:1 on images/* kernels<=5\n'


@pytest.mark.parametrize("command", [["run"], ["check", "--deep"], ["plan"], ["run", "plan.yaml"]])
def test_code_runs_only_where_the_command_line_allows_it(here, command):
    Path("spec.circuit").write_text(LINE.format(""))
    call("plan", "spec.circuit", "-o", "plan.yaml")
    arguments = command if "plan.yaml" in command else [*command, "spec.circuit"]
    result = call(*arguments, code=1)
    assert "error[E313]" in result.output
    assert "--allow-code" in result.output
    assert re.search(r"--> (spec.circuit:1|plan.yaml:\d+):", result.output)
    assert not Path("ran").exists()
    result = call(*arguments, "--allow-code")
    assert "building" not in result.stdout
    assert Path("ran").exists()
    Path("ran").unlink()
    call(*arguments, code=1)
    assert not Path("ran").exists()


def test_layers_of_a_network_of_code(here):
    model = 'python("net.py:build", width=7)'
    assert "error[E313]" in call("layers", model, code=1).output
    assert not Path("ran").exists()
    assert call("layers", model, "--allow-code").stdout.splitlines()[1].split()[:4] == ["0", "Conv2d", "conv1", "7"]


def test_a_plan_can_not_allow_code(here):
    Path("spec.circuit").write_text(LINE.format(", allow_code=true"))
    assert "E313" in call("run", "spec.circuit", code=1).output
    call("plan", "spec.circuit", "-o", "plan.yaml")
    Path("plan.yaml").write_text(Path("plan.yaml").read_text() + "allow_code: true\n")
    call("run", "plan.yaml", code=1)
    assert not Path("ran").exists()


def test_code_gives_the_numbers_of_its_network_with_the_weights_of_a_file(here):
    torch.manual_seed(4)
    original = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3))
    save_file(original.state_dict(), "net.safetensors")
    torch.save(original.state_dict(), "net.pt")
    images = torch.randn(2, 3, 8, 8)
    for file in ("net.safetensors", "net.pt"):
        loaded = load("python", "net.py:build", {"width": 6, "weights": file}, allow_code=True)
        assert torch.equal(loaded.module(images), original(images))
        assert (loaded.preprocess.resize, loaded.preprocess.crop) == (224, 224)


def test_code_leaves_the_generator_the_path_and_the_modules_alone(here):
    state, path, names = torch.random.get_rng_state(), [*sys.path], set(sys.modules)
    one, two = (load("python", "net.py:build", allow_code=True).module for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert sys.path == path
    assert not {"helper", "_circuitlang_net"} & (set(sys.modules) - names)


@pytest.mark.parametrize(
    ("name", "arguments", "code", "words"),
    [
        ("net.py", {}, "E109", "is not the name of a function"),
        ("net.py:", {}, "E109", "is not the name of a function"),
        ("no.py:build", {}, "E304", "no.py"),
        ("net.py:biuld", {}, "E307", "has no function 'biuld'"),
        ("net.py:number", {}, "E307", "returns no module"),
        ("net.py:broken", {}, "E307", "ValueError: no such luck"),
        ("net.py:leave", {}, "E307", "SystemExit: 3"),
        ("net.py:build", {"depth": 3}, "E307", "unexpected keyword argument 'depth'"),
        ("bad.py:build", {}, "E307", "SyntaxError"),
        ("net.py:build", {"weights": "no.pt"}, "E304", "no.pt"),
        ("net.py:build", {"weights": "bad.pt"}, "E306", "is refused"),
    ],
)
def test_what_is_wrong_with_code_is_a_finding(here, name, arguments, code, words):
    Path("bad.py").write_text("def build(:\n")
    torch.save({"x": _Harmful()}, "bad.pt")
    finding = refused("python", name, arguments, allow_code=True)
    assert finding.code == code
    assert words in finding.message
    Path("ran").unlink(missing_ok=True)


def test_what_code_raises_is_shown_with_its_line_and_no_traceback(here):
    Path("spec.circuit").write_text(LINE.format("").replace("build", "broken"))
    said = call("run", "spec.circuit", "--allow-code", code=1).output
    assert "E307" in said
    assert "in line 9 of net.py" in said
    assert "no such luck" in said


def imitation():
    """A module that answers as timm does, for machines that haven't got it."""

    def create_model(name, pretrained=False, num_classes=1000):
        if pretrained:
            raise FileNotFoundError("no connection")
        return models.resnet18(num_classes=num_classes)

    config = {
        "input_size": (3, 224, 224), "interpolation": "bicubic", "crop_pct": 0.95,
        "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225),
    }  # fmt: skip
    timm, data = ModuleType("timm"), ModuleType("timm.data")
    timm.__spec__ = ModuleSpec("timm", None)
    timm.list_models = lambda pretrained=False: ["resnet18.a1_in1k" if pretrained else "resnet18"]
    timm.create_model, timm.data = create_model, data
    data.resolve_model_data_config = lambda model: config
    return {"timm": timm, "timm.data": data}


@pytest.fixture(params=["imitated", *(["installed"] if importlib.util.find_spec("timm") else [])])
def timm(request, monkeypatch, here):
    """timm as it is installed, where it is, and imitated."""
    if request.param == "imitated":
        for name, module in imitation().items():
            monkeypatch.setitem(sys.modules, name, module)
    else:
        import timm

        def offline(*_args, **_kwargs):
            raise FileNotFoundError("no connection")

        monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
        monkeypatch.setattr(timm.models._builder, "load_state_dict_from_url", offline)


@pytest.mark.parametrize("name", ["resnet18", "resnet18.a1_in1k"])
@pytest.mark.parametrize("arguments", [{"weights": "none"}, {"pretrained": False}])
def test_timm_gives_random_weights_and_its_own_preprocessing(timm, name, arguments):
    state = torch.random.get_rng_state()
    one, two = (load("timm", name, {**arguments, "num_classes": 7}) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.module.parameters(), two.module.parameters(), strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (one.preprocess.resize, one.preprocess.crop) == (235, 224)
    assert one.preprocess.resample.name == "BICUBIC"


def test_timm_takes_the_weights_of_a_file(timm):
    torch.manual_seed(6)
    original = models.resnet18(num_classes=7).eval()
    save_file(original.state_dict(), "net.safetensors")
    loaded = load("timm", "resnet18", {"weights": "net.safetensors", "num_classes": 7}).module.eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), original(images), rtol=1e-5, atol=1e-5)
    trace(loaded, (64, 64)).find("layer4.0.conv1")


def test_timm_without_a_network_and_with_wrong_names(timm):
    finding = refused("timm", "resnet18")
    assert (finding.code, finding.label) == ("E304", "no connection")
    assert "weights=none" in finding.help
    assert refused("timm", "resnet81").help == "did you mean 'resnet18'?"
    assert refused("timm", "resnet18", {"weights": "IMAGENET"}).code == "E304"
    assert refused("timm", "resnet18", {"weights": "no.pt"}).code == "E304"
    assert refused("timm", "resnet18", {"weights": "none", "depht": 3}).code == "E307"
    assert "layer4.1.conv2" in call("layers", "timm.resnet18").stdout


def test_timm_that_is_not_installed_says_how_to_get_it(here, monkeypatch):
    monkeypatch.setattr("circuitlang.engine.models.sources.timm.find_spec", lambda name: None)
    finding = refused("timm", "resnet18")
    assert (finding.code, finding.help) == ("E109", "pip install 'circuitlang[timm]'")


OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.pool = nn.AvgPool2d(2)
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.scale = torch.linspace({scale}, 2, 4)[None, :, None, None]
        self.register_buffer("shift", torch.full((1, 4, 1, 1), {shift}), persistent=False)

    def forward(self, x):
        x = torch.relu(self.one(self.pool(x))) * self.scale + self.shift
        return self.two(x * torch.tensor([{last}, 1.0, 1.0, 1.0])[None, :, None, None])

def build():
    return Net().{kind}()
"""
OWN_SPEC = """
model python("own.py:build", resize=32, crop=32)
preserve {target} on images/* kernels<=6 criterion=snip
"""


def own(here, target="two:1", kind="float", **changed):
    values = {"scale": "0.5", "shift": "0.5", "last": "1.0", **changed}
    (here / "own.py").write_text(OWN.format(kind=kind, **values))
    (here / "own.circuit").write_text(OWN_SPEC.format(target=target))
    return CliRunner().invoke(main, ["run", "own.circuit", "--allow-code"])


@pytest.mark.slow
def test_what_is_no_weight_has_a_say_too(here, numbers_alone):
    """A tensor that is an attribute, a buffer that isn't saved, a constant in the code: none is in a state dict."""

    def made():
        (path,) = (here / "runs" / "own").glob("*/circuit.json")
        numbers = json.loads(path.with_name("metrics.json").read_text())
        return json.loads(path.read_text())["provenance"]["identity"], numbers

    done = own(here)
    assert done.exit_code == 0, done.output
    seen = {made()[0]}
    assert "finished before" in own(here).output
    for changed in ("scale", "shift", "last"):
        # Within the same second, and as long as it was.
        other = own(here, **{changed: "7.0"})
        assert "finished before" not in other.output
        seen.add(made()[0])
    assert len(seen) == 4
    assert not (here / "__pycache__").exists()
    # Nor is anything of the others in the cache taken for its own.
    with_cache = made()[1]
    shutil.rmtree(here / "runs")
    CliRunner().invoke(main, ["cache", "--clear"])
    assert own(here, last="7.0").exit_code == 0
    assert made()[1] == with_cache


def test_a_network_in_another_precision_is_run_in_single(here, numbers_alone):
    assert own(here, kind="double").exit_code == 0


@pytest.mark.parametrize("command", [["run"], ["plan"], ["check", "--deep"]])
def test_a_target_before_all_layers_has_no_circuit(here, command):
    own(here, target="pool:1")
    said = CliRunner().invoke(main, [*command, "own.circuit", "--allow-code"])
    assert said.exit_code == 1
    assert "E308" in said.output
    assert "no layer lies on the way to 'pool'" in said.output


@pytest.mark.slow
def test_a_lock_knows_the_code_of_a_network_of_ones_own(here):
    own(here)
    assert CliRunner().invoke(main, ["lock", "own.circuit", "--allow-code"]).exit_code == 0
    locked = ["run", "own.circuit", "--locked", "--allow-code"]
    assert CliRunner().invoke(main, locked).exit_code == 0
    (here / "own.py").write_text((here / "own.py").read_text().replace("torch.relu", "torch.tanh"))
    refused = CliRunner().invoke(main, locked)
    assert refused.exit_code == 1
    assert "E343" in refused.output
    assert "does not compute what it did" in refused.output


def test_a_layer_behind_an_obstacle_is_known_by_its_name(here):
    (here / "own.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(8, 4, 1)\n"
        "    def forward(self, x):\n"
        "        again = nn.functional.conv2d(x, self.one.weight, None, 2)\n"
        "        return self.two(torch.cat([self.one(x)[:, :, ::2, ::2], again], 1))\n"
        "def build(): return Net()\n"
    )
    (here / "own.circuit").write_text(OWN_SPEC.format(target="conv2:1"))
    said = CliRunner().invoke(main, ["run", "own.circuit", "--allow-code"])
    assert "can't be followed through conv2d" in said.output
    assert "E102" not in said.output
