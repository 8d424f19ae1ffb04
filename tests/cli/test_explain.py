"""Codes and their pages, and what `explain` and the lists say of everything that has a name."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.base.error_codes import codes, page
from circuitlang.base.source import Source, Span
from circuitlang.cli.main import main
from circuitlang.pipeline import compile_source
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, METRICS, MODELS
from circuitlang.plugins.transforms import TRANSFORMS
from circuitlang.reporting.diagnostics import MACHINE, render
from circuitlang.results.outputs import FORMATS
from tests.conftest import ROOT

PACKAGE = ROOT / "circuitlang"
FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
RECIPE = """
Its first line is '# {code}: TITLE'. A paragraph says in plain English what is wrong. A ```circuit block triggers it (it
is spec.circuit; ```yaml is plan.yaml), a ```console block has '$ circuitlang check spec.circuit' or whatever shows the
finding, and a paragraph tells the cure. `pytest tests/cli/test_explain.py --update-golden` fills in the output.
"""
# No example can show these: it would take another package, the Hub, or a mistake in circuitlang.
NO_EXAMPLE = {
    "E121",
    "E122",
    "E123",
    "E350",
    "E351",
    "E352",
    "E353",
    "E361",
    "E381",
    "E382",
    "E383",
    "E387",
    "E388",
    "E389",
    "E391",
    "E392",
    "E393",
    "E399",
    "W388",
}
EXTENSIONS = [(registry, name) for registry in (CRITERIA, ABLATIONS, METRICS, TRANSFORMS, MODELS, FORMATS)
              for name in registry.declarations]  # fmt: skip


def used() -> set[str]:
    texts = (path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    return {code for text in texts for code in re.findall(r'"([EW]\d{3})"', text)}


def blocks(code: str) -> dict[str, str]:
    about = page(code)
    assert about is not None
    return {match["language"]: match["text"] for match in FENCE.finditer(about.text)}


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def session(console: str, folder: Path) -> str:
    """A console block with what its commands print now; circuitlang and Python are called in this process, all else by
    a shell."""
    lines = []
    for command in re.findall(r"^\$ (.*)$", console, re.MULTILINE):
        quiet = re.fullmatch(r"(circuitlang [^|>]*?)(?: 2>&1)? ?> ?/dev/null", command)
        if quiet is not None:
            printed = CliRunner().invoke(main, quiet[1].split()[1:]).stderr
        elif re.fullmatch(r"circuitlang [^|>]*", command):
            printed = CliRunner().invoke(main, command.split()[1:]).output
        elif command.startswith("python -c "):
            printed = ""
            execute(shlex.split(command)[2], folder)
        else:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            printed = subprocess.run(
                ["bash", "-c", command], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
            ).stdout
        for place in (str(folder), str(ROOT / "examples")):
            printed = printed.replace(place, "/home/you")
        lines += [f"$ {command}", *(line.rstrip() for line in printed.splitlines())]
    return "\n".join(lines) + "\n"


def execute(code: str, folder: Path) -> None:
    """Run Python as in a folder, and forget the modules that it has there."""
    known = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setattr(sys, "dont_write_bytecode", True)
        exec(compile(code, "<string>", "exec"), {})
    for name in set(sys.modules) - known:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_every_code_has_a_page_and_every_page_a_code():
    missing, left = sorted(used() - set(codes())), sorted(set(codes()) - used())
    assert not missing, (
        f"add circuitlang/base/error_codes/{missing[0]}.md{RECIPE.format(code=missing[0])}Missing: {missing}"
    )
    assert not left, f"no code in circuitlang/ uses {left}: remove their pages"


@pytest.mark.parametrize("code", codes())
def test_a_page_says_what_is_wrong_shows_it_and_tells_the_cure(code):
    about = page(code)
    assert about is not None
    assert about.text.startswith(f"# {code}: {about.title}\n\n"), RECIPE.format(code=code)
    assert len(about.summary) > 40, RECIPE.format(code=code)
    assert ("console" in blocks(code)) == (code not in NO_EXAMPLE), RECIPE.format(code=code)
    after = about.text.split("```\n\n")[-1]
    assert len(after) > 15, f"the cure is missing from {code}.md"
    assert max(map(len, FENCE.sub("", about.text).splitlines())) <= 120


