"""Arguments of model statements: nothing, names, classes, and what builders make of odd ones."""

from __future__ import annotations

import json
import random
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from circuitlang.base.diagnostics import Finding, InputError, SpecError
from circuitlang.base.source import Source
from circuitlang.engine.graph.channel_nodes import ChannelNode
from circuitlang.engine.graph.targets import resolve
from circuitlang.engine.models import construction
from circuitlang.engine.models.sources import torchvision as source
from circuitlang.engine.models.weights import fingerprint
from circuitlang.engine.runtime.model_loading import load_model, outline
from circuitlang.pipeline import compile_source, list_layers
from circuitlang.plan.model import ClassOutput, Model
from circuitlang.plan.yaml import read_plan, write_plan
from tests.helpers.fuzzing import ODD, all_night, survives

LINE = "\npreserve conv1:1 on pics/* kernels<=3\n"


def compiled(model: str) -> Model:
    return compile_source(Source("a.circuit", f"model {model}{LINE}")).plan.model


def refusal(model: Model, folder: Path = Path(), allow_code: bool = False) -> Finding:
    with pytest.raises(InputError) as caught:
        load_model(model, folder, allow_code)
    (finding,) = caught.value.findings
    return finding


# Nothing.


def test_none_is_nothing_and_in_quotes_a_word():
    model = compiled('resnet18(weights=none, norm_layer=none, a="none", b=[none, true, 2], c=false, d=[])')
    given = {"weights": "none", "norm_layer": None, "a": "none", "b": [None, True, 2], "c": False, "d": []}
    assert model.arguments == given
    assert str(model).startswith("torchvision.resnet18(weights=none, norm_layer=none, a=none")


def test_a_plan_keeps_what_is_nothing():
    plan = compile_source(Source("a.circuit", f'model resnet18(weights=none, x=none, y=[none], z=""){LINE}')).plan
    again, _ = read_plan(Source("plan.yaml", write_plan(plan)))
    assert again.model == plan.model
    assert again.identity(again.circuits[0]) == plan.identity(plan.circuits[0])


def test_plans_without_it_are_as_they_were():
    """The hash under which circuits that were found before are known."""
    text = f"model resnet18(weights=none, num_classes=10, resize=32, mean=[0, 0, 0]){LINE.rstrip()} criterion=actgrad"
    plan = compile_source(Source("a.circuit", text)).plan
    assert plan.identity(plan.circuits[0]) == "ce9cb8c6c58a07533c2f8e90eae07eae66738966d44bf7bd344b70e6dad4fd2b"


