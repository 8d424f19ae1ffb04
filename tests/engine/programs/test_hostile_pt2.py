"""A stranger's program runs nothing, takes no more memory than networks do, and says nothing of another machine."""

from __future__ import annotations

import json
import shutil
import site
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import fx, nn

import circuitlang
from circuitlang.base.diagnostics import InputError
from circuitlang.cli.main import main
from circuitlang.engine.circuits.extraction.extractor import extract
from circuitlang.engine.circuits.extraction.packing import pack
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.models.sources.file import file
from circuitlang.engine.programs.aten_import import network
from circuitlang.engine.programs.interpreted import Interpreted
from circuitlang.engine.programs.pt2_reader import MOST_OPERATIONS, read_program
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.plugins.protocols import Edit
from circuitlang.results.manifest import SUMS, manifest
from tests.conftest import draw_pictures
from tests.engine.circuits.test_extraction import subnetwork

SIZE = 16
Change = Callable[[dict[str, Any]], None]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm2d(4), nn.PReLU(4))
        self.head = nn.Conv2d(4, 3, 1)
        self.register_buffer("scale", torch.rand(4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.interpolate(self.stem(x), scale_factor=2, mode="bilinear") * self.scale
        return self.head(nn.functional.gelu(nn.functional.pad(x, (1, 1, 1, 1), mode="reflect"), approximate="tanh"))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The records of a circuit's module in which nothing is wrong."""
    path = tmp_path_factory.mktemp("good") / "module.pt2"
    part = subnetwork(Net().eval(), "head", 0, 1, 2)
    edits = {name: Edit(mask) for name, mask in part.relevant.items()}
    path.write_bytes(pack(extract(part, edits), (3, SIZE, SIZE), Preprocess(SIZE, SIZE, (0.5,) * 3, (0.5,) * 3)))
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, records: dict[str, bytes], change: Change = lambda _: None) -> Path:
    """A program of some records, of which the JSON is changed."""
    decoded = {
        name.partition("/")[2]: json.loads(content) for name, content in records.items() if name.endswith(".json")
    }
    change(decoded)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            known = decoded.get(name.partition("/")[2])
            archive.writestr(name, content if known is None else json.dumps(known))
    return path


def model(found: dict[str, Any]) -> dict[str, Any]:
    return found["models/model.json"]["graph_module"]


def nodes(found: dict[str, Any]) -> list[dict[str, Any]]:
    return model(found)["graph"]["nodes"]


def renamed(value: Any, old: str, new: str) -> Any:
    """JSON with one text in the place of another, wherever it stands alone."""
    if isinstance(value, dict):
        return {renamed(key, old, new): renamed(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [renamed(each, old, new) for each in value]
    return new if value == old else value


def everywhere(old: str, new: str) -> Change:
    def change(found: dict[str, Any]) -> None:
        for name in found:
            found[name] = renamed(found[name], old, new)

    return change


def string(argument: str, text: str) -> Change:
    """An argument of that name of any operation becomes a text."""

    def change(found: dict[str, Any]) -> None:
        for node in nodes(found):
            for each in node["inputs"]:
                if each["name"] == argument:
                    each["arg"] = {"as_string": text}

    return change


def stack(path: str) -> Change:
    def change(found: dict[str, Any]) -> None:
        for node in nodes(found):
            node["metadata"]["nn_module_stack"] = f"a,{path},torch.nn.modules.conv.Conv2d"

    return change


def target(text: str) -> Change:
    def change(found: dict[str, Any]) -> None:
        nodes(found)[-1]["target"] = text

    return change


# Without a dot or a comma, at which texts are taken apart.
CALL = """exec("__import__('pathlib')"+chr(46)+"Path('ran')"+chr(46)+"touch()")"""
TEXTS = (
    f'training") if {CALL} else ("',
    f"a');{CALL};('", f"a\n    {CALL}\n", f"a\\\"),{CALL},(\"", f"a]; {CALL}", f"{{{CALL}}}",
    "__class__", "forward", "_modules", "graph", "a" * 500, ".".join("a" * 100), "", ".", "a..b",
)  # fmt: skip
PLACES: dict[str, Callable[[str], Change]] = {
    "a parameter": lambda text: everywhere("head.weight", text),
    "a layer": lambda text: everywhere("head.weight", f"{text}.weight"),
    "a buffer": lambda text: everywhere("scale", text),
    "a value": lambda text: everywhere("conv2d", text),
    "an input": lambda text: everywhere("image", text),
    "a path": stack,
    "a padding": lambda text: string("padding", text),
    "a mode": lambda text: string("mode", text),
    "an approximation": lambda text: string("approximate", text),
    "a number": lambda text: string("stride", text),
    "an operator": target,
    "an operator of torch": lambda text: target(f"torch.ops.aten.{text}"),
    "an operator in place": lambda text: target(f"torch.ops.aten.{text}_.default"),
    "a symbol": lambda text: everywhere("sym_size_int_1", text),
}


def test_the_text_is_one_that_a_compiled_graph_executes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, ran in ((Interpreted, False), (fx.GraphModule, True)):
        graph = fx.Graph()
        graph.output(graph.call_module(TEXTS[0], (graph.placeholder("image"),)))
        module = kind({TEXTS[0]: nn.ReLU()}, graph)
        with warnings.catch_warnings(), suppress(TypeError):
            warnings.simplefilter("ignore")
            assert module(torch.tensor([-1.0])) == 0
        assert Path("ran").exists() == ran


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_no_text_of_a_program_is_executed(
    tmp_path: Path, good: dict[str, bytes], place: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "module.pt2", good, PLACES[place](text))
    try:
        graph = trace(network(read_program(path)), (SIZE, SIZE))
    except InputError:
        pass
    else:
        graph.module(torch.rand(1, 3, SIZE, SIZE))
    assert not Path("ran").exists()


@pytest.fixture
def circuit(tmp_path: Path, good: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures, the model net.pt2 and a finished circuit of it; to stand in."""
    draw_pictures(tmp_path, "dogs", 3)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "net.pt2", good)
    Path("a.circuit").write_text(SPEC)
    result = CliRunner().invoke(main, ["run", "a.circuit"])
    assert result.exit_code == 0, result.output
    return tmp_path / "runs" / "a" / "c"


SPEC = 'model file("net.pt2")\ncircuit c = preserve class(0) on images/dogs/* kernels<=9 criterion=magnitude\n'
COMMANDS = (
    ["layers", 'file("net.pt2")'], ["check", "--deep", "a.circuit"], ["plan", "a.circuit"], ["lock", "a.circuit"],
    ["run", "a.circuit", "--out", "new"], ["compare", "runs/a/c", "runs/a/c"], ["export", "runs/a/c", "c.onnx"],
    ["show", "runs/a/c"],
)  # fmt: skip


def test_no_command_executes_what_a_program_says(circuit: Path, good: dict[str, bytes]) -> None:
    for change in (everywhere("head.weight", f"{TEXTS[0]}.weight"), stack(TEXTS[0])):
        write(Path("net.pt2"), good, change)
        shutil.copy("net.pt2", circuit / "module.pt2")
        files = [each for each in circuit.iterdir() if each.name != SUMS]
        (circuit / SUMS).write_bytes(manifest({each.name: each.read_bytes() for each in files}))
        for command in COMMANDS:
            result = CliRunner().invoke(main, command)
            assert not Path("ran").exists(), command
            assert result.exception is None or isinstance(result.exception, SystemExit), command
        with pytest.raises(InputError, match="E306"):
            circuitlang.load(circuit).module()
        with pytest.raises(InputError, match="E306"):
            circuitlang.load(circuit).sparse_module()
    assert not Path("ran").exists()


def argument(name: str, value: Any) -> Change:
    """An argument of any operation becomes another."""

    def change(found: dict[str, Any]) -> None:
        for node in nodes(found):
            for each in node["inputs"]:
                if each["name"] == name:
                    each["arg"] = value

    return change


def stored(**meta: Any) -> Change:
    """A stored tensor says other things of its layout."""

    def change(found: dict[str, Any]) -> None:
        config = found["data/weights/model_weights_config.json"]["config"]
        next(iter(config.values()))["tensor_meta"] |= meta

    return change


def many(found: dict[str, Any]) -> None:
    nodes(found)[:0] = nodes(found)[:1] * (MOST_OPERATIONS + 1)


def ints(*values: int) -> list[dict[str, int]]:
    return [{"as_int": each} for each in values]


LARGE: dict[str, Change] = {
    "a stride of 0": stored(sizes=ints(40000, 40000, 1, 1), strides=ints(0, 0, 0, 0)),
    "a size": stored(sizes=ints(1 << 40, 3, 3, 3)),
    "a negative size": stored(sizes=ints(-4, 3, 3, 3)),
    "an offset": stored(storage_offset={"as_int": 1 << 40}),
    "operations": many,
    "a padding": argument("pad", {"as_ints": [6000] * 4}),
    "a padding of a convolution": argument("padding", {"as_ints": [20000, 20000]}),
    "an enlargement": argument("scale_factors", {"as_floats": [2000.0, 2000.0]}),
    "a size to enlarge to": argument("output_size", {"as_sym_ints": ints(1 << 20, 1 << 20)}),
    "a number": argument("stride", {"as_ints": [1 << 80, 1]}),
    "an image": everywhere("image", "image"),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_takes_more_memory_than_networks_do_is_refused_before_it_is_made(
    tmp_path: Path, good: dict[str, bytes], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = LARGE[name]
    if name == "an image":

        def change(found: dict[str, Any]) -> None:
            model(found)["graph"]["tensor_values"]["image"]["sizes"][2:] = ints(100000, 100000)

    path = write(tmp_path / "module.pt2", good, change)
    for device in ("cpu", "meta"):
        with torch.device(device), pytest.raises(InputError) as caught:
            network(read_program(path))
        assert caught.value.findings[0].code in ("E306", "E308")


def test_a_good_program_is_read_and_a_path_may_have_a_hyphen(tmp_path: Path, good: dict[str, bytes]) -> None:
    path = write(tmp_path / "module.pt2", good, everywhere("head.weight", "my-head 1.weight"))
    module = network(read_program(path))
    assert trace(module, (SIZE, SIZE)).layers[-1].path == "my-head 1"
    whole = network(read_program(write(tmp_path / "module.pt2", good)))
    x = torch.rand(2, 3, SIZE, SIZE)
    assert torch.equal(module(x), whole(x))


def test_a_module_says_nothing_of_the_machine(good: dict[str, bytes]) -> None:
    content = b"\n".join(good.values())
    for word in (str(Path.cwd()), str(Path.home()), *site.getsitepackages(), "site-packages", ".py"):
        assert word.encode() not in content


def test_sizes_that_a_program_says_wrongly_are_refused(tmp_path: Path, good: dict[str, bytes]) -> None:
    def change(found: dict[str, Any]) -> None:
        for name, meta in model(found)["graph"]["tensor_values"].items():
            if name.startswith("conv2d"):
                meta["sizes"][2]["as_int"] = 5

    path = write(tmp_path / "module.pt2", good, change)
    with pytest.raises(InputError, match="says wrongly"):
        file(path.name, {}, lambda name: tmp_path / name)


class Constants(nn.Module):
    """It makes tensors that no image has a part in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) * torch.full((SIZE,), 0.5) + torch.arange(SIZE)


@pytest.mark.parametrize(("operator", "size"), [("full", {"as_ints": [1 << 50]}), ("arange", {"as_int": 1 << 50})])
def test_tensors_that_a_program_makes_are_measured_before_they_are_made(
    tmp_path: Path, operator: str, size: dict[str, Any]
) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(Constants().eval(), (torch.zeros(2, 3, SIZE, SIZE),)), path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    assert network(read_program(path))(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 4, SIZE, SIZE)

    def change(found: dict[str, Any]) -> None:
        (node,) = (each for each in nodes(found) if each["target"] == f"torch.ops.aten.{operator}.default")
        node["inputs"][0]["arg"] = size

    with pytest.raises(InputError, match="the program is too large"):
        network(read_program(write(path, records, change)))
