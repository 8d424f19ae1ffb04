"""The Markdown summary of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from circuitlang.base.diagnostics import Finding
from circuitlang.base.source import Source, Span
from circuitlang.cli.main import main
from circuitlang.reporting.ci.markdown import markdown
from circuitlang.reporting.ci.record import Record
from circuitlang.results.assertions import Assertion

HOSTILE = "<b> | *a* [b](c) `d`\n# e"


def test_a_run_with_a_failed_assertion(here: Path) -> None:
    here.joinpath("claim.circuit").write_text(
        "circuit face_1 = preserve conv5:34 on images/dogs/* kernels<=338 criterion=magnitude\n"
        "expect face_1.kept <= 9\n"
    )
    done = CliRunner().invoke(main, ["run", "claim.circuit", "--summary", "ci/claim.md"])
    assert done.exit_code == 1
    heading, _, head, rule, row, *rest = here.joinpath("ci", "claim.md").read_text(encoding="utf-8").splitlines()
    assert heading == "### claim: failed"
    assert head.count("|") == rule.count("|") == row.count("|") == 7
    assert row.startswith(r"| face\_1 | preserved | 338 | 5.0% | 0.97")
    assert rest == [
        "",
        "**Failed assertions**",
        "",
        r"- face\_1: kept is 338, expected <= 9 (claim.circuit:2:1)".replace("<", "&lt;"),
    ]


@pytest.mark.parametrize("name", [HOSTILE, "a\x1bb"])
def test_names_are_not_markup(name: str) -> None:
    place = Span(Source(name, "x"), 0, 1)
    promise = Assertion("expectation", name, "test.error", "<=", 0.5, True, None, ("expect", 0, ""))
    record = Record(name, (name,), {}, (promise,), (name,), (Finding("E303", name, place, circuit=name),))
    lines = markdown(record).decode().splitlines()
    assert lines[0].startswith("### ")
    assert lines[0].endswith(": failed")
    assert lines[4].replace(r"\|", "").count("|") == 7
    text = "\n".join(lines)
    assert "<b>" not in text
    assert "[b](" not in text
    assert "\n# e" not in text
    assert "\x1b" not in text
    assert text.count("**") == 4