@pytest.mark.parametrize(
    "model",
    [
        "x(output=-1)",
        "x(output=1.5)",
        "x(output=[1])",
        "x(state=3)",
        "x(output=99999999999999999999)",
    ],
)
def test_own_arguments_of_the_wrong_kind_are_mistakes(model):
    with pytest.raises(SpecError):
        compiled(model)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever asks for the network fails the test."""

    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"weights_backbone": None}, {"weights_backbone": "IMAGENET1K_V1"}, {"weights": "none"}],
)
def test_layers_are_told_without_the_network(offline, arguments):
    model = Model("torchvision", "lraspp_mobilenet_v3_large", arguments)
    assert all(each.is_meta for each in outline(model, Path()).module.parameters())


@pytest.mark.slow
def test_no_weights_are_none_of_the_backbone_either(offline):
    loaded = load_model(compiled("lraspp_mobilenet_v3_large(weights=none)"), Path())
    again = load_model(compiled("lraspp_mobilenet_v3_large(weights=none, weights_backbone=none)"), Path())
    assert fingerprint(loaded.module) == fingerprint(again.module)
    assert list_layers("lraspp_mobilenet_v3_large(weights=none, resize=32, crop=32)")


def test_a_backbone_whose_weights_can_not_be_had_is_a_finding(monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no connection")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fails)
    finding = refusal(compiled('lraspp_mobilenet_v3_large(weights=none, weights_backbone="IMAGENET1K_V1")'))
    assert finding.code == "E304"
    assert "no connection" in finding.label
    finding = refusal(compiled('lraspp_mobilenet_v3_large(weights=none, weights_backbone="IMAGENET9")'))
    assert finding.code == "E307"


def test_a_builder_of_ones_own_is_given_nothing_and_lists(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build(norm, dilation, name):\n"
        "    assert norm is None and dilation == [False, None, 2] and name == 'none'\n"
        "    return nn.Conv2d(3, 4, 3)\n"
    )
    model = compiled('python("net.py:build", norm=none, dilation=[false, none, 2], name="none", resize=32, crop=32)')
    assert isinstance(load_model(model, tmp_path, allow_code=True).module, nn.Conv2d)


# What builders raise.

RAISE = {
    "resnet18(weights=none, num_classes=-1)": "E307",
    "mobilenet_v2(weights=none, width_mult=1e300)": "E307",
    "mobilenet_v2(weights=none, round_nearest=0)": "E307",
    "vit_b_16(weights=none, image_size=3)": "E307",
    "resnet18(weights=3)": "E202",
    "resnet18(weights=true)": "E202",
    "raft_large(weights=none)": "E308",
    "fasterrcnn_resnet50_fpn(weights=none)": "E308",
    "r3d_18": "E308",
    "quantized_resnet18": "E308",
    'resnet18(weights=none, norm_layer="x")': "E307",
    "resnet18(weights=none, groups=0)": "E307",
    "resnet18(weights=none, block=none)": "E307",
    "resnet18(weights=none, num_classes=100000000000)": "E307",
    "resnet18(weights=none, state=ema)": "E315",
    "bundled.doodle(weights=none)": "E304",
    "bundled.doodle(weights=3)": "E202",
    "bundled.doodle(classes=3)": "E105",
}


@pytest.mark.parametrize("model", RAISE)
def test_whatever_a_builder_raises_is_a_finding(model):
    assert refusal(compiled(model)).code == RAISE[model]


@pytest.mark.parametrize(
    "error",
    [RecursionError, MemoryError, OverflowError, KeyError("x"), SystemExit(3), ZeroDivisionError, Exception("a\nb")],
)
def test_errors_of_every_class_are_findings(monkeypatch, error):
    def build(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(construction, "fits", lambda *_: None)
    monkeypatch.setattr(source.models, "get_model", build)
    assert refusal(Model("torchvision", "resnet18", {"weights": "none"})).code == "E307"


def test_an_error_that_can_not_be_written_is_a_finding(tmp_path):
    (tmp_path / "net.py").write_text(
        "class Odd(Exception):\n    def __str__(self):\n        raise ValueError('no')\ndef build():\n    raise Odd\n"
    )
    finding = refusal(Model("python", "net.py:build", {}), tmp_path, allow_code=True)
    assert (finding.code, finding.message) == ("E307", "'net.py:build' can't be built: Odd")


@pytest.mark.parametrize("name", ["a" * 300, "x\x00", "loop", "."])
def test_a_path_that_is_no_python_file_is_a_finding(tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(Model("python", f"{name}:build", {}), tmp_path, allow_code=True).code == "E304"


def _arguments(dice: random.Random, words: tuple[str, ...]) -> dict[str, Any]:
    small = (
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3,
        7,
        0.5,
        -0.5,
        1e300,
        float("inf"),
        float("nan"),
        "x",
        "none",
        [],
        [1, 2],
    )
    given = {word: dice.choice((*small, *ODD)) for word in dice.sample(words, dice.randint(1, 3))}
    return {word: value for word, value in given.items() if not isinstance(value, dict)}


BUILDERS = {
    "resnet18": (
        "num_classes",
        "groups",
        "width_per_group",
        "norm_layer",
        "replace_stride_with_dilation",
        "weights",
        "state",
    ),
    "mobilenet_v2": ("width_mult", "round_nearest", "dropout", "block", "inverted_residual_setting", "weights"),
    "squeezenet1_1": ("num_classes", "dropout", "version", "progress"),
    "shufflenet_v2_x0_5": ("num_classes", "stages_repeats", "inverted_residual"),
    "lraspp_mobilenet_v3_large": ("num_classes", "weights_backbone", "weights"),
}


def odd_arguments(number: int, seed: int) -> int:
    """Try some sets of odd arguments; the number of networks that could be built."""
    dice, built = random.Random(seed), 0
    for _ in range(number):
        name = dice.choice(sorted(BUILDERS))
        model = Model("torchvision", name, {"weights": "none", **_arguments(dice, BUILDERS[name])})
        built += survives(lambda model=model: outline(model, Path()))
    return built


@pytest.mark.slow
def test_odd_arguments_end_in_networks_or_findings(offline):
    assert odd_arguments(60, 0) > 3


@pytest.mark.nightly
def test_many_odd_arguments_end_in_networks_or_findings(offline):
    for seed in all_night():
        odd_arguments(50, seed)


# Classes.


def test_names_belong_to_weights_that_were_loaded(tmp_path):
    names = models.SqueezeNet1_1_Weights.DEFAULT.meta["categories"]
    model = Model("torchvision", "squeezenet1_1", {})
    assert outline(model, tmp_path).classes == tuple(names)
    assert load_model(compiled("squeezenet1_1(weights=none)"), tmp_path).classes == ()
    state = models.squeezenet1_1().state_dict()
    save_file(state, tmp_path / "mine.safetensors")
    assert load_model(compiled('squeezenet1_1(weights="mine.safetensors")'), tmp_path).classes == ()
    save_file(state, tmp_path / "named.safetensors", {"classes": json.dumps(["a"] * 1000)})
    assert load_model(compiled('squeezenet1_1(weights="named.safetensors")'), tmp_path).classes == ("a",) * 1000
    torch.save(state, tmp_path / "squeezenet1_1-b8a52dc0.pth")
    other = compiled('squeezenet1_1(weights="squeezenet1_1-b8a52dc0.pth")')
    assert load_model(other, tmp_path).classes == ()


def test_a_published_file_has_its_names_wherever_it_lies(tmp_path, monkeypatch):
    """It is told by its hash, whose beginning is in its name."""

    class Beginning:
        def update(self, _: bytes) -> None: ...

        def hexdigest(self) -> str:
            return "b8a52dc0" + "0" * 56

    torch.save(models.squeezenet1_1().state_dict(), tmp_path / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setattr(source, "sha256", Beginning)
    loaded = load_model(compiled('squeezenet1_1(weights="squeezenet1_1-b8a52dc0.pth")'), tmp_path)
    assert "goldfish" in loaded.classes


class _Head:
    """A graph with a head of some outputs."""

    def __init__(self, width: int) -> None:
        self.width = width

    def output(self, _wanted: object) -> ChannelNode:
        return ChannelNode("fc", self.width, (), "layer", None, None, 1, (self.width,))


def class_of(label: int | str, width: int, classes: tuple[str, ...]) -> Any:
    return resolve(ClassOutput(label), _Head(width), classes).units  # type: ignore[arg-type]


def test_names_count_only_for_a_head_of_as_many_outputs():
    names = tuple(models.ResNet18_Weights.DEFAULT.meta["categories"])
    assert class_of("golden_retriever", 1000, names) == (207,)
    for width, classes in ((10, names), (1000, ()), (1001, names), (999, names)):
        with pytest.raises(InputError) as caught:
            class_of("goldfish", width, classes)
        (finding,) = caught.value.findings
        assert (finding.code, finding.message) == ("E126", f"class names are not known for a head of {width} outputs")
        assert finding.help == f"give the class by its number, 0 to {width - 1}"


@pytest.mark.parametrize("number", [-1, 10, 207, 2**40])
def test_numbers_are_those_of_the_head(number):
    with pytest.raises(InputError) as caught:
        class_of(number, 10, ())
    assert caught.value.findings[0].label == "they are 0 to 9"
    assert class_of(9, 10, ()) == (9,)


def test_a_name_of_several_classes_is_refused_with_their_numbers():
    names = ("crane", "tabby", "Crane", "light_house", "light house")
    for word, numbers in (("crane", "0 and 2"), ("Light house", "3 and 4")):
        with pytest.raises(InputError) as caught:
            class_of(word, 5, names)
        (finding,) = caught.value.findings
        assert (finding.code, finding.label) == ("E126", f"they are {numbers}")


# The user's own module.

OWN = """
import sys
def build():
    return sys.modules["held_by_a_test"].module
