"""A newcomer's session on a terminal, from `init` to the page of a run, as one recording."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.helpers.pseudo_terminal import SIZES, Session, Terminal

# The run that its tests share takes seconds.
pytestmark = pytest.mark.slow

# The prompt and the command are printed before its output, as on a screen.
SHELL = """
circuitlang() {{ "{python}" -m circuitlang "$@"; }}
python() {{ "{python}" "$@"; }}
enter() {{ echo "$ $*"; "$@"; echo "exit $?"; }}
enter circuitlang init first
cd first
enter circuitlang run first.circuit
sed 's/keep<=2%/kep<=2%/' first.circuit > mine.circuit
enter circuitlang run mine.circuit
enter circuitlang show --full runs/first/dog
enter python own.py
enter circuitlang open first
"""
OWN = """
import circuitlang
import torch

torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
images = torch.rand(8, 3, 16, 16)
circuit = circuitlang.preserve(network, '"2":1', on=images, sparsity=0.5, criterion="snip", name="mine")
print(circuit)
print(f"held-out pearson {circuit.metrics['test.pearson']:.3f}")
"""
# In place of a browser: it writes down the address that it is to show.
BROWSER = "#!/bin/sh\necho $1 > {folder}/opened\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("session")


@pytest.fixture(scope="module")
def session(folder: Path) -> Session:
    """All that stands on the terminal in the end."""
    (folder / "first").mkdir()
    (folder / "first" / "own.py").write_text(OWN)
    (folder / "session.sh").write_text(SHELL.format(python=sys.executable))
    browser = folder / "browser"
    browser.write_text(BROWSER.format(folder=folder))
    browser.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("BROWSER", str(browser))
        patch.setenv("CIRCUITLANG_RENDER", "diagram")
        patch.setenv("CIRCUITLANG_CACHE", str(folder / "cache"))
        return Terminal(*SIZES[0], ["bash", "session.sh"]).wait()


@pytest.fixture(scope="module")
def parts(session: Session) -> dict[str, list[str]]:
    """The lines below each command, the last of which is its exit code."""
    blocks = re.split(r"^\$ ", session.text, flags=re.MULTILINE)[1:]
    return {lines[0]: lines[1:] for lines in (block.rstrip().split("\n") for block in blocks)}


def test_no_command_shows_a_traceback(session, parts):
    assert "Traceback" not in session.text
    codes = [lines[-1] for lines in parts.values()]
    assert codes == ["exit 0", "exit 0", "exit 1", "exit 0", "exit 0", "exit 0"]


def test_init_says_what_to_run(parts):
    lines = parts["circuitlang init first"]
    assert lines[:2] == [
        "wrote first/first.circuit, its images and a README.md",
        "next: cd first && circuitlang run first.circuit",
    ]


def test_the_first_run_says_what_is_preserved_and_where_the_diagram_is(parts, folder):
    lines = parts["circuitlang run first.circuit"]
    assert lines[0].startswith("╭─ dog ")
    assert lines[1].startswith("│ preserved: conv5:34 of doodle, on dogs ")
    (diagram,) = (line.split()[1] for line in lines if re.match(r"diagram +runs/first/dog/", line))
    assert (folder / "first" / diagram).is_file()
    assert "side by side in runs/first/index.html" in lines
    assert any("dog and snout" in line for line in lines), "the comparison"


def test_a_mistake_gets_its_place_and_its_cure(parts):
    lines = parts["circuitlang run mine.circuit"]
    assert re.match(r" *--> mine.circuit:6:\d+$", lines[1])
    assert any("did you mean 'keep'?" in line for line in lines)


def test_the_report_that_a_run_suggests_is_there(parts):
    lines = parts["circuitlang run first.circuit"]
    assert any(re.fullmatch("more +circuitlang show --full runs/first/dog", line) for line in lines)
    assert any(line.startswith("strongest kernels") for line in parts["circuitlang show --full runs/first/dog"])


def test_an_own_network_is_a_line_of_python(parts):
    lines = parts["python own.py"]
    assert lines[0].startswith("<circuit 2:1: ")
    assert re.fullmatch(r"held-out pearson -?\d\.\d+", lines[1])


def test_the_page_of_the_run_opens(parts, folder):
    assert parts["circuitlang open first"][0] == "runs/first/index.html"
    address = (folder / "opened").read_text().strip()
    assert address == (folder / "first" / "runs" / "first" / "index.html").as_uri()
