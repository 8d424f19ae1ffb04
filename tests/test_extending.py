"""The worked examples of CONTRIBUTING are all that it takes: they are applied to a copy of the package and run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT.joinpath("CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = {"criterion": 1, "metric": 1, "clause": 2, "kind of target": 3}
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A path is of the file that the next block is about.
_PATH = re.compile(r"`(circuitlang/[\w/]+\.py)`")


@dataclass(frozen=True)
class Example:
    """A worked example: for each file its whole text or hunks of a diff, and the spec that uses it."""

    files: dict[str, tuple[str, str]]
    spec: str


def example(title: str) -> Example:
    """Return the example of a section, whose heading says how many files it takes."""
    headings = [*re.finditer(r"^##+ (.+)$", PAGE, re.MULTILINE)]
    (place,) = (number for number, heading in enumerate(headings) if re.search(rf"\ba {title}: ", heading[1], re.I))
    section = PAGE[headings[place].end() : headings[place + 1].start()]
    files: dict[str, tuple[str, str]] = {}
    spec = ""
    end = 0
    for block in _FENCE.finditer(section):
        language, text = block[1], block[2]
        if language in ("python", "diff"):
            path = _PATH.findall(section[end : block.start()])[-1]
            assert path not in files
            files[path] = language, text
        elif language == "text" and text.startswith("preserve "):
            spec = text.strip()
        end = block.end()
    return Example(files, spec)


def apply(text: str, diff: str) -> str:
    """Return a text with the hunks of a diff; each must fit in exactly one place."""
    for hunk in diff.split("@@\n")[1:]:
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        assert text.count(before) == 1, before
        text = text.replace(before, "".join(line[1:] for line in lines if line[0] in " +"))
    return text


EXAMPLES = {title: example(title) for title in SECTIONS}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package that has all examples."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("circuitlang", "grammar"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for each in EXAMPLES.values():
        for name, (language, text) in each.files.items():
            path = folder / name
            if language == "python":
                assert not path.exists()
                path.write_text(text, encoding="utf-8")
            else:
                path.write_text(apply(path.read_text(encoding="utf-8"), text), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def runs(package: Path) -> Path:
    """The run of the specs of all examples, and of a circuit that uses none of them."""
    plain = EXAMPLES["clause"].spec.replace(" stem=kept", "")
    spec = "\n".join([plain, *(each.spec for each in EXAMPLES.values())])
    done = circuitlang(package, "run", "-e", spec, "--out", str(package / "runs"))
    assert done.returncode == 0, done.stdout + done.stderr
    return package / "runs" / "inline"


def circuitlang(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    main = f"import sys; sys.path.insert(0, {str(package)!r})\nfrom circuitlang.cli.main import main; main()"
    command = [sys.executable, "-c", main, *arguments]
    return subprocess.run(command, cwd=ROOT / "examples", capture_output=True, text=True)


def metrics(folder: Path) -> dict[str, float]:
    numbers: dict[str, float] = json.loads(folder.joinpath("metrics.json").read_text(encoding="utf-8"))
    return numbers


def plans(runs: Path) -> dict[str, dict[str, object]]:
    return {each["id"]: each for each in yaml.safe_load(runs.joinpath("plan.yaml").read_text())["circuits"]}


@pytest.mark.parametrize(("title", "files"), SECTIONS.items())
def test_an_example_takes_as_many_files_as_its_heading_says(title: str, files: int) -> None:
    number = {1: "one file", 2: "two files", 3: "three files"}[files]
    assert re.search(rf"^##+ .*\ba {title}: {number}$", PAGE, re.MULTILINE | re.IGNORECASE)
    assert len(EXAMPLES[title].files) == files


def test_a_criterion_takes_effect(runs: Path) -> None:
    assert metrics(runs / "conv5_34-norm-0.05")["kept"] > 0


def test_a_metric_takes_effect(runs: Path) -> None:
    folder = runs / "conv5_34-annealed-200kernels"
    assert 0.1 <= metrics(folder)["test.cosine"] <= 1
    assert plans(runs)[folder.name]["bounds"] == [
        {"metric": "cosine", "sample": "test", "relation": ">=", "value": 0.1}
    ]


def test_a_clause_takes_effect(runs: Path, package: Path) -> None:
    with_clause, without = runs / "conv5_34-random-0.05-stem_kept", runs / "conv5_34-random-0.05"
    assert plans(runs)[with_clause.name]["stem"] == "kept"
    assert plans(runs)[without.name]["stem"] == "ranked"
    kept = [
        json.loads(folder.joinpath("circuit.json").read_text(encoding="utf-8"))["layers"][0]["kept"]
        for folder in (without, with_clause)
    ]
    assert kept[0] < kept[1]
    assert "first layer kept" in circuitlang(package, "show", str(with_clause)).stdout
    assert "first layer" not in circuitlang(package, "show", str(without)).stdout


def test_a_clause_is_checked(package: Path) -> None:
    spec = package / "typo.circuit"
    spec.write_text(EXAMPLES["clause"].spec.replace("stem=kept", "stem=kpet"), encoding="utf-8")
    done = circuitlang(package, "check", str(spec))
    assert done.returncode == 1
    assert "ranked or kept" in done.stdout
    assert "did you mean 'kept'?" in done.stdout


def test_a_kind_of_target_takes_effect(runs: Path, package: Path) -> None:
    name = "conv5_mean_34_35-magnitude-0.05"
    assert plans(runs)[name]["target"] == {"kind": "mean", "layer": "conv5", "units": [34, 35]}
    assert metrics(runs / name)["kept"] > 0
    # A plan is read back, and means the same as the spec.
    assert circuitlang(package, "check", str(runs / "plan.yaml")).returncode == 0
