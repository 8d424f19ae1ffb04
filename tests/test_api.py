"""A finished circuit, loaded: numbers, masks, graph, module, and the network with the circuit in it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import circuitlang
from circuitlang.api import LoadedCircuit
from circuitlang.base.diagnostics import InputError
from circuitlang.engine.images import preprocessing
from circuitlang.engine.models.sources.bundled import bundled
from tests.conftest import ROOT

SPEC = """
images dogs = {images}
defaults holdout=20% criterion=snip
circuit plain = preserve conv5:34 on dogs sparsity<=0.05
circuit filled = preserve conv5:34 on dogs sparsity<=0.1 ablation=mean calibrate=kernels
circuit joint = preserve conv4:joint(3, 9) on dogs sparsity<=0.1
circuit largest = preserve conv5:34@max on dogs sparsity<=0.1
circuit middle = preserve conv5:34@center on dogs sparsity<=0.1
circuit collapsed = preserve conv5:34 on dogs kernels<=1
"""
NAMES = ("plain", "filled", "joint", "largest", "middle", "collapsed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    text = SPEC.format(images=ROOT / "examples" / "images" / "dogs" / "*")
    path = out / "dogs.circuit"
    path.write_text(text)
    circuitlang.run(path, out)
    return out / "dogs"


def pictures() -> Tensor:
    preprocess = bundled("doodle", {}, Path).preprocess
    paths = sorted((ROOT / "examples" / "images" / "dogs").iterdir())[:4]
    return preprocessing.normalise(
        preprocess, torch.stack([torch.from_numpy(preprocessing.read(preprocess, path.read_bytes())) for path in paths])
    )


def activation(model: nn.Module, path: str, x: Tensor) -> Tensor:
    seen = []
    handle = model.get_submodule(path).register_forward_hook(lambda *given: seen.append(given[2]))
    with torch.no_grad():
        model(x)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_masked_network_and_the_module_agree(folder, name):
    loaded = circuitlang.load(folder / name)
    x, target = pictures(), loaded.summary.plan.target
    path = next(layer.path for layer in loaded.summary.layers if layer.name == target.layer)
    units = [3, 9] if name == "joint" else [34]
    with loaded.masked_model() as network:
        expected = activation(network, path, x)[:, units]
    if name == "middle":
        row, column = (side // 2 for side in expected.shape[2:])
        expected = expected[:, :, row : row + 1, column : column + 1]
    found = loaded.module()(x)
    assert bool(expected.std(0).max() > 0) == (name != "collapsed")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert loaded.metrics["extracted_difference"] < 1e-5
    assert loaded.metrics["parameters"] == sum(each.numel() for each in loaded.module().parameters())


def test_what_the_target_does_not_see_is_as_it_was_and_so_is_the_model(folder):
    loaded, model, x = circuitlang.load(folder / "plain"), bundled("doodle", {}, Path).module.eval(), pictures()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layer = loaded.summary.layers[-1]
    whole = activation(model, layer.path, x)
    with loaded.masked_model(model) as network:
        assert network is not model
        for name, tensor in network.state_dict().items():
            path = name.rpartition(".")[0]
            changes = dict(zip([each.path for each in loaded.summary.layers], loaded.circuit.changes, strict=True))
            others = np.delete(np.arange(len(tensor)), changes[path].rows) if path in changes else slice(None)
            assert torch.equal(tensor[others], before[name][others])
        assert not torch.equal(activation(network, layer.path, x)[:, 34], whole[:, 34])
        assert not torch.equal(network.get_submodule(layer.path).weight[34], before[f"{layer.path}.weight"][34])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_another_model_is_refused(folder):
    loaded = circuitlang.load(folder / "plain")
    for model in (nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Linear(3, 3)):
        with pytest.raises(InputError, match="E352"), loaded.masked_model(model):
            pass


def test_numbers_and_masks(folder):
    loaded = circuitlang.load(folder / "plain")
    assert isinstance(loaded, LoadedCircuit)
    summary = loaded.summary
    assert loaded.metrics["kept"] == summary.kept
    written = json.loads((folder / "plain" / "metrics.json").read_text())
    assert written.pop("verdict") == "no better than a baseline"
    assert loaded.metrics == pytest.approx(written, abs=1e-6)
    for layer, kernels in zip(summary.layers, loaded.circuit.kernels, strict=True):
        mask = loaded.masks[layer.path]
        assert mask.dtype == np.bool_
        assert mask.shape == (layer.out_channels, layer.in_channels // layer.groups)
        assert mask.sum() == layer.kept
        assert mask[kernels.target, kernels.source].all()
    assert repr(loaded).startswith(f"<circuit conv5:34: {summary.kept:,} of ")


def test_the_graph(folder):
    loaded = circuitlang.load(folder / "plain")
    graph, paths = loaded.graph, {layer.name: layer.path for layer in loaded.summary.layers}
    target = (paths["conv5"], 34)
    assert [node for node, about in graph.nodes(data=True) if about["target"]] == [target]
    kernels = loaded.circuit.kernels[-1]
    assert graph.in_degree(target) == len(kernels.target)
    for source, score, weight in zip(kernels.source, kernels.score, kernels.weight, strict=True):
        edge = graph.edges[(paths["conv4"], int(source)), target]
        assert edge["score"] == score
        assert edge["weight"] == pytest.approx(float(weight.sum()), rel=1e-5)
        assert edge["sign"] == np.sign(edge["weight"])
    assert graph.nodes["image", 0] == {"layer": "image", "channel": 0, "target": False}
    import networkx

    reached = networkx.ancestors(graph, target)
    effective = [(source, end) for source, end, about in graph.edges(data=True) if about["effective"]]
    assert effective
    assert all(source in reached and end in reached | {target} for source, end in effective)


def test_torch_alone_loads_the_module(folder, tmp_path):
    x = pictures()
    torch.save(x, tmp_path / "x.pt")
    script = textwrap.dedent(
        """
        import sys
        sys.modules["circuitlang"] = None
        import torch
        x = torch.load(sys.argv[2])
        module = torch.export.load(sys.argv[1]).module()
        torch.save([module(x), module(x[:1])], sys.argv[3])
        """
    )
    given = [str(folder / "plain" / "module.pt2"), str(tmp_path / "x.pt"), str(tmp_path / "y.pt")]
    subprocess.run([sys.executable, "-c", script, *given], check=True, cwd=tmp_path)
    found = circuitlang.load(folder / "plain").module()(x)
    all_images, first = torch.load(tmp_path / "y.pt")
    torch.testing.assert_close(all_images, found)
    torch.testing.assert_close(first, found[:1])


def test_a_sparse_module_wants_an_extra(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match="E361"):
        circuitlang.load(folder / "plain").sparse_module()


def test_a_module_that_is_missing_or_damaged_is_an_error(folder, tmp_path):
    for name in ("circuit.json", "circuit.safetensors"):
        (tmp_path / name).write_bytes((folder / "plain" / name).read_bytes())
    loaded = circuitlang.load(tmp_path)
    with pytest.raises(InputError, match="E304"):
        loaded.module()
    (tmp_path / "module.pt2").write_bytes((folder / "plain" / "module.pt2").read_bytes()[:1000])
    with pytest.raises(InputError, match="E306"):
        loaded.module()
    with pytest.raises(InputError), loaded.masked_model():
        pass


def test_the_same_run_writes_the_same_module(folder, tmp_path):
    out = tmp_path / "again"
    circuitlang.run(folder / "plan.yaml", out, only=["plain"])
    (again,) = out.rglob("plain/module.pt2")
    assert again.read_bytes() == (folder / "plain" / "module.pt2").read_bytes()


def test_a_circuit_of_a_circuit(folder):
    inner = circuitlang.load(folder / "plain")
    images = ROOT / "examples" / "images" / "dogs" / "*"
    spec = folder.parent / "again.circuit"
    spec.write_text(
        f"""
        model file("dogs/plain/module.pt2")
        images dogs = {images}
        defaults holdout=20%
        circuit all = preserve class(0) on dogs sparsity<=1
        circuit half = preserve class(0) on dogs kernels<=150
        circuit before = preserve conv4:0 on dogs sparsity<=0.5
        """
    )
    everything, half, before = circuitlang.run(spec, folder.parent)
    assert everything.summary.train.metrics["pearson"] == pytest.approx(1)
    assert [layer.path for layer in everything.summary.layers] == [layer.path for layer in inner.summary.layers]
    assert half.summary.kept < everything.summary.kept
    assert before.summary.kept > 0
    x = pictures()
    again = circuitlang.load(folder.parent / "again" / "all")
    torch.testing.assert_close(again.module()(x), inner.module()(x), rtol=1e-4, atol=1e-5)
    with circuitlang.load(folder.parent / "again" / "half").masked_model() as network, torch.no_grad():
        expected = network(x)
    torch.testing.assert_close(circuitlang.load(folder.parent / "again" / "half").module()(x), expected)


def test_numbers_masks_and_graph_need_no_torch(folder):
    script = (
        "import sys; sys.modules['torch'] = None; import circuitlang; loaded = circuitlang.load(sys.argv[1]); "
        "print(len(loaded.metrics), len(loaded.masks), len(loaded.graph))"
    )
    given = [sys.executable, "-c", script, str(folder / "plain")]
    printed = subprocess.run(given, check=True, capture_output=True, text=True).stdout.split()
    loaded = circuitlang.load(folder / "plain")
    assert printed == [str(len(each)) for each in (loaded.metrics, loaded.masks, loaded.graph)]


class Two(nn.Module):
    """A sum of two branches: what the second layer of one sees comes from two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 2, 1)
        self.right = nn.Conv2d(3, 2, 1)
        self.head = nn.Conv2d(4, 2, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.left(x), self.right(x)
        return self.head(torch.cat([left + right, right], 1))


def test_the_graph_goes_through_sums_and_concatenations(tmp_path):
    """Of a network all of whose kernels are kept."""
    torch.manual_seed(0)
    net = Two()
    with torch.no_grad():
        torch.export.save(torch.export.export(net.eval(), (torch.zeros(2, 3, 16, 16),)), tmp_path / "two.pt2")
    images = ROOT / "examples" / "images" / "dogs" / "*"
    text = (
        f'model file("two.pt2")\ncircuit a = preserve head:[0, 1] on {images} sparsity<=1 criterion=magnitude holdout=0'
    )
    tmp_path.joinpath("two.circuit").write_text(text)
    circuitlang.run(tmp_path / "two.circuit", tmp_path)
    for place in sorted(path.parent for path in tmp_path.glob("two/*/circuit.json")):
        loaded = circuitlang.load(place)
        row = loaded.summary.plan.target.unit
        into = sorted(loaded.graph.predecessors(("head", row)))
        both = [(path, channel) for path in ("left", "right") for channel in (0, 1)]
        assert into == (both if row == 0 else both[2:])
        weight = net.head.weight[row, :, 0, 0].tolist()
        for path, channel in into:
            assert loaded.graph.edges[(path, channel), ("head", row)]["weight"] == pytest.approx(weight[channel])
        colours = sorted(loaded.graph.predecessors(("right", 0)))
        assert colours == [("image", 0), ("image", 1), ("image", 2)]
