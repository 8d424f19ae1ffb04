"""Golden cases of the language: a spec, and what `check` says of it, in one file.

`pytest --update-golden` writes what is said now; read the diff before committing it.
"""

from pathlib import Path

import pytest
from rich.console import Console

from circuitlang.base.diagnostics import SpecError
from circuitlang.base.source import Source
from circuitlang.pipeline import compile_source
from circuitlang.plan.yaml import write_plan
from circuitlang.reporting.diagnostics import render

CASES = sorted((Path(__file__).parent / "golden").glob("*/*.case"))
SEPARATOR = "\n=== expect ===\n"


def outcome(text: str) -> str:
    """The findings, or the plan of a spec without mistakes."""
    source = Source("case.circuit", text)
    console = Console(width=200, color_system=None, force_terminal=False, file=None)
    with console.capture() as captured:
        try:
            compiled = compile_source(source)
            if compiled.warnings:
                console.print(render(compiled.warnings), soft_wrap=True)
            console.print(write_plan(compiled.plan).split("\n", 1)[1], soft_wrap=True, markup=False)
        except SpecError as error:
            console.print(render(error.findings), soft_wrap=True)
    return "\n".join(line.rstrip() for line in captured.get().strip().splitlines()) + "\n"


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_golden(path: Path, request: pytest.FixtureRequest) -> None:
    text, _, expected = path.read_text(encoding="utf-8").partition(SEPARATOR)
    found = outcome(text)
    if request.config.getoption("--update-golden"):
        path.write_text(f"{text}{SEPARATOR}{found}", encoding="utf-8")
        return
    assert found == expected


def test_there_are_cases():
    assert len(CASES) >= 20
