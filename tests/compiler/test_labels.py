"""Labels and groups: in the spec, in the file beside it and in included files, and with no say in any result."""

from pathlib import Path

import msgspec
import pytest

from circuitlang.base.diagnostics import SpecError
from circuitlang.base.source import Source
from circuitlang.compiler import compile
from circuitlang.compiler.formatter import format_source
from circuitlang.compiler.sources import open_source
from circuitlang.pipeline import compile_source, vocabulary
from circuitlang.plan.labels import Group, Label, Labels
from circuitlang.plan.layers import Layers, NamedModule
from circuitlang.plan.normalize import fingerprint
from circuitlang.plan.yaml import write_plan

SPEC = "preserve conv5:34 on images/dogs/* keep<=10%\n"


def compiled(folder: Path, labels: str | None = None, spec: str = SPEC):
    path = folder / "face.circuit"
    path.write_text(spec)
    (folder / "face.labels").unlink(missing_ok=True)
    if labels is not None:
        (folder / "face.labels").write_text(labels)
    return compile_source(open_source(path)).plan


def test_the_file_beside_a_spec_says_what_the_spec_could_say(tmp_path):
    lines = 'group "dog face" = conv4:[3, 8]\nlabel conv5:34 "dog"\nlabel conv4:3 "snout"\n'
    beside = compiled(tmp_path, lines).labels
    channels = [Label("conv4", 3, "snout", "face.labels"), Label("conv5", 34, "dog", "face.labels")]
    assert beside == Labels(channels, [Group("dog face", "conv4", [3, 8], "face.labels")])
    inside = compiled(tmp_path, None, lines + SPEC).labels
    assert write_plan(compiled(tmp_path, None, lines + SPEC)).count("file: face.circuit") == 3
    assert inside is not None
    assert inside.texts() == beside.texts()


def test_labels_of_included_files_count_too(tmp_path):
    (tmp_path / "shared.circuit").write_text('label conv4:1 "ear"\n')
    (tmp_path / "shared.labels").write_text('label conv4:2 "eye"\n')
    plan = compiled(tmp_path, 'label conv4:3 "snout"\n', f'include "shared.circuit"\n{SPEC}')
    assert plan.labels is not None
    assert [(label.unit, label.file) for label in plan.labels.channels] == [
        (1, "shared.circuit"), (2, "shared.labels"), (3, "face.labels")
    ]  # fmt: skip


def test_no_identity_depends_on_labels(tmp_path):
    plain, named = compiled(tmp_path), compiled(tmp_path, 'label conv5:34 "dog"\n')
    assert plain.labels is None
    assert [circuit.id for circuit in plain.circuits] == [circuit.id for circuit in named.circuits]
    assert fingerprint(plain) == fingerprint(named)
    for before, after in zip(plain.circuits, named.circuits, strict=True):
        assert plain.identity(before) == named.identity(after)
        assert plain.basis(before) == named.basis(after)


@pytest.mark.parametrize(
    ("labels", "code", "place"),
    [
        ('label conv9:3 "x"', "E102", "conv9"),
        ('label conv4:64 "x"', "E111", "64"),
        ('label conv4:3 "x"\nlabel conv4:3 "y"', "E127", "conv4:3"),
        ('label conv5:34 "y"', "E127", "conv5:34"),
        ("model resnet18", "E128", "model resnet18"),
        ("label conv4:3 x", "E005", "x"),
    ],
)
def test_a_mistake_of_the_file_is_found_where_it_is(tmp_path, labels, code, place):
    with pytest.raises(SpecError) as caught:
        compiled(tmp_path, f"{labels}\n", f'label conv5:34 "dog"\n{SPEC}')
    (finding,) = caught.value.findings
    assert (finding.code, finding.span and finding.span.text) == (code, place)
    assert finding.span is not None
    assert Path(finding.span.source.name).name == "face.labels"


def test_both_names_of_a_layer_are_one():
    modules = (NamedModule("features.0", "Conv2d", layer="conv1"),)
    layers = Layers({"features.0": 8, "conv1": 8}, ("conv1",), modules)
    text = 'label conv1:3 "a"\nlabel features.0:3 "b"\npreserve conv1:1 on images/dogs/* keep<=10%\n'
    known = msgspec.structs.replace(vocabulary(), layers={"bundled.doodle": layers})
    with pytest.raises(SpecError) as caught:
        compile.compile_source(Source("face.circuit", text), known)
    assert [finding.message for finding in caught.value.findings] == ["features.0:3 has a label already"]


def test_a_file_of_labels_has_a_style(tmp_path):
    path = tmp_path / "face.labels"
    path.write_text('label   conv4:3   "snout"  # where\ngroup "dog face"=conv4:[ 3,8 ]\n')
    assert format_source(open_source(path)) == ('label conv4:3 "snout"  # where\ngroup "dog face" = conv4:[3, 8]\n')


def test_a_file_of_labels_is_no_spec(tmp_path):
    compiled(tmp_path, 'label conv4:3 "snout"\n')
    with pytest.raises(SpecError, match="a file of labels is no spec") as caught:
        compile_source(open_source(tmp_path / "face.labels"))
    assert caught.value.findings[0].help == f"give {tmp_path / 'face.circuit'}, beside which it is read"
