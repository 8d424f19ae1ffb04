"""`check --deep`: everything a run would trip over, found without weights and without writing; and what is remembered
of the models that were looked at."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torchvision import models

from circuitlang import pipeline
from circuitlang.bundled.layers import layers
from circuitlang.bundled.network import build
from circuitlang.cli.main import main
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.models import layer_index
from circuitlang.engine.runtime.model_loading import outline, read_model
from circuitlang.plan.layers import model_key
from circuitlang.plan.model import Model

SPEC = "preserve {} on images/dogs/* kernels<=5\n"


@pytest.fixture
def here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures to stand in, and no way to download."""
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", forbidden)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", forbidden)
    return here


def forbidden(*_: object, **__: object) -> None:
    raise AssertionError("nothing may be downloaded")


def check(text: str, *options: str, code: int = 0) -> str:
    Path("spec.circuit").write_text(text)
    result = CliRunner().invoke(main, ["check", "spec.circuit", *options])
    assert result.exit_code == code, result.output
    return result.stdout


def found(text: str, *options: str) -> list[tuple[str, str]]:
    """Codes with the words they are about."""
    Path("spec.circuit").write_text(text)
    result = CliRunner().invoke(main, ["check", "spec.circuit", "--format", "json", *options])
    lines = text.splitlines()
    return [
        (each["code"], lines[each["start"]["line"] - 1][each["start"]["column"] - 1 : each["end"]["column"] - 1])
        for each in json.loads(result.stdout)
    ]


def test_what_is_sound_passes_and_leaves_nothing_behind(here):
    before = sorted(here.rglob("*"))
    assert "2 circuits, no mistakes" in check(SPEC.format("conv5:34") + SPEC.format("relu2:3"), "--deep")
    assert sorted(here.rglob("*")) == sorted([*before, here / "spec.circuit"])


def test_a_model_of_torchvision_needs_no_weights(here):
    text = "model squeezenet1_1\n" + SPEC.format("conv1:63") + SPEC.format("features.1:3")
    assert "2 circuits, no mistakes" in check(text, "--deep")


def test_everything_is_said_at_once_at_its_place(here):
    (here / "images" / "broken.png").write_bytes(b"nonsense")
    text = (
        "model alexnet\n"
        "images cats = images/cats/*\n"
        "preserve conv9:3 on cats kernels<=1\n"
        "preserve features.0:64 on images/*.png kernels<=1\n"
        "preserve conv1:3 on images/*.gif kernels<=1\n"
    )
    expected = [
        ("E302", "images/cats/*"),
        ("E102", "conv9"),
        ("E111", "64"),
        ("E303", "images/*.png"),
        ("E301", "images/*.gif"),
    ]
    assert found(text, "--deep") == expected
    # Also where the layers are remembered, and plain `check` would stop at them.
    assert found(text) == expected[1:3]
    assert found(text, "--deep") == expected


def test_pictures_are_looked_at_where_the_model_is_wrong(here):
    (here / "images" / "broken.png").write_bytes(b"nonsense")
    text = "model alexnt\npreserve conv1:3 on images/*.png kernels<=1\n"
    assert found(text, "--deep") == [("E109", "alexnt"), ("E303", "images/*.png")]
    # Names of models are known without loading any.
    assert found(text) == [("E109", "alexnt")]


def test_mistakes_of_the_text_come_first_and_all_of_them(here):
    assert found(SPEC.format("conv9:3") + "presrve\n", "--deep") == [("E102", "conv9"), ("E001", "presrve")]


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_weights_files_are_held_against_the_model(here, ending):
    text = f'model bundled.doodle(weights="w.{ending}")\n' + SPEC.format("conv5:3")
    said = [("E304", "bundled.doodle")]
    assert found(text, "--deep") == said
    state = build().state_dict()
    save(state, ending)
    assert found(text, "--deep") == []
    save({**state, "conv1.weight": torch.zeros(16, 3, 5, 5)}, ending)
    assert "conv1.weight is 16x3x5x5, not 16x3x7x7" in check(text, "--deep", code=1)
    save({name: value for name, value in state.items() if name != "fc1.bias"}, ending)
    assert "missing: fc1.bias" in check(text, "--deep", code=1)
    Path(f"w.{ending}").write_bytes(b"nonsense")
    assert found(text, "--deep") == [("E306", "bundled.doodle")]


def save(state: dict[str, torch.Tensor], ending: str) -> None:
    if ending == "pt":
        torch.save(state, "w.pt")
    else:
        save_file(state, "w.safetensors")


def test_weights_that_would_run_code_are_refused(here):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(here / "harmed"),)

    torch.save({"conv1.weight": Harmful()}, "w.pt")
    text = 'model bundled.doodle(weights="w.pt")\n' + SPEC.format("conv5:3")
    assert found(text, "--deep") == [("E306", "bundled.doodle")]
    assert not (here / "harmed").exists()


