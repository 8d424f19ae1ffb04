"""Criteria and ablations where a person reads them, and in files for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from circuitlang import pipeline
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA
from circuitlang.reporting.text.extension_calls import without_defaults

COMPLETE = "annealed(passes=16, batch=4, scale=0.1, images=1024, base=gn)"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (COMPLETE, "annealed"),
        ("annealed(base=gn, batch=4, images=1024, passes=8, scale=0.1)", "annealed(passes=8)"),
        ("force(steps=10, base=gn)", "force(base=gn)"),
        ("force(base=snip, steps=5), seed=10", "force(steps=5), seed=10"),
        (f"{COMPLETE}, ablation zero, refitted (kernels(method=end_to_end, passes=16))", None),
        ("mine.force(steps=10)", "mine.force(steps=10)"),
        ("unknown(passes=16)", "unknown(passes=16)"),
        ("snip", "snip"),
        ("", ""),
    ],
)
def test_arguments_that_say_what_holds_anyway_are_left_out(text, short):
    if short is None:
        short = text.replace(COMPLETE, "annealed")
    assert without_defaults(text) == short


@pytest.mark.parametrize("name", [*CRITERIA.declarations, *ABLATIONS.declarations])
def test_every_extension_is_its_name_where_nothing_was_written(name):
    clause = "criterion" if name in CRITERIA.declarations else "ablation"
    spec = f"preserve conv5:34 on images/dogs/* keep<=5% criterion=snip {clause}={name}".replace(
        "criterion=snip criterion", "criterion"
    )
    (circuit,) = pipeline.compile_source(Source("a.circuit", spec)).plan.circuits
    assert without_defaults(getattr(circuit, clause)) == name


@pytest.mark.slow
def test_people_read_the_short_form_and_programs_the_whole(here: Path, with_pages):
    (here / "a.circuit").write_text(
        "preserve conv5:[30, 34] on images/dogs/* kernels<=each(20, 40) criterion=force(steps=2)\n"
    )

    def call(*arguments: str) -> str:
        ran = CliRunner().invoke(main, [*arguments])
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    folder = here / "runs" / "a"
    circuit = folder / "conv5_30-force-20kernels"
    whole, short = "force(steps=2, base=snip)", "force(steps=2)"
    printed = [call("plan", "a.circuit"), call("run", "a.circuit", "--verbose"), call("show", str(folder))]
    for text in (
        *printed,
        (folder / "index.html").read_text(),
        (circuit / "report.txt").read_text(),
        (circuit / "report.html").read_text().replace("criterion=force(steps=2)", ""),
    ):
        assert short in text
        assert whole not in text
    data = json.loads((folder / "sweep.json").read_text())
    assert [curve["label"] for sweep in data["sweeps"] for curve in sweep["curves"]] == [whole]
    assert "base: snip" in (folder / "plan.yaml").read_text()
    assert whole in call("plan", "--json", "a.circuit")
