"""What a run leaves for CI services and scripts: JUnit XML and a summary, whatever became of the run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from click.testing import CliRunner

from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.runtime import job_runner
from circuitlang.pipeline import compile_source
from circuitlang.plan.model import Plan
from circuitlang.results.assertions import assertions
from tests.helpers.fake_results import invented

# A name that is markup wherever it isn't escaped, and a control character that no XML may hold.
HOSTILE = "<b>&\"'\x1b"
SPEC = """\
images dogs = images/dogs/*
defaults criterion=magnitude
circuit good = preserve conv5:34 on dogs kernels<=400 pearson>=0.1
circuit poor = preserve conv5:34 on dogs kernels<=1 pearson>=0.9
circuit failing = preserve conv5:34 on dogs kernels<=3 pearson>=0.9
expect good.kept <= 400
expect good.kept >= 401
"""


def call(*arguments: str, code: int) -> str:
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def ran(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (here / "claims.circuit").write_text(SPEC)
    execute = job_runner.execute

    def sometimes(prepared, job):
        if job.plan.id == "failing":
            raise ValueError(f"no {HOSTILE}")
        return execute(prepared, job)

    monkeypatch.setattr(job_runner, "execute", sometimes)
    call("claims.circuit", "--junit", "ci/claims.xml", "--summary", "ci/claims.json", code=1)
    return here / "ci"


def cases(path: Path) -> dict[str, Xml.Element]:
    root = Xml.parse(path).getroot()
    shaped(root)
    return {f"{each.get('classname')} {each.get('name')}": each for each in root.iter("testcase")}


def shaped(root: Xml.Element) -> None:
    """As Ant's and Jenkins' schemas both have it."""
    (suite,) = root
    assert (root.tag, root.attrib, suite.tag) == ("testsuites", {}, "testsuite")
    order = [child.tag for child in suite]
    within = order[1:-2]
    assert order == ["properties", *["testcase"] * len(within), "system-out", "system-err"]
    assert set(suite.attrib) == {
        "id", "package", "name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    assert int(suite.attrib["tests"]) == len(within)
    for tag, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert int(suite.attrib[count]) == len(list(suite.iter(tag)))
    for case in suite.iter("testcase"):
        assert set(case.attrib) == {"classname", "name", "time"}
        assert float(case.attrib["time"]) >= 0
        assert len(case) <= 1
        for child in case:
            assert child.get("message")
            assert child.tag == "skipped" or child.get("type")


def test_what_holds_what_does_not_and_what_failed(ran):
    found = cases(ran / "claims.xml")
    assert {name: [child.tag for child in case] for name, case in found.items()} == {
        "claims.circuits good": [],
        "claims.circuits poor": [],
        "claims.circuits failing": ["error"],
        "claims.bounds good: test.pearson >= 0.1": [],
        "claims.bounds poor: test.pearson >= 0.9": ["failure"],
        "claims.bounds failing: test.pearson >= 0.9": ["skipped"],
        "claims.expectations good: kept <= 400": [],
        "claims.expectations good: kept >= 401": ["failure"],
    }
    failure = found["claims.expectations good: kept >= 401"][0]
    assert failure.get("message") == "kept is 400, expected >= 401"
    assert (failure.text or "").endswith("at claims.circuit:7:1")
    assert "ValueError: no <b>&\"'␛" in found["claims.circuits failing"][0].get("message", "")
    assert float(found["claims.circuits good"].attrib["time"]) > 0


def test_the_summary_has_every_number_of_metrics_json(ran):
    summary = json.loads((ran / "claims.json").read_text())
    assert set(summary) == {"version", "name", "passed", "circuits", "promises", "findings"}
    assert (summary["version"], summary["name"], summary["passed"]) == (1, "claims", False)
    assert [(each["id"], each["state"]) for each in summary["circuits"]] == [
        ("good", "computed"), ("poor", "computed"), ("failing", "failed"),
    ]  # fmt: skip
    numbers = json.loads((ran.parent / "runs/claims/good/metrics.json").read_text())
    told = summary["circuits"][0]["numbers"]
    assert numbers.pop("verdict") == summary["circuits"][0]["verdict"]
    exact = numbers.keys() - {"extracted_difference"}
    assert told.keys() == numbers.keys()
    assert {name: told[name] for name in exact} == pytest.approx({name: numbers[name] for name in exact}, abs=2e-6)
    assert [(each["circuit"], each["measure"], each["expected"], each["holds"]) for each in summary["promises"]] == [
        ("good", "test.pearson", 0.1, True), ("poor", "test.pearson", 0.9, False),
        ("failing", "test.pearson", 0.9, None), ("good", "kept", 400, True), ("good", "kept", 401, False),
    ]  # fmt: skip
    assert [(each["code"], each["circuit"]) for each in summary["findings"]] == [("E392", "failing")]


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("preserve conv5:34 on images/dogs/*", "E204"),
        ("preserve conv5:34 on images/cats/* sparsity<=0.1", "E302"),
        (f"preserve conv5:34 on images/dogs/* sparsity<=0.1 criterion={HOSTILE[:1]}", "E0"),
    ],
)
def test_a_run_that_never_begins_is_an_error(here, spec, code):
    (here / "wrong.circuit").write_text(spec)
    call("wrong.circuit", "--junit", "wrong.xml", "--summary", "wrong.json", code=1)
    assert cases(here / "wrong.xml")["wrong.run wrong"][0].get("type", "").startswith(code)
    summary = json.loads((here / "wrong.json").read_text())
    assert not summary["passed"]
    assert [each["code"][: len(code)] for each in summary["findings"]] == [code]


def test_a_file_that_cannot_be_written_is_told_beside_what_went_wrong(here):
    (here / "wrong.circuit").write_text("preserve conv5:34 on images/dogs/*")
    (here / "ci").write_text("in the way")
    output = call("wrong.circuit", "--junit", "ci/wrong.xml", code=1)
    assert "error[E204]" in output
    assert "error[E390]" in output


def test_every_key_of_metrics_json_can_be_expected():
    text = "circuit face = preserve conv5:34 on images/dogs/* sparsity<=0.1\n"
    (summary,) = invented(compile_source(Source("spec.circuit", text)).plan).values()
    flat = summary.flat()
    assert {"train.images", "test.pearson.low", "random.pearson", "parameters", "extracted_difference"} <= flat.keys()
    spec = text + "".join(f"expect face.{key} <= {value + 1}\nexpect face.{key} <= -2\n" for key, value in flat.items())
    plan: Plan = compile_source(Source("spec.circuit", spec)).plan
    found = list(assertions(plan, {"face": summary}))
    assert [each.measure for each in found] == [key for key in flat for _ in range(2)]
    assert [each.holds for each in found] == [True, False] * len(flat)


@pytest.mark.parametrize(
    "key",
    ["kept.low", "train.kept", "without.images", "random.pearson.low", "test.images.low", "low", "pearson.middle"],
)
def test_what_is_not_measured_cannot_be_expected(key):
    from circuitlang.base.diagnostics import SpecError

    text = f"circuit face = preserve conv5:34 on images/dogs/* sparsity<=0.1\nexpect face.{key} <= 1\n"
    with pytest.raises(SpecError, match="E116"):
        compile_source(Source("spec.circuit", text))