@pytest.mark.slow
@pytest.mark.parametrize("code", sorted(set(codes()) - NO_EXAMPLE))
def test_the_example_of_a_page_gets_the_output_that_is_printed_there(
    code, numbers_alone, tmp_path, monkeypatch, request
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIRCUITLANG_PROGRESS", "none")
    (tmp_path / "images").symlink_to(ROOT / "examples" / "images")
    has = blocks(code)
    for language, name in (("circuit", "spec.circuit"), ("yaml", "plan.yaml")):
        if language in has:
            (tmp_path / name).write_text(has[language])
    printed = session(has["console"], tmp_path)
    if request.config.getoption("--update-golden"):
        path = PACKAGE / "base" / "error_codes" / f"{code}.md"
        path.write_text(path.read_text(encoding="utf-8").replace(has["console"], printed), encoding="utf-8")
    else:
        assert printed == has["console"], f"`pytest {request.node.nodeid} --update-golden` renews it"
    assert f"[{code}]" in printed


@pytest.mark.parametrize("code", [code for code in codes() if "check spec.circuit" in blocks(code).get("console", "")])
def test_what_a_text_alone_can_trigger_is_found_without_a_file(code):
    assert code in found(blocks(code)["circuit"])


def found(text: str) -> list[str]:
    try:
        return [finding.code for finding in compile_source(Source("spec.circuit", text)).warnings]
    except CircuitError as error:
        return [finding.code for finding in error.findings]


def test_explain_prints_the_page_of_a_code_however_it_is_written():
    about = page("E102")
    assert about is not None
    assert call("explain", "E102") == about.text
    assert call("explain", "e102") == about.text


@pytest.mark.parametrize(("registry", "name"), EXTENSIONS, ids=[f"{r.kind}-{n}" for r, n in EXTENSIONS])
def test_explain_tells_all_that_is_declared_of_a_name(registry, name):
    said, about = call("explain", name), registry.declarations[name]
    for word in (registry.kind, about.module, about.doc):
        assert word in said
    for parameter in about.parameters:
        assert re.search(rf"^{parameter.name} +{parameter.type} +{parameter.default!r}$", said, re.MULTILINE)


@pytest.mark.parametrize(("word", "cure"), [("snpi", "'snip'"), ("E10", "'E10"), ("", "circuitlang criteria")])
def test_explain_guesses_what_was_meant(word, cure):
    said = call("explain", word, code=1)
    assert "E124" in said
    assert cure in said


def test_criteria_lists_everything_that_ranks_stands_in_or_measures():
    said = call("criteria")
    for registry in (CRITERIA, ABLATIONS, METRICS, TRANSFORMS):
        for name, about in registry.declarations.items():
            (line,) = re.findall(rf"^{name} .*$", said, re.MULTILINE)
            assert line.rstrip().endswith(".")
            assert all(f"{each.name}={each.default}" in line for each in about.parameters)


def test_models_lists_the_sources_and_the_names_that_torchvision_has():
    from torchvision import models

    words = call("models").split()
    assert {*models.list_models(module=models), "bundled.doodle", *MODELS.declarations} <= set(words)


def test_layers_lists_both_names_of_every_layer():
    said = call("layers", "squeezenet1_0(num_classes=7, weights=none)")
    rows = [line.split() for line in said.splitlines()[1:]]
    layers = [row for row in rows if row[1] == "Conv2d"]
    assert len(layers) == 26
    assert layers[0] == ["features.0", "Conv2d", "conv1", "96", "109x109", "288", "7x7", "before"]
    assert layers[-1] == ["classifier.1", "Conv2d", "conv26", "7", "13x13", "3,584", "1x1", "before"]
    assert ["features.3", "Fire", "128", "54x54", "after"] in rows


@pytest.mark.parametrize(
    ("model", "code"),
    [("squeezenet", "E109"), ("alexnet(layers=3)", "E307"), ("alexnet(", "E003"), ('alexnet(weights="no.pt")', "E304")],
)
def test_layers_of_a_model_that_is_not_there(model, code):
    said = call("layers", model, code=1)
    assert f"[{code}]" in said
    assert "--> <MODEL>:1:" in said


def test_a_code_without_a_page_is_still_shown():
    finding = Finding("E999", "brand new", Span(Source("a", "b"), 0, 1))
    assert "E999" in render([finding]).plain
    assert all("E999" in machine([finding]) for machine in MACHINE.values())


def test_another_word_for_a_name_is_explained_too():
    assert call("explain", "correlation") == call("explain", "pearson")


def test_a_clause_without_a_default_names_none():
    assert "default" not in call("explain", "also")
    assert "default is none" in call("explain", "tests")
