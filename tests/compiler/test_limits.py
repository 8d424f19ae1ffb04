"""A short text can stand for a lot: everything is counted before it is made."""

import msgspec
import pytest

from circuitlang.base.diagnostics import SpecError
from circuitlang.base.source import Source
from circuitlang.compiler import checker as checking
from circuitlang.compiler import expand as expanding
from circuitlang.compiler import targets
from circuitlang.compiler.limits import MOST, MOST_COMPARED, MOST_MISTAKES, MOST_OF_A_FILE
from circuitlang.pipeline import compile_source

UNKNOWN = "model alexnet(weights=none, num_classes=7)\n"
MANY = ", ".join(map(str, range(1, 1001)))
TEN = ", ".join(map(str, range(10)))


def refused(text: str) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        compile_source(Source("spec.circuit", text))
    assert all(finding.span is not None for finding in caught.value.findings)
    return tuple(finding.code for finding in caught.value.findings)


@pytest.fixture
def no_more(monkeypatch):
    """Fail where more is made than a limit allows, so that a limit which comes too late is seen and not waited for."""

    def bounded(made):
        for number, each in enumerate(made):
            assert number <= MOST
            yield each

    chosen = expanding.product
    monkeypatch.setattr(expanding, "product", lambda *options: bounded(chosen(*options)))


@pytest.mark.parametrize(
    "target",
    [
        "conv1:[0..9000000]",
        "conv1:[0..100000]",
        "conv1:[0..99999, 100000]",
        "conv1:[0..49999, 50000..99999, 100000..149999]",
        "conv1:each(0..9000000)",
        "conv1:joint(0..9000000)",
        "conv1:joint(1, 3..9223372036854775807)",
        "conv1:[0..9223372036854775807]@max",
    ],
)
@pytest.mark.parametrize(
    "verb", ["preserve {} on a/*", "circuit c = split {} on a/* into 2", "circuit c = preserve {} on a/*"]
)
def test_channels_are_counted_before_they_are_listed(target, verb, no_more):
    assert refused(f"{UNKNOWN}{verb.format(target)} kernels<=3") == ("E211",)


def test_channels_of_a_target_statement_are_counted():
    assert "E211" in refused(f"{UNKNOWN}target t = conv1:[0..9000000]\npreserve conv1:0 on a/* kernels<=3")


def test_a_layer_that_is_known_says_what_channels_it_has():
    assert refused("preserve conv1:[0..9000000] on a/* kernels<=3") == ("E111",)


@pytest.mark.parametrize(
    "text",
    [
        f"preserve conv1:[0..10] on a/* kernels<=each({MANY}) seed=each({TEN})",
        f"preserve conv1:* on a/* kernels<=each({MANY}) seed=each({TEN})",
        f"defaults kernels<=each({MANY})\npreserve conv1:[0..10] on a/* seed=each({TEN})",
        f"preserve conv1:0 on a/* criterion=force(steps=each({MANY}), criterion=each({MANY})) kernels<=each({MANY})",
        "preserve conv1:0 on a/* kernels<=3 criterion="
        + "force(steps=" * 40
        + f"each({MANY})"
        + ")" * 40
        + f" seed=each({MANY})",
        f"preserve conv1:0 on a/* kernels<=each(each({MANY}), each({MANY})) seed=each(1, 2, 3, 4, 5, 6)",
    ],
)
def test_channels_and_values_multiply(text, no_more):
    assert set(refused(text)) == {"E211"}


def test_as_many_as_are_allowed_are_made(monkeypatch):
    for module in (checking, expanding, targets):
        monkeypatch.setattr(module, "MOST", 500)
    text = f"{UNKNOWN}preserve conv1:[1..{{}}] on a/* kernels<=3"
    assert len(compile_source(Source("", text.format(500))).plan.circuits) == 500
    assert refused(text.format(501)) == ("E211",)


def test_a_file_is_counted_as_a_whole(monkeypatch):
    assert MOST <= MOST_OF_A_FILE
    monkeypatch.setattr(checking, "MOST_OF_A_FILE", 25)
    lines = [f"preserve conv{number}:[1..10] on a/* kernels<=3\n" for number in range(3)]
    assert refused(UNKNOWN + "".join(lines)) == ("E211",)
    assert len(compile_source(Source("", UNKNOWN + "".join(lines[:2]))).plan.circuits) == 20


