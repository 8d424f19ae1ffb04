"""Networks that give several tensors: which of them has the classes is said, and means the same for every source."""

from __future__ import annotations

import json
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from circuitlang.base.diagnostics import InputError
from circuitlang.base.source import Source
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import resolve
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.programs.result_tree import result_tree
from circuitlang.engine.runtime.model_loading import load_model, outline, read_model
from circuitlang.engine.runtime.options import Options
from circuitlang.pipeline import check_file, compile_source
from circuitlang.plan.model import ClassOutput, Model
from tests.conftest import draw_pictures

Pair = namedtuple("Pair", "features logits")


@dataclass
class Record:
    logits: Tensor
    aux: Tensor | None = None
    loss: Tensor | None = None


RESULTS = {
    "tuple": lambda f, y, a: (f, y, a),
    "list": lambda f, y, a: [f, y, a],
    "dict": lambda f, y, a: {"out": y, "aux": a},
    "ordered": lambda f, y, a: OrderedDict(aux=a, out=y),
    "nested": lambda f, y, a: (None, [f, {"logits": y, "aux": a}], 3),
    "namedtuple": lambda f, y, a: Pair(f, y),
    "dataclass": lambda f, y, a: Record(y, a),
    "first": lambda f, y, a: (y, None, 3),
    "same": lambda f, y, a: (y, y),
    "chunk": lambda f, y, a: torch.cat([y, a], 1).chunk(2, 1),
    "nested chunk": lambda f, y, a: {"both": torch.cat([y, a], 1).split(5, 1), "features": f},
    "single": lambda f, y, a: y,
}
# Of each result, by what `output` says, the head that has the classes; None where that must be refused.
MEANT = {
    "tuple": {None: None, 0: "features", 1: "logits", 2: "aux", 3: None, -1: None, "1": "logits", "logits": None},
    "list": {None: None, 1: "logits"},
    "dict": {None: None, 0: "logits", 1: "aux", "out": "logits", "aux": "aux", "Out": None},
    "ordered": {None: None, 0: "aux", 1: "logits", "out": "logits"},
    "nested": {None: None, 0: None, 1: None, "logits": "logits", "1.1.aux": "aux", "1.0": "features", "1.1": None},
    "namedtuple": {None: None, 1: "logits", 0: "features"},
    "first": {None: "logits", 0: "logits", 1: None},
    "same": {None: "logits", 0: "logits", 1: "logits"},
    "chunk": {None: None, 0: "logits", 1: "aux", 2: None},
    "nested chunk": {None: None, 0: None, "both.1": "aux", "both.0": "logits", "features": "features"},
    "single": {None: "logits", 0: "logits", 1: None, "logits": None},
}


class Heads(nn.Module):
    """Features, logits, and those of an auxiliary head, in a result of some form."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.conv, self.fc, self.aux = nn.Conv2d(3, 4, 3), nn.Linear(4, 5), nn.Linear(4, 5)
        self.form = form

    def heads(self, x: Tensor) -> dict[str, Tensor]:
        features = self.conv(x).relu().mean((2, 3))
        return {"features": features, "logits": self.fc(features), "aux": self.aux(features)}

    def forward(self, x: Tensor) -> object:
        heads = self.heads(x)
        return RESULTS[self.form](heads["features"], heads["logits"], heads["aux"])


def graph_of(form: str, source: str, folder: Path):
    torch.manual_seed(0)
    module = Heads(form).eval()
    if source == "module":
        return module, trace(module, (8, 8))
    path = folder / "net.pt2"
    torch.export.save(torch.export.export(module, (torch.zeros(2, 3, 8, 8),)), path)
    loaded = load_model(Model("file", "net.pt2"), folder)
    return module, trace(loaded.module, (8, 8))


@pytest.mark.parametrize("source", ["module", "file"])
@pytest.mark.parametrize("form", MEANT)
def test_a_class_is_one_of_the_output_that_is_said(tmp_path, form, source):
    if (form, source) == ("namedtuple", "file"):
        with pytest.raises(NotImplementedError):
            graph_of(form, source, tmp_path)
        return
    module, graph = graph_of(form, source, tmp_path)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for output, head in MEANT[form].items():
        if head is None:
            with pytest.raises(InputError) as caught:
                resolve(ClassOutput(3), graph, (), output)
            assert caught.value.findings[0].code == "E314"
            continue
        subnetwork = TargetSubnetwork(graph, resolve(ClassOutput(3), graph, (), output))
        with torch.no_grad():
            expected = module.heads(images)[head][:, 3]
            torch.testing.assert_close(subnetwork.feature(images).flatten(), expected, rtol=1e-5, atol=1e-6)


def test_names_of_tuples_and_dataclasses_are_known_where_the_code_is(tmp_path):
    _, graph = graph_of("namedtuple", "module", tmp_path)
    assert graph.output("features") != graph.output("logits")
    _, graph = graph_of("dataclass", "module", tmp_path)
    assert (graph.output("logits"), graph.output("aux")) == (graph.output(0), graph.output(1))
    assert graph.output("logits") != graph.output("aux")


def test_the_outputs_are_listed_with_their_shapes(tmp_path):
    _, graph = graph_of("nested", "module", tmp_path)
    with pytest.raises(InputError) as caught:
        graph.output()
    (finding,) = caught.value.findings
    assert finding.message == "the network gives 3 tensors, and which of them has the classes is not said"
    assert finding.label == "they are 1: 1.0 (N x 4), 1: 1.1.logits (N x 5) and 1: 1.1.aux (N x 5)"
    assert "output=" in finding.help


SPEC = 'model python("net.py:Two"{})\npreserve {} on images/* kernels<=3\n'
CODE = """
from torch import nn
class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)
    def forward(self, x):
        features = self.conv(x).mean((2, 3))
        return {"features": features, "logits": self.fc(features)}
