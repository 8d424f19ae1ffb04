"""What must hold for any text: no traceback, every finding at a place in it, and a plan that reads back the same."""

import re
import string

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.base.source import Source, read
from circuitlang.compiler import compile
from circuitlang.compiler.parser import STATEMENTS, parse
from circuitlang.pipeline import compile_source, vocabulary
from circuitlang.plan.layers import Layers, NamedModule
from circuitlang.plan.yaml import read_plan, write_plan

SPEC = """\
model bundled.doodle
images dogs = images/dogs/*
images pets = [dogs, "images/cats/*"] except images/*/bad_* limit=20 seed=1
defaults criterion=actgrad ablation=zero  # a comment
preserve conv5:34 on dogs sparsity<=10%
circuit face = preserve conv4:3 on pets { kernels<=250
  criterion=force(steps=5) }; preserve conv1:1 on dogs sparsity<=0.5 test=pets
"""
# The rest of the language, to be damaged as well.
MORE = """\
target curve = 0.7*conv5:34@center - conv5:12@center
circuit sweep = preserve conv5:[3, 30..32] on dogs sparsity<=each(1%, 5%) criterion=each(snip, force(steps=each(1, 2)))
circuit parts = split conv5:joint(3, 7)@(1, 2) on [dogs, images/cats/*] except images/x/* into auto {
  r2>=0.9 train.error<=0.2 refill=live }
preserve curve on dogs kernels<=3; preserve class("dog") - 0.5*class(2) on dogs kernels<=3
preserve conv5:*@max on dogs kernels<=3
preserve conv*:3 on dogs as blurred(4) as grey kernels<=3
compare sweep[sparsity=0.01, unit=31], parts
expect sweep[unit=3].correlation >= 0.9
"""
WORDS = [
    "on",
    "except",
    "into",
    "as",
    "each(1, 2)",
    "conv5:[3, 30..32]",
    "@center",
    "*",
    "-",
    "..",
    "joint(3, 7)",
    "dogs",
    "conv5:34",
    "images/*",
    '"',
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "=",
    "<=",
    ",",
    ";",
    "#",
]
ODDITIES = [
    "sparsity<=0.1",
    "10%",
    ".1",
    "force(steps=2)",
    "1e999",
    "\n",
    " ",
    "\t",
    "犬",
    "\ufeff",
    "\x00",
    "\xa0",
    "9" * 400,
]
PIECES = st.sampled_from([*STATEMENTS, *WORDS, *ODDITIES])
HEAPS = st.lists(PIECES, max_size=25).map(" ".join)


def damaged(data: st.DataObject) -> str:
    """The spec with a few pieces taken out, put in or replaced."""
    text = SPEC + MORE
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 6))
        text = text[:at] + data.draw(PIECES | st.text(string.printable, max_size=3)) + text[at + length :]
    return text


def findings_of(source: Source) -> tuple[Finding, ...]:
    try:
        return compile_source(source).warnings
    except SpecError as error:
        return error.findings


def compiles(text: str) -> None:
    """Compiling never raises anything but findings, each with a code and a place in the text."""
    source = Source("x.circuit", text)
    for finding in findings_of(source):
        assert re.fullmatch(r"[EW]\d\d\d", finding.code)
        assert finding.span is not None
        assert 0 <= finding.span.start <= finding.span.end <= len(text)
        line, column = source.position(finding.span.start)
        assert column - 1 <= len(source.line(line))


@given(st.text(max_size=80))
def test_any_text_is_answered(text):
    compiles(text)


@given(HEAPS)
def test_any_heap_of_words_is_answered(text):
    compiles(text)


@settings(max_examples=300)
@given(st.data())
def test_any_damaged_spec_is_answered(data):
    compiles(damaged(data))


def test_the_spec_that_is_damaged_is_sound():
    assert len(compile_source(Source("x.circuit", SPEC + MORE)).plan.circuits) == 3 + 24 + 1 + 2 + 64 + 5
    plan = compile_source(Source("x.circuit", SPEC)).plan
    assert [circuit.id for circuit in plan.circuits] == ["conv5_34-actgrad-0.1", "face", "conv1_1-actgrad-0.5"]


@pytest.mark.parametrize(
    "other",
    [
        SPEC.replace("\n", "\r\n"),
        "\ufeff" + SPEC,
        SPEC.rstrip("\n"),
        SPEC.replace("10%", "0.1"),
        SPEC.replace("kernels<=250\n  criterion=force(steps=5)", "criterion=force(steps=5) kernels<=250"),
        "# first\n\n" + SPEC.replace("  # a comment", ""),
    ],
)
def test_line_ends_comments_and_the_order_of_clauses_mean_nothing(tmp_path, other):
    one, two = tmp_path / "a.circuit", tmp_path / "b.circuit"
    one.write_bytes(SPEC.encode())
    two.write_bytes(other.encode())
    first, second = (compile_source(read(path)).plan for path in (one, two))
    assert [first.identity(c) for c in first.circuits] == [second.identity(c) for c in second.circuits]
    assert len({first.identity(circuit) for circuit in first.circuits}) == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("conv5:34", "conv5:33"),
        ("sparsity<=10%", "sparsity<=11%"),
        ("criterion=actgrad", "criterion=snip"),
        ("images dogs = images/dogs/*", "images dogs = images/cats/*"),
        ("defaults ", "defaults seed=1 "),
        ("defaults ", "defaults holdout=30% "),
        ("model bundled.doodle", 'model bundled.doodle(weights="other.safetensors")'),
    ],
)
def test_what_means_something_changes_the_identity(old, new):
    first, second = (compile_source(Source("x.circuit", text)).plan for text in (SPEC, SPEC.replace(old, new)))
    assert first.identity(first.circuits[0]) != second.identity(second.circuits[0])


