"""A finished circuit as another kind of file."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import sys
from pathlib import Path

import networkx as nx
import pytest
import torch
from click.testing import CliRunner

import circuitlang
from circuitlang.api import LoadedCircuit
from circuitlang.base.diagnostics import CircuitError, InputError
from circuitlang.cli.main import main
from circuitlang.results.outputs import EXPORTS
from tests.conftest import draw_pictures

RENDER = "all"

SPEC = """
images dogs = images/dogs/*
circuit plain = preserve conv5:34 on dogs sparsity<=0.05
circuit collapsed = preserve conv5:34 on dogs kernels<=1
circuit refitted = preserve conv4:joint(3, 9) on dogs sparsity<=0.1 ablation=mean calibrate=kernels
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, with a run of the spec."""
    place = tmp_path_factory.mktemp("made")
    draw_pictures(place, "dogs", 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        (place / "dogs.circuit").write_text(SPEC)
        circuitlang.run("dogs.circuit")
    return place


@pytest.fixture
def runs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to stand in."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "dogs"


def test_onnx_computes_what_the_module_does_for_any_number_of_images(runs, tmp_path):
    import onnx
    from onnx.reference import ReferenceEvaluator

    for name in ("plain", "collapsed", "refitted"):
        circuit = circuitlang.load(runs / name)
        circuit.export(tmp_path / f"{name}.onnx")
        model = onnx.load(tmp_path / f"{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        for number in (1, 3):
            images = torch.rand(number, 3, 64, 64)
            (found,) = ReferenceEvaluator(model).run(["maps"], {"images": images.numpy()})
            torch.testing.assert_close(torch.from_numpy(found), circuit.module()(images), rtol=1e-4, atol=1e-4)
        preprocess = {each.key: each.value for each in model.metadata_props}["preprocess"]
        assert json.loads(preprocess)["crop"] == 64


@pytest.mark.parametrize("kind", ["graphml", "json"])
def test_graphs_are_read_back_as_they_were(runs, kind):
    circuit = circuitlang.load(runs / "plain")
    content = EXPORTS.load(kind)(circuit)
    if kind == "graphml":
        found = nx.read_graphml(io.BytesIO(content))
    else:
        found = nx.node_link_graph(json.loads(content), edges="edges")
    assert len(found) == len(circuit.graph) > 10
    for node, about in circuit.graph.nodes.items():
        assert found.nodes[f"{about['layer']}:{node[1]}"] == about
    edges = {(name(one), name(other), *about.values()) for one, other, about in circuit.graph.edges(data=True)}
    words = ("score", "weight", "sign", "effective")
    assert {(*edge[:2], *(edge[2][word] for word in words)) for edge in found.edges(data=True)} == edges


def name(node: tuple[str, int]) -> str:
    return f"{node[0]}:{node[1]}"


def test_the_command_writes_the_file_and_says_so(runs):
    ran = CliRunner().invoke(main, ["export", str(runs / "plain"), "plain.GraphML"])
    assert (ran.exit_code, ran.output) == (0, "wrote plain.GraphML\n")
    assert Path("plain.GraphML").read_bytes() == EXPORTS.load("graphml")(circuitlang.load(runs / "plain"))


@pytest.mark.parametrize(
    ("folder", "file", "code"),
    [("plain", "x.onx", "E360"), ("plain", "x", "E360"), ("other", "x.json", "E312"), ("plain", "file/x.json", "E390")],
)
def test_what_cannot_be_exported_is_an_error(runs, folder, file, code):
    Path("file").write_text("in the way")
    ran = CliRunner().invoke(main, ["export", str(runs / folder), file])
    assert ran.exit_code == 1
    assert f"[{code}]" in ran.stderr
    assert not list(Path().glob("x.*"))


def test_the_folder_of_a_run_is_told_from_that_of_a_circuit(runs):
    assert sorted(circuit.summary.plan.id for circuit in circuitlang.load(runs)) == ["collapsed", "plain", "refitted"]
    ran = CliRunner().invoke(main, ["export", str(runs), "x.json"])
    assert ran.exit_code == 1
    assert "give that of a circuit in it: collapsed, plain and refitted" in ran.stderr
    assert not list(Path().glob("x.*"))


def test_a_missing_package_is_named_with_its_cure(runs, monkeypatch):
    monkeypatch.setattr(exporter_module(), "find_spec", lambda _: None)
    with pytest.raises(InputError, match="E361") as caught:
        circuitlang.load(runs / "plain").export("plain.onnx")
    assert caught.value.findings[0].help == "pip install 'circuitlang[onnx]'"


def exporter_module():
    return sys.modules[EXPORTS.load("onnx").__module__]


def test_what_onnx_computes_otherwise_is_refused(runs, monkeypatch):
    """The module is compared with what is about to be written."""
    network = exporter_module().network

    class Off(torch.nn.Module):
        def __init__(self, program) -> None:
            super().__init__()
            self.module, self.calls = network(program), 0

        def forward(self, x):
            # What is exported is the circuit, what it is compared with is not.
            return self.module(x) * (1 if torch.compiler.is_exporting() else 1.01)

    monkeypatch.setattr(exporter_module(), "network", Off)
    with pytest.raises(CircuitError, match="E350"):
        circuitlang.load(runs / "plain").export("plain.onnx")
    assert not Path("plain.onnx").exists()


def test_a_package_can_add_a_kind_of_file(runs, monkeypatch):
    def txt(circuit: LoadedCircuit) -> bytes:
        return f"{circuit.summary.kept}\n".encode()

    monkeypatch.setattr(EXPORTS, "load", {"txt": txt}.__getitem__)
    monkeypatch.setattr(EXPORTS, "declarations", {"txt": None})
    circuitlang.load(runs / "plain").export("plain.txt")
    assert Path("plain.txt").read_text() == "338\n"


def test_exports_need_nothing_heavy_to_be_listed():
    assert {"graphml", "json", "onnx"} <= set(EXPORTS.declarations)
    assert importlib.util.find_spec("onnx") is not None, "the tests install the extra"