"""


def test_targets_inside_need_no_output_and_an_unknown_one_is_refused(tmp_path):
    (tmp_path / "net.py").write_text(CODE)

    def targets(arguments: str, target: str) -> object:
        compiled = compile_source(Source("a.circuit", SPEC.format(arguments, target)))
        loaded, graph = read_model(
            compiled.plan.model, tmp_path, lambda model, folder: outline(model, folder, allow_code=True)
        )
        return resolve(compiled.plan.circuits[0].target, graph, loaded.classes, loaded.output)

    size = ", resize=16, crop=16"
    targets(size, "conv1:2")
    targets(size, "fc1:2")
    targets(size + ', output="logits"', "class(9)")
    for arguments, target in (
        (size, "class(9)"),
        (size + ', output="logit"', "conv1:2"),
        (size + ", output=2", "fc1:2"),
    ):
        with pytest.raises(InputError) as caught:
            targets(arguments, target)
        assert caught.value.findings[0].code == "E314"
    assert caught.value.findings[0].label == "they are 0: features (N x 8) and 1: logits (N x 10)"


def test_an_unknown_output_is_said_once(tmp_path):
    (tmp_path / "net.py").write_text(CODE)
    draw_pictures(tmp_path, "dogs", 2)
    spec = SPEC.format(", resize=16, crop=16, output=2", "class(9)").replace("images/*", "images/dogs/*")
    (tmp_path / "a.circuit").write_text(spec)
    findings = check_file(tmp_path / "a.circuit", Options(allow_code=True)).findings
    assert [each.code for each in findings] == ["E314"]


def test_a_model_is_written_as_in_a_spec():
    model = compile_source(Source("a.circuit", "model torchvision.deeplabv3_resnet50(weights=none, aux_loss=true)"))
    assert str(model.plan.model) == "torchvision.deeplabv3_resnet50(weights=none, aux_loss=true)"


def test_a_plan_has_the_output_only_where_it_is_given():
    with_output, without = (
        compile_source(Source("a.circuit", SPEC.format(arguments, "class(1)"))).plan for arguments in (", output=1", "")
    )
    assert with_output.model.arguments == {"output": 1}
    assert without.model.arguments == {}
    assert with_output.identity(with_output.circuits[0]) != without.identity(without.circuits[0])


def spec(number: int) -> dict[str, object]:
    return {"user_output": {"arg": {"as_tensor": {"name": f"t{number}"}}}}


@pytest.mark.parametrize(
    "described",
    [
        "",
        "nonsense",
        "[1, 2]",
        '[1, {"type": "builtins.tuple", "context": "null", "children_spec": []}]',
        '[1, {"type": "builtins.dict", "context": "[\\"a\\"]", "children_spec": [{"type": null, "context": null, "children_spec": []}]}]',  # noqa: E501
        "[1, " + '{"type": "builtins.tuple", "context": "null", "children_spec": [' * 60 + "]}" * 60 + "]",
    ],
)
def test_a_result_that_is_described_wrongly_is_read_one_after_the_other(described):
    assert result_tree([spec(0), {"buffer_mutation": {}}, spec(1)], described) == ("t0", "t1")


def test_keys_that_are_no_names_are_numbers():
    leaf = {"type": None, "context": None, "children_spec": []}
    keys = json.dumps(["a", "x'),("])
    tree = json.dumps([1, {"type": "builtins.dict", "context": keys, "children_spec": [leaf, leaf]}])
    assert result_tree([spec(0), spec(1)], tree) == ("t0", "t1")