def test_a_plan_reads_back_the_same():
    plan = compile_source(Source("x.circuit", SPEC)).plan
    again, origins = read_plan(Source("plan.yaml", write_plan(plan)))
    assert again == plan
    assert write_plan(again) == write_plan(plan)
    span = origins["circuits", "face", "target", "layer"]
    assert span.text == "conv4"


PLAN = write_plan(compile_source(Source("x.circuit", SPEC)).plan)


@pytest.mark.parametrize(
    ("old", "new", "words", "at"),
    [
        ("unit: 34", "unit: high", "expected `int`", "high"),
        ("at_most: 250", "at_most: 2.5", "expected `int`", "2.5"),
        ("bound: kernels", "bound: size", "invalid value 'size'", ""),
        ("version: 1", "version: 2", "invalid enum value 2", "2"),
        ("layer: conv4", "layer: conv4\n    depth: 3", "unknown field `depth`", ""),
        ("images: pets", "images: pests", "unknown image set 'pests'", "pests"),
        ("id: face", "id: ../face", "can't be the name of a folder", "../face"),
        ("id: face", "id: conv5_34-actgrad-0.1", "occurs twice", ""),
        ("version: 1", "version: [1", "not YAML", ""),
        ("version: 1", "version: !!python/object/apply:os.system ['true']", "not YAML", ""),
    ],
)
def test_a_damaged_plan_is_refused_at_its_place(old, new, words, at):
    assert old in PLAN
    with pytest.raises(SpecError) as caught:
        read_plan(Source("plan.yaml", PLAN.replace(old, new, 1)))
    finding = caught.value.findings[0]
    assert words.lower() in finding.message.lower()
    assert finding.span is not None
    assert at in finding.span.text


@given(st.text(max_size=60))
def test_any_yaml_is_answered(text):
    with pytest.raises(SpecError):
        read_plan(Source("plan.yaml", text))


def test_a_broken_statement_spoils_only_itself():
    file = parse(Source("x", "preserve a:1 on\nimages b = c/*\npreserve (\nimages d = e/*"))
    assert len(file.statements) == 2
    assert [finding.code for finding in file.findings] == ["E006", "E003"]


def test_brackets_without_end_are_answered():
    compiles("preserve conv5:34 on " + "[" * 5000)
    compiles("preserve conv5:34 on a sparsity<=" + "f(" * 5000 + "1" + ")" * 5000)
    compiles("preserve conv5:34 on " + "[" * 49 + "a" + "]" * 49 + " sparsity<=0.1")


@pytest.mark.parametrize("criterion", ["force", "path", "learned"])
@pytest.mark.parametrize("steps", ["0", "-1", "2.5"])
def test_a_schedule_takes_a_step_at_least(criterion, steps):
    text = f"preserve conv5:34 on images/dogs/* kernels<=9 criterion={criterion}(steps={steps})"
    with pytest.raises(SpecError) as caught:
        compile_source(Source("a.circuit", text))
    (finding,) = caught.value.findings
    assert (finding.code, finding.span.text) == ("E202", steps)
    assert "a whole number from 1" in f"{finding.message} {finding.label} {finding.help}"


@pytest.mark.parametrize(
    ("written", "share"), [("5e-1%", 0.005), ("1E1%", 0.1), ("0.29%", 0.0029), ("7%", 0.07), ("5e-3", 0.005)]
)
def test_a_percentage_is_a_hundredth_however_it_is_written(written, share):
    plan = compile_source(Source("a", f"preserve conv5:34 on images/dogs/* sparsity<={written}")).plan
    assert plan.circuits[0].size.at_most == share


def targets(text: str, model: Layers) -> list[str]:
    words = msgspec.structs.replace(vocabulary(), layers={"torchvision.resnet18": model})
    source = Source("a.circuit", f"model resnet18\npreserve {text} on images/dogs/* keep<=5%")
    return [str(circuit.target) for circuit in compile.compile_source(source, words).plan.circuits]


NAMED = Layers(
    dict.fromkeys(("conv1", "conv2", "conv3", "stem", "layer3.0.conv1", "layer3.1", "layer3.1.conv1"), 2),
    ("conv1", "conv2", "conv3"),
    (
        NamedModule("stem", "Conv2d", layer="conv1"),
        NamedModule("layer3.0.conv1", "Conv2d", layer="conv2"),
        NamedModule("layer3.0.relu", "ReLU"),
        NamedModule("layer3.1.conv1", "Conv2d", layer="conv3"),
        NamedModule("layer3.1", "Block"),
    ),
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("layer3.*:1", ["layer3.0.conv1:1", "layer3.1.conv1:1"]),
        ("*.conv1:[0, 1]", ["layer3.0.conv1:0", "layer3.0.conv1:1", "layer3.1.conv1:0", "layer3.1.conv1:1"]),
        ('"layer*1.*":1', ["layer3.1.conv1:1"]),
        ("*:*", [f"conv{layer}:{unit}" for layer in (1, 2, 3) for unit in (0, 1)]),
        ("c*3:joint(0, 1)", ["conv3:joint(0, 1)"]),
    ],
)
def test_layers_by_a_pattern_are_those_with_kernels(written, expected):
    assert targets(written, NAMED) == expected


def test_a_pattern_needs_modules_that_are_known():
    with pytest.raises(SpecError, match=r"which layers 'layer3\.\*' matches isn't known yet"):
        targets("layer3.*:1", msgspec.structs.replace(NAMED, modules=()))