"""


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("read", [load_model, outline])
def test_a_module_of_the_user_is_left_as_it_is(tmp_path, monkeypatch, kind, weights, read):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(kind)
    module.register_buffer("scale", torch.ones(2, dtype=kind), persistent=False)
    held = type(sys)("held_by_a_test")
    held.module = module
    monkeypatch.setitem(sys.modules, "held_by_a_test", held)
    (tmp_path / "net.py").write_text(OWN)
    save_file({key: torch.rand_like(each.float()) for key, each in module.state_dict().items() if each.dim()},
              tmp_path / "w.safetensors")  # fmt: skip
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    before = {key: (id(each), each.dtype, each.device, each.data_ptr(), each.clone()) for key, each in tensors.items()}
    arguments = {"weights": "w.safetensors"} if weights else {}
    loaded = read(Model("python", "net.py:build", {**arguments, "resize": 8, "crop": 8}), tmp_path, True)
    assert all(each.dtype == torch.float32 for each in loaded.module.parameters())
    after = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for key, (number, dtype, device, pointer, content) in before.items():
        each = after[key]
        assert (id(each), each.dtype, each.device, each.data_ptr()) == (number, dtype, device, pointer)
        assert torch.equal(each, content)
    assert module.training


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "[1, .inf]"])
def test_a_plan_has_no_numbers_that_its_hash_can_not_tell_from_nothing(value):
    text = write_plan(compile_source(Source("a.circuit", f"model resnet18(weights=none, x=3){LINE}")).plan)
    assert text.count("x: 3") == 1
    with pytest.raises(SpecError) as caught:
        read_plan(Source("plan.yaml", text.replace("x: 3", f"x: {value}")))
    (finding,) = caught.value.findings
    assert (finding.code, finding.message) == ("E311", "not a valid plan: a number is not finite")
