"""Weights as people have them: prefixes, envelopes, old names, other types; and files that mean harm."""

from __future__ import annotations

import argparse
import html
import json
import pickle
import re
import sys
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchvision import models

import circuitlang
from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.base.source import Source
from circuitlang.engine.models.checkpoint_reader import Checkpoint, is_file, read
from circuitlang.engine.models.state_dicts import fill


class Net(nn.Module):
    """A network with a batch norm, whose tensors are all different."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Linear(4, 5)


def net(seed: int = 0) -> Net:
    module, generator = Net(), torch.Generator().manual_seed(seed)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    return module


def state(seed: int = 0) -> dict[str, Tensor]:
    return net(seed).state_dict()


def prefixed(prefix: str, seed: int = 0) -> dict[str, Tensor]:
    return {f"{prefix}{key}": each for key, each in state(seed).items()}


def saved(content: object, path: Path, old: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


def loaded(content: object, folder: Path, wanted: str | None = None) -> tuple[dict[str, Tensor], str]:
    """What a network has after a file was loaded, and the note of it."""
    module = net(7)
    note = fill(module, read(saved(content, folder / "w.pt")), wanted)
    return module.state_dict(), note


def refused(content: object, folder: Path, wanted: str | None = None) -> Finding:
    with pytest.raises(InputError) as caught:
        loaded(content, folder, wanted)
    (finding,) = caught.value.findings
    return finding


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one if not key.endswith("num_batches_tracked"))


PLAIN = {
    "nothing else": (state(), ""),
    "no counters": ({key: each for key, each in state().items() if "num_batches" not in key}, ""),
    "DataParallel": (prefixed("module."), "'module.' removed from the names"),
    "compiled": (prefixed("_orig_mod."), "'_orig_mod.' removed from the names"),
    "both": (prefixed("module._orig_mod."), "'module._orig_mod.' removed from the names"),
    "Lightning": (
        {"state_dict": prefixed("model."), "epoch": 3},
        "taken from 'state_dict', 'model.' removed from the names",
    ),
    "with a loss": (
        {"state_dict": {**prefixed("model."), "criterion.weight": torch.ones(3)}},
        "taken from 'state_dict', 'model.' removed from the names, 1 other tensors left out, as criterion.weight",
    ),
    "a part in DataParallel": (
        {key.replace("features.", "features.module."): each for key, each in state().items()},
        "'module.' removed from the names",
    ),
    "an average": (
        AveragedModel(net()).state_dict(),
        "'module.' removed from the names, 1 other tensors left out, as n_averaged",
    ),
    "settings beside it": (
        {
            "net": state(), "args": argparse.Namespace(lr=1.0, path=Path("x")), "best": np.float64(0.5),
            "seen": defaultdict(list, {"a": [1]}), "steps": {1: "x"}, "bytes": b"\xff\x00",
        },
        "taken from 'net'",
    ),
    "deep": ({"a": {"b": {"c": prefixed("module.")}}}, "taken from 'a.b.c', 'module.' removed from the names"),
}  # fmt: skip
for word in ("model", "network", "ema", "model_ema", "state_dict_ema", "model_state", "model_state_dict", "params"):
    PLAIN[word] = ({word: state(), "optimizer": {"state": {0: {"step": torch.ones(())}}}}, f"taken from '{word}'")


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize("name", PLAIN)
def test_the_state_dict_that_fits_is_found_and_said(tmp_path, name, old):
    content, note = PLAIN[name]
    module = net(7)
    assert fill(module, read(saved(content, tmp_path / "w.ckpt", old))) == note
    assert same(state(), module.state_dict())
    with torch.device("meta"):
        hollow = Net()
        assert fill(hollow, read(tmp_path / "w.ckpt")) == note
    assert all(each.is_meta for each in hollow.state_dict().values())


def test_settings_of_trainers_that_are_not_installed_are_passed_over(tmp_path, monkeypatch):
    name = "pytorch_lightning.utilities.parsing"
    module = ModuleType(name)
    kind = type("AttributeDict", (dict,), {"__module__": name})
    module.AttributeDict = kind
    with monkeypatch.context() as patch:
        for each in (name.split(".")[0], name.rpartition(".")[0], name):
            patch.setitem(sys.modules, each, module)
        saved({"state_dict": prefixed("net."), "hyper_parameters": kind(lr=1.0)}, tmp_path / "w.pt")
    assert fill(net(7), read(tmp_path / "w.pt")) == "taken from 'state_dict', 'net.' removed from the names"


BOTH = {"net": state(0), "ema": prefixed("module.", 1), "epoch": 3}
BESIDE = {**state(0), **prefixed("ema.", 1)}


@pytest.mark.parametrize(("content", "names"), [(BOTH, ["net", "ema.module"]), (BESIDE, [".", "ema"])])
def test_which_of_several_state_dicts_is_meant_is_asked(tmp_path, content, names):
    finding = refused(content, tmp_path)
    assert (finding.code, finding.message) == ("E315", "'w.pt' holds 2 state dicts that fit")
    assert finding.label == f'they are "{names[0]}" and "{names[1]}"'
    for seed, name in enumerate(names):
        assert same(state(seed), loaded(content, tmp_path, name)[0])
    assert same(state(1), loaded(content, tmp_path, "ema")[0])
    finding = refused(content, tmp_path, "emma")
    assert finding.code == "E315"
    assert finding.help == f"did you mean '{names[1]}'?" or names[1] != "ema"


def test_the_same_tensors_by_two_names_are_no_question(tmp_path):
    content = {"model": state(), "best": state()}
    assert refused(content, tmp_path).code == "E315"
    one = state()
    assert same(one, loaded({"model": one, "best": dict(one)}, tmp_path)[0])


def test_a_state_dict_that_is_asked_for_must_fit(tmp_path):
    content = {"net": state(), "small": {"fc.weight": torch.ones(2, 4)}}
    finding = refused(content, tmp_path, "small")
    assert (finding.code, finding.message) == ("E305", "'w.pt' (in 'small') does not fit the model Net")
    assert "fc.weight is 2x4, not 5x4" in finding.label
    assert same(state(), loaded(content, tmp_path)[0])


CONVERTED = (torch.float64, torch.float16, torch.bfloat16)


@pytest.mark.parametrize("kind", CONVERTED)
def test_other_precisions_are_loaded(tmp_path, kind):
    content = {key: each.to(kind) if each.is_floating_point() else each for key, each in state().items()}
    found, note = loaded(content, tmp_path)
    assert note == ""
    assert all(torch.equal(found[key], each.to(found[key].dtype)) for key, each in content.items())


def with_weight(make: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {**state(), "fc.weight": make(state()["fc.weight"])}


ODD = {
    "bool": (lambda w: w > 0.5, "fc.weight is bool, not float32"),
    "int": (lambda w: w.to(torch.int64), "fc.weight is int64, not float32"),
    "byte": (lambda w: w.to(torch.uint8), "fc.weight is uint8, not float32"),
    "complex": (lambda w: w.to(torch.complex64), "fc.weight is complex64, not float32"),
    "fp8": (lambda w: w.to(torch.float8_e4m3fn), "fc.weight is float8_e4m3fn, not float32"),
    "sparse": (lambda w: w.to_sparse(), "fc.weight is sparse"),
    "csr": (lambda w: w.to_sparse_csr(), "fc.weight is sparse"),
    "meta": (lambda w: w.to("meta"), "fc.weight has no content"),
    "quantised": (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), "fc.weight is quantised"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ODD)
def test_weights_of_other_types_are_refused_by_name(tmp_path, name):
    make, label = ODD[name]
    finding = refused(with_weight(make), tmp_path)
    assert (finding.code, finding.label) == ("E305", label)
    if name in ("bool", "int", "byte", "complex", "fp8"):
        save_file(with_weight(make), tmp_path / "w.safetensors")
        for place in ("cpu", "meta"):
            with torch.device(place), pytest.raises(InputError) as caught:
                fill(Net(), read(tmp_path / "w.safetensors"))
            assert caught.value.findings[0].label == label


def test_a_count_may_be_of_any_integer_type_but_no_float(tmp_path):
    key = "features.1.num_batches_tracked"
    assert same(state(), loaded({**state(), key: torch.tensor(3, dtype=torch.int32)}, tmp_path)[0])
    assert refused({**state(), key: torch.tensor(3.0)}, tmp_path).label == f"{key} is float32, not int64"


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ({1: torch.ones(2)}, "tensors under 1, which is no name"),
        ({"a": 1, "b": {"c": [torch.ones(2)]}}, "a and b"),
        ([torch.ones(2)], "a list"),
        (torch.ones(2), "a Tensor"),
        ({}, "nothing"),
    ],
)
def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path, content, held):
    finding = refused(content, tmp_path)
    assert (finding.code, finding.label) == ("E306", f"it holds {held}")


def test_views_and_shared_tensors_are_loaded_by_their_values(tmp_path):
    weight = torch.arange(40.0).reshape(8, 5).t()[:, ::2]
    content = {**state(), "fc.weight": weight, "fc.bias": torch.ones(()).expand(5)}
    found, _ = loaded(content, tmp_path)
    assert torch.equal(found["fc.weight"], weight)
    assert torch.equal(found["fc.bias"], torch.ones(5))


def test_what_hooks_of_modules_accept_is_accepted():
    module = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    content = {"weight_g": torch.ones(2, 1), "weight_v": torch.full((2, 3), 2.0), "bias": torch.zeros(2)}
    assert fill(module, Checkpoint("w.pt", content, {})) == ""
    assert torch.equal(module.parametrizations.weight.original1, content["weight_v"])


# Published files.


def published(name: str) -> OrderedDict[str, Tensor]:
    """The names and shapes of a published file of torchvision, without values."""
    with torch.device("meta"):
        module = models.get_model(name, weights=None)
        if name == "mnasnet0_5":
            _as_version_1(module)
        found = module.state_dict()
    for key in list(found):
        if key.endswith("num_batches_tracked") and not name.startswith(("mnasnet", "googlenet", "inception")):
            del found[key]
        elif ".denselayer" in key:
            before, _, after = key.partition(".denselayer")
            number, part, rest = after.split(".", 2)
            found[f"{before}.denselayer{number}.{part[:-1]}.{part[-1]}.{rest}"] = found.pop(key)
    return found


def _as_version_1(module: nn.Module) -> None:
    """The stem that MNASNet had in its first version, which torchvision still loads."""
    stem = [
        nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1, 1, 32, False),
        nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 16, 1, bias=False), nn.BatchNorm2d(16),
    ]  # fmt: skip
    for number, layer in enumerate(stem):
        module.layers[number] = layer
    first = module.layers[8][0].layers
    first[0] = nn.Conv2d(16, 48, 1, bias=False)
    first[1] = nn.BatchNorm2d(48)
    first[3] = nn.Conv2d(48, 48, 3, 2, 1, 1, 48, False)
    first[4] = nn.BatchNorm2d(48)
    first[6] = nn.Conv2d(48, module.layers[8][0].layers[6].out_channels, 1, bias=False)
    module._version = 1


FAMILIES = (
    "resnet18", "resnext50_32x4d", "densenet121", "vgg11_bn", "vgg16", "alexnet", "squeezenet1_1", "inception_v3",
    "googlenet", "mobilenet_v2", "shufflenet_v2_x1_0", "mnasnet0_5", "mnasnet1_0",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FAMILIES)
def test_published_names_of_every_age_fit(name):
    content = published(name)
    with torch.device("meta"):
        module = models.get_model(name, weights=None)
        assert fill(module, Checkpoint("w.pth", content, {})) == ""
    if name == "mnasnet0_5":
        assert module.layers[0].out_channels == 32


def test_old_names_carry_their_values():
    module = models.DenseNet(4, (2, 2), 4, num_classes=3)
    content = {key: torch.rand_like(each) for key, each in module.state_dict().items() if each.is_floating_point()}
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): each for key, each in content.items()}
    assert old.keys() != content.keys()
    fill(module, Checkpoint("w.pth", {"state_dict": {f"module.{key}": each for key, each in old.items()}}, {}))
    assert all(torch.equal(module.state_dict()[key], each) for key, each in content.items())


# Files that mean harm.


class Harmful:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


class Settings:
    pass


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize(
    ("held", "said"),
    [
        (Harmful(Path.touch, Path("ran")), "builtins.getattr"),
        (Harmful(eval, "open('ran', 'w')"), "builtins.eval"),
        (Settings(), "tests.engine.models.test_checkpoints.Settings"),
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (Harmful(bytearray, 1 << 40), "builtins.bytearray"),
    ],
)
def test_objects_are_refused_by_name_and_nothing_runs(tmp_path, monkeypatch, held, said, old):
    monkeypatch.chdir(tmp_path)
    saved({"net": state(), "held": held}, tmp_path / "w.pt", old)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "w.pt")
    (finding,) = caught.value.findings
    assert finding.code == "E306"
    assert said in finding.label
    assert "state_dict" in finding.help
    assert not (tmp_path / "ran").exists()


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def no_change(_records: dict[str, bytes]) -> None:
    pass


def test_what_expands_is_refused(tmp_path):
    path = saved({"x": torch.zeros(1 << 20)}, tmp_path / "w.pt")
    rewritten(path, no_change, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 14
    with pytest.raises(InputError) as caught:
        read(path)
    assert "is compressed" in caught.value.findings[0].label


def test_a_module_of_torch_jit_is_refused(tmp_path):
    path = tmp_path / "w.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.findings[0].label == "it is a module of torch.jit, with code"


def test_parts_that_overlap_are_refused(tmp_path):
    path = saved({"x": torch.zeros(1 << 10), "y": torch.zeros(1 << 10)}, tmp_path / "w.pt")
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.infolist()[-1]
        for number in range(200):
            twin = zipfile.ZipInfo(f"w/data/{number + 10}")
            twin.header_offset, twin.file_size, twin.compress_size = first.header_offset, 4096, 4096
            twin.CRC = first.CRC
            archive.filelist.append(twin)
        archive._didModify = True
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.findings[0].label == "its parts overlap"


def test_bytes_that_are_encoded_again_and_again_are_refused(tmp_path):
    stream = b"\x80\x02c_codecs\nencode\nq\x00X\x01\x00\x00\x00xX\x06\x00\x00\x00latin1\x86R"
    for _ in range(40):
        stream = stream[:2] + b"c_codecs\nencode\n" + stream[2:] + b"X\x03\x00\x00\x00hex\x86R"
    path = saved({"x": torch.zeros(4)}, tmp_path / "w.pt")
    rewritten(path, lambda records: records.update({"w/data.pkl": stream + b"."}))
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.findings[0].label == "its bytes are not written as torch.save writes them"


def test_a_tensor_that_is_longer_than_its_record_is_refused(tmp_path):
    path = saved({"x": torch.zeros(16, dtype=torch.int8)}, tmp_path / "w.pt")

    def longer(records: dict[str, bytes]) -> None:
        records["w/data.pkl"] = records["w/data.pkl"].replace(b"K\x10", b"J\x00\x00\x00\x40")

    rewritten(path, longer)
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.findings[0].code == "E306"


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", b"PK\x03\x04", b"\x80\x04\x95", b"\x00" * 600, pickle.dumps({"a": 1}), b"8" * 7 + b"\x00{"],
)
@pytest.mark.parametrize("ending", [".pt", ".safetensors", ".pth.tar"])
def test_what_is_no_file_of_weights_is_refused(tmp_path, content, ending):
    path = tmp_path / f"w{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.findings[0].code == "E306"


@pytest.mark.parametrize("metadata", [[], 3, "x", {"classes": 3}, {"classes": ["a"]}, {"classes": {}}])
def test_odd_metadata_is_refused(tmp_path, metadata):
    header = json.dumps({"__metadata__": metadata}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.findings[0].code == "E306"


def test_a_safetensors_file_is_known_by_its_content(tmp_path):
    save_file(state(), tmp_path / "model.bin")
    module = net(7)
    fill(module, read(tmp_path / "model.bin"))
    assert same(state(), module.state_dict())


@pytest.mark.parametrize("name", ["a" * 300, "x\x00y", "loop", "folder", "missing.pt"])
def test_a_path_that_is_no_file_is_a_finding(tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as caught:
        read(tmp_path / name)
    assert caught.value.findings[0].code == "E304"


def test_what_names_a_file(tmp_path):
    (tmp_path / "plain").touch()
    assert all(is_file(name, tmp_path / name) for name in ("a.ckpt", "b.pth.tar", "c.bin", "d.PTH", "x/y", "plain"))
    assert not any(is_file(name, tmp_path / name) for name in ("IMAGENET1K_V1", "none", "a1_in1k"))


def test_tensors_that_are_not_wanted_are_not_read(tmp_path):
    """An optimizer's state is often twice as large as the weights."""
    path = saved({"net": state(), "optimizer": {"state": {0: {"exp_avg": torch.zeros(1 << 22)}}}}, tmp_path / "w.pt")
    found = read(path)
    # Linux tells what is mapped into memory.
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(path) in maps.read_text()
    assert found.name == "w.pt"


