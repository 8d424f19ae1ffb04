"""What is installed is whole: the wheel, and a checkout installed in place."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from circuitlang.compiler.grammar import grammar_file, tables_file

RENDER = "all"

ROOT = Path(__file__).resolve().parents[1]
SPEC = "preserve conv5:34 on images/dogs/* sparsity<=0.1 criterion=snip\n"


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--sdist", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (found,) = distributions.glob("circuitlang-*.whl")
    return found


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_carries_what_is_not_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {
        "grammar/circuit.lark",
        "grammar/circuit.tables",
        "py.typed",
        "base/error_codes/E102.md",
        "reporting/html/templates/report.html",
        "reporting/html/templates/page.css",
        "reporting/html/templates/page.js",
        "reporting/diagram/page/page.css",
        "reporting/diagram/page/page.html",
        "reporting/diagram/page/arrange.js",
        "bundled/weights.safetensors",
        "bundled/MODEL_CARD.md",
    }
    assert {f"circuitlang/{each}" for each in wanted} <= names
    assert any(each.endswith("licenses/LICENSE") for each in names)


def test_the_wheel_carries_every_module_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {each for each in archive.namelist() if ".dist-info/" not in each}
    modules = {str(path.relative_to(ROOT)) for path in ROOT.glob("circuitlang/**/*.py")}
    assert {each for each in names if each.endswith(".py")} == modules
    assert {each for each in names if not each.startswith("circuitlang/")} == set()


@pytest.mark.parametrize(("spec", "code"), [(SPEC, 0), (SPEC.replace("conv5", "conv9"), 1)])
def test_the_wheel_alone_checks_a_spec(unpacked: Path, tmp_path: Path, spec: str, code: int) -> None:
    tmp_path.joinpath("spec.circuit").write_text(spec)
    # Before everything else on the path, so before the checkout that is installed in place.
    first = f"import sys; sys.path.insert(0, {str(unpacked)!r})"
    main = f"{first}\nfrom circuitlang.cli import main; print(main.__file__); main.main()"
    done = subprocess.run(
        [sys.executable, "-I", "-c", main, "check", "spec.circuit"], cwd=tmp_path, capture_output=True, text=True
    )
    where, *output = done.stdout.splitlines()
    assert Path(where).is_relative_to(unpacked)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("no mistakes" if code == 0 else "E102") in "\n".join(output)


def test_the_grammar_is_found_from_a_checkout_and_is_the_wheels(unpacked: Path) -> None:
    carried = unpacked / "circuitlang" / "grammar" / "circuit.lark"
    assert grammar_file() == ROOT / "grammar" / "circuit.lark"
    assert carried.read_bytes() == grammar_file().read_bytes()
    assert carried.with_name("circuit.tables").read_bytes() == tables_file().read_bytes()


def test_the_version_is_written_once_and_the_same() -> None:
    import circuitlang

    pyproject = ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8")
    changelog = ROOT.joinpath("CHANGELOG.md").read_text(encoding="utf-8")
    assert f'version = "{circuitlang.__version__}"' in pyproject
    assert f"## [{circuitlang.__version__}]" in changelog
    citation = ROOT.joinpath("CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {circuitlang.__version__}\n" in citation
    assert f"version = {{{circuitlang.__version__}}}" in ROOT.joinpath("docs", "citing.md").read_text(encoding="utf-8")


def test_the_index_of_packages_would_take_both(distributions: Path) -> None:
    files = sorted(str(path) for path in distributions.iterdir())
    done = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_links_of_the_description_lead_into_the_repository(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    (repository,) = re.findall(r"^Project-URL: Repository, (.*)$", metadata, flags=re.MULTILINE)
    raw = repository.replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
    pages = f"{repository}/blob/main/"
    description = metadata.split("\n\n", 1)[1]
    targets = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", description)
    readme = ROOT.joinpath("README.md").read_text(encoding="utf-8")
    assert len(targets) == len(re.findall(r"\[[^\]]*\]\([^)]+\)", readme)) > 20
    for mark, target in targets:
        assert target.startswith("https://"), target
        prefix = raw if mark else pages
        if repository in target or mark:
            assert target.startswith(prefix), target
            path = target.removeprefix(prefix).removesuffix("?sanitize=true").split("#")[0]
            assert ROOT.joinpath(path).exists(), target


def test_the_wheel_declares_its_command_and_its_lexer(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        assert "circuitlang = circuitlang.cli.main:main" in archive.read(name).decode()
        assert "[pygments.lexers]\ncircuitlang = " in archive.read(name).decode()