@pytest.mark.slow
def test_published_weights_of_other_classes_do_not_fit(here):
    assert found("model alexnet(num_classes=3)\n" + SPEC.format("conv1:3"), "--deep") == [("E305", "alexnet")]
    assert found("model alexnet(num_classes=3, weights=none)\n" + SPEC.format("fc3:2"), "--deep") == []


@pytest.mark.slow
def test_a_plan_is_looked_at_as_its_spec_is(here):
    plan = CliRunner().invoke(main, ["plan", "--yaml", "-e", "model alexnet\n" + SPEC.format("conv9:1")]).stdout
    Path("plan.yaml").write_text(plan)
    result = CliRunner().invoke(main, ["check", "--deep", "plan.yaml"])
    assert result.exit_code == 1
    assert re.search(r"E102.*\n +--> plan.yaml:\d+:\d+\n(.*\n)+.*layer: conv9\n +\| +\^\^\^\^\^ ", result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet", "mobilenet_v3_small", "regnet_x_400mf"])
def test_an_outline_has_the_layers_of_the_network(name):
    _, outlined = read_model(Model("torchvision", name, {}), Path(), outline)
    real = trace(
        models.get_model(name, weights=None, **({"init_weights": False} if name == "googlenet" else {})), (224, 224)
    )
    assert outlined.layers == real.layers
    assert outlined.widths() == real.widths()


def test_the_bundled_network_is_known_by_every_name_its_targets_may_have():
    graph = trace(build(), (64, 64))
    assert layers().widths == graph.widths()
    assert layers().short == tuple(layer.name for layer in graph.layers)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["run"], ["check", "--deep"], ["layers"]], ids=" ".join)
def test_a_model_that_was_looked_at_is_known_to_check(here, command):
    text = "model alexnet(weights=none)\n" + SPEC.format("conv9:1") + SPEC.format("features.0:64")
    assert found(text) == []
    subject = "alexnet" if command == ["layers"] else "spec.circuit"
    CliRunner().invoke(main, [*command, subject])
    assert found(text) == [("E102", "conv9"), ("E111", "64")]
    assert "alexnet has conv1, conv2, conv3, conv4, conv5, fc1, fc2 and fc3" in check(text, code=1)
    assert found(text.replace("conv9", "features.6").replace(":64", ":63")) == []
    assert found(text.replace("none", "DEFAULT, crop=200")) == found(text)
    assert found(text.replace("weights=none", "weights=none, num_classes=3")) == []


@pytest.mark.parametrize("arguments", ["weights=none", "resize=128, crop=128"])
def test_patterns_match_the_layers_of_a_model_that_was_looked_at_with_arguments(here, arguments):
    text = f"model alexnet({arguments})\npreserve features.*:* on images/dogs/* keep<=5%\n"
    assert found(text) == [("E114", "features.*")]
    CliRunner().invoke(main, ["layers", f"alexnet({arguments})"])
    assert "1152 circuits, no mistakes" in check(text)
    # The shapes of other images than its own are not taken for those of the model.
    assert "55x55" in CliRunner().invoke(main, ["layers", "alexnet"]).output
    assert "1152 circuits, no mistakes" in check(text)


def cache() -> Path:
    return Path(os.environ["CIRCUITLANG_CACHE"])


def remember() -> Path:
    read_model(Model("torchvision", "alexnet", {}), Path(), outline)
    (path,) = layer_index.folder().glob("*.json")
    return path


def test_what_is_damaged_is_passed_over_and_written_again(here):
    path = remember()
    good = path.read_bytes()
    assert "torchvision.alexnet" in pipeline.vocabulary().layers
    for bad in (b"", b"[1]", good[:-9], b'{"key": 3}', b"\xff"):
        path.write_bytes(bad)
        assert set(pipeline.vocabulary().layers) == {"bundled.doodle"}
        check("model alexnet\n" + SPEC.format("conv9:1"))
    assert remember().read_bytes() == good
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_another_version_of_what_builds_the_model_is_another_model():
    path = remember()
    path.write_bytes(path.read_bytes().replace(b'"version":"', b'"version":"0.0.'))
    assert "torchvision.alexnet" not in layer_index.LayerIndex({})


def test_models_of_files_are_not_remembered():
    layer_index.remember(Model("no-such-package", "x", {}), {"conv1": 3}, ["conv1"])
    assert not cache().exists()


@pytest.mark.slow
def test_a_cache_that_can_not_be_written_does_no_harm(here):
    cache().parent.mkdir(parents=True, exist_ok=True)
    cache().write_text("a file is in the way")
    assert "no mistakes" in check("model alexnet\n" + SPEC.format("conv1:1"), "--deep")


def test_lists_and_tuples_of_arguments_are_the_same_model():
    assert model_key("s", "n", {"a": (1, 2), "weights": "w"}) == model_key("s", "n", {"a": [1, 2]}) == "s.n(a=[1, 2])"
