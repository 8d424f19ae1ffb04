"""`circuitlang init` and the bundled images: a first spec that runs wherever circuitlang is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import circuitlang
from circuitlang.base.diagnostics import CircuitError
from circuitlang.bundled.doodles import CLASSES
from circuitlang.bundled.images import SETS, set_files
from circuitlang.cli.main import main
from tests.conftest import ROOT


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


@pytest.mark.slow
def test_a_first_spec_runs(here: Path, numbers_alone: None) -> None:
    result = call("init", "first")
    assert result.exit_code == 0, result.output
    assert "next: cd first && circuitlang run first.circuit" in result.stdout
    assert len((here / "first" / "README.md").read_text().splitlines()) == 5
    assert call("check", "first/first.circuit").exit_code == 0
    run = circuitlang.run("first/first.circuit", out="first/runs")
    assert run.names() == ["dog", "snout"]
    assert run["dog"].metrics["test.pearson"] > 0.9
    assert all(len(line) <= 120 for line in (here / "first" / "first.circuit").read_text().splitlines())
    assert call("fmt", "--check", "first/first.circuit").exit_code == 0


@pytest.mark.parametrize("taken", ["README.md", "first.circuit", "images"])
def test_nothing_is_overwritten(here: Path, taken: str) -> None:
    Path(taken).write_text("mine")
    result = call("init")
    assert result.exit_code == 1
    assert f"error[E366]: {taken} is there already" in result.stderr
    assert [path.name for path in here.iterdir()] == [taken]


def test_a_folder_that_can_not_be_written(here: Path) -> None:
    """Not even by root."""
    result = call("init", "/proc/new")
    assert result.exit_code == 1
    assert "can't write into /proc/new" in result.stderr


def test_a_file_in_place_of_the_folder(here: Path) -> None:
    (here / "file").write_text("")
    result = call("init", "file/below")
    assert result.exit_code == 1
    assert "can't write into file/below" in result.stderr


def test_init_imports_no_torch(here: Path) -> None:
    code = "from circuitlang.cli.main import main\ntry: main(['init', 'x'])\nfinally: print('torch' in sys.modules)"
    code = f"import sys; {code}"
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_bundled_sets_are_the_classes_of_the_network() -> None:
    assert SETS == CLASSES
    for name in SETS:
        assert set_files(name) == sorted((ROOT / "examples" / "images" / name).iterdir())


@pytest.mark.slow
def test_bundled_images_are_named_in_a_spec(here: Path, numbers_alone: None) -> None:
    spec = """
    images pets = [bundled.dogs, bundled.cats] limit=20
    circuit one = preserve conv5:34 on bundled.dogs kernels<=90 criterion=snip
    circuit two = preserve conv5:34 on pets kernels<=90 criterion=snip
    """
    run = circuitlang.run(spec)
    assert run["one"].metrics["train.images"] + run["one"].metrics["test.images"] == 40
    assert run["two"].metrics["train.images"] + run["two"].metrics["test.images"] == 20
    (same,) = circuitlang.run(
        f'circuit one = preserve conv5:34 on "{ROOT}/examples/images/dogs/*" kernels<=90 criterion=snip', out="files"
    )
    assert same.summary.provenance.train_images == run["one"].summary.provenance.train_images


def test_the_example_of_the_help_runs(here: Path, numbers_alone: None) -> None:
    (line,) = re.findall(r"^ +circuitlang run -e '(.*)'$", call("--help").stdout, re.MULTILINE)
    assert len(circuitlang.run(line)) == 1


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("preserve conv5:34 on bundled.dog kernels<=9", "did you mean 'bundled.dogs'?"),
        ('preserve conv5:34 on "bundled:dogz" kernels<=9', "did you mean 'dogs'?"),
        ("preserve conv5:34 on dogs kernels<=9", "no image set is defined"),
    ],
)
def test_mistakes_in_the_names_of_bundled_sets(here: Path, spec: str, words: str) -> None:
    with pytest.raises(CircuitError) as caught:
        circuitlang.run(spec)
    assert words in " ".join((caught.value.findings[0].help, caught.value.findings[0].label))