def test_how_weights_were_found_is_said_wherever_they_are_used(tmp_path, numbers_alone):
    from circuitlang.bundled.network import build
    from circuitlang.pipeline import compile_source, forecast, list_layers
    from circuitlang.reporting.text.circuit_sentences import notes
    from tests.conftest import draw_pictures
    from tests.helpers.outcomes import outcomes

    draw_pictures(tmp_path, "dogs", 3)
    torch.save({"state_dict": {f"module.{key}": each for key, each in build().state_dict().items()}}, tmp_path / "w.pt")
    model = f'bundled.doodle(weights="{tmp_path / "w.pt"}")'
    spec = f"model {model}\npreserve conv2:3 on images/dogs/* kernels<=6 criterion=magnitude"
    (tmp_path / "spec.circuit").write_text(spec)
    source = Source("spec.circuit", spec, tmp_path)
    (outcome,) = outcomes(source, tmp_path / "runs")
    (note,) = outcome.result.summary.provenance.weights_notes
    assert "state_dict" in note
    assert "module." in note
    assert any(note in each for each in notes(outcome.result.summary))
    assert forecast(compile_source(source), tmp_path / "runs").weights_notes == (note,)
    made = circuitlang.run(tmp_path / "spec.circuit", tmp_path / "runs")
    assert [each.label for each in made.notes] == [note]
    assert any(note in each for each in made[0].notes)
    assert note in html.unescape((made.folder / "index.html").read_text())
    _, (finding,) = list_layers(model)
    assert (finding.code, finding.label) == ("W305", note)