def test_a_long_statement_stands_for_fewer():
    units = ", ".join(map(str, range(0, 18000, 2)))
    assert refused(f"{UNKNOWN}preserve conv1:joint({units}) on a/* kernels<=each({MANY})") == ("E211",)
    assert refused(f"{UNKNOWN}preserve conv1:joint(0..9999) on a/* kernels<=each({MANY}) seed=each(1, 2, 3)") == (
        "E211",
    )


def test_sets_of_sets_do_not_double_for_ever():
    lines = [f"images i{number + 1} = [i{number}, i{number}]\n" for number in range(60)]
    text = f"images i0 = a/*\n{''.join(lines)}preserve conv1:0 on i60 kernels<=3 test=i60"
    assert refused(text) == ("E211",)


def test_what_is_compared_is_counted():
    text = f"{UNKNOWN}circuit c = preserve conv1:[0..{MOST_COMPARED}] on a/* kernels<=3\n"
    assert refused(f"{text}compare c") == ("E211",)
    assert len(compile_source(Source("", f"{text}expect c.r2 >= 0.1")).plan.expectations) == 1


@pytest.mark.slow
def test_what_is_expected_is_counted():
    text = f"{UNKNOWN}circuit c = preserve conv1:[1..10000] on a/* kernels<=3\n"
    assert refused(text + "expect c.r2 >= 0.1\n" * 200) == ("E211",)


def test_after_many_mistakes_the_rest_is_not_read():
    codes = refused("nonsense\n" * 100_000)
    assert len(codes) == MOST_MISTAKES + 2
    assert "E009" in codes


@pytest.mark.parametrize(
    "number", ["9" * 5000, "1e400", "-1e400", "1e400%", f"1e{'9' * 5000}%", f"1e-{'9' * 5000}%", str(2**63), "9" * 30]
)
@pytest.mark.parametrize(
    "text",
    [
        "preserve conv1:{} on a/* kernels<=3",
        "preserve conv1:joint(1, {}) on a/* kernels<=3",
        "preserve conv1:[0..{}] on a/* kernels<=3",
        "preserve conv1:0@({}, 1) on a/* kernels<=3",
        "preserve {}*conv1:0 + conv1:1 on a/* kernels<=3",
        "preserve class({}) on a/* kernels<=3",
        "preserve conv1:0 on a/* kernels<={}",
        "preserve conv1:0 on a/* sparsity<={}",
        "preserve conv1:0 on a/* kernels<=each(1, {})",
        "preserve conv1:0 on a/* kernels<=3 seed={}",
        "preserve conv1:0 on a/* kernels<=3 r2>={}",
        "preserve conv1:0 on a/* kernels<=3 criterion=force(steps={})",
        "split conv1:0 on a/* into {} kernels<=3",
        "images i = a/* limit={}\npreserve conv1:0 on i kernels<=3",
        "model alexnet(weights=none, num_classes={})\npreserve conv1:0 on a/* kernels<=3",
        "model alexnet(mean=[{}, 0, 0])\npreserve conv1:0 on a/* kernels<=3",
        "circuit c = preserve conv1:0 on a/* kernels<=3\nexpect c.r2 >= {}",
    ],
)
def test_numbers_of_any_size_are_read_or_refused(text, number):
    try:
        compiled = compile_source(Source("spec.circuit", text.format(number)))
    except SpecError:
        return
    # What is not refused can be written down, as a run does.
    assert msgspec.json.encode(compiled.plan)
    assert "inf" not in repr(compiled.plan.circuits)


def test_what_every_circuit_repeats_is_short():
    patterns = ", ".join(f'"{number}/{"x" * 50}"' for number in range(400))
    text = f"preserve conv1:[0..2] on [{patterns}] kernels<=3\npreserve conv1:0 on [{patterns}, b/*] kernels<=3\n"
    plan = compile_source(Source("spec.circuit", text)).plan
    assert max(len(each.statement) for each in plan.circuits) < 1100
    assert max(map(len, plan.images)) < 1100
    assert len(plan.images) == 2
