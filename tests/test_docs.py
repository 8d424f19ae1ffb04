"""The documentation says what is so: its specs check, its commands print what stands below them."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import circuitlang
from circuitlang import pipeline
from circuitlang.base.source import Source
from circuitlang.compiler.sources import open_source

ROOT = Path(__file__).resolve().parents[1]
# What others include asks for nothing.
SPECS = sorted(
    path
    for path in [*ROOT.glob("specs/**/*.circuit"), *ROOT.glob("examples/*.circuit")]
    if path.name != "network.circuit"
)
TOLERANCE = 0.02  # of a printed number: another build of PyTorch rounds differently


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("renew", ROOT / "docs" / "renew.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["renew"] = module
    spec.loader.exec_module(module)
    return module


renew = _load()
PAGES = renew.pages()


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(language: str) -> list:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        all_blocks = renew.blocks(text)
        for block, following in zip(all_blocks, [*all_blocks[1:], None], strict=False):
            if block.language == language:
                line = text.count("\n", 0, block.start) + 1
                found.append(pytest.param(block.text, following, id=f"{name(page)}:{line}"))
    return found


@pytest.mark.parametrize("path", SPECS, ids=name)
def test_every_spec_checks_without_a_warning(path: Path) -> None:
    compiled = pipeline.compile_source(open_source(path))
    assert compiled.plan.circuits
    assert not compiled.warnings


@pytest.mark.parametrize("path", SPECS, ids=name)
def test_every_spec_says_first_what_it_asks(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize(
    "path", [path for path in SPECS if not re.search("photos|hf://", path.read_text("utf-8"))], ids=name
)
def test_the_pictures_of_a_spec_for_the_bundled_network_are_there(path: Path) -> None:
    from circuitlang.engine.images.file_patterns import find

    plan = pipeline.compile_source(open_source(path)).plan
    assert plan.model.source == "bundled"
    for images in plan.images.values():
        # A single image is named by its path.
        assert len(find(images, path.parent)) > any("*" in pattern for pattern in images.include)


@pytest.mark.parametrize(("text", "following"), blocks("circuit"))
def test_every_circuit_block_checks(text: str, following: object) -> None:
    compiled = pipeline.compile_source(Source("spec.circuit", text, ROOT / "examples"))
    assert not compiled.warnings


@pytest.mark.parametrize(("text", "following"), blocks("circuit-error"))
def test_every_mistake_is_answered_as_printed(text: str, following) -> None:
    assert following is not None
    assert following.language == "text"
    assert renew.findings(text)
    assert following.text == renew.findings(text)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a `circuitlang` that need not import everything for each command."""
    folder = tmp_path_factory.mktemp("programs")
    command = [sys.executable, "-m", "tests.helpers.cli_fork_server", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as serving:
        assert serving.stdin is not None
        assert serving.stdout is not None
        assert serving.stdout.readline() == b"ready\n"
        yield folder
        serving.stdin.close()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for all pages, many of which find the same circuits; also for those that other processes run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache-of-pages"
    folder.mkdir(exist_ok=True)
    return folder


def share(cache: Path, folder: Path, page: str) -> None:
    """Let the commands of a page use the cache, unless they print what is in it."""
    if not re.search("circuitlang (plan|cache|status)", page):
        (folder / ".cache").symlink_to(cache)


README = ROOT / "README.md"
# Pages are run by `make test-slow`, the README as readers run it.
EXECUTED = [pytest.param(page, page == README, id=name(page)) for page in PAGES]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "own"), EXECUTED)
def test_every_command_prints_what_stands_below_it(
    page: Path, own: bool, tmp_path: Path, programs: Path, cache: Path
) -> None:
    folder = renew.sandbox(tmp_path, page)
    at = renew.PROGRAMS if own else programs
    text = page.read_text(encoding="utf-8")
    share(cache, folder, text)
    found = renew.blocks(text)
    # The longer examples of the contributor's guide are followed by a test of their own.
    found = [block for block in found if page.name != "CONTRIBUTING.md" or block.language != "python"]
    for _, step, printed in renew.transcript(found, folder, at):
        assert difference(step.output, tuple(printed.splitlines())) == "", f"{step.command}; `make renew` may be due"


def test_the_page_of_extensions_is_fresh() -> None:
    assert ROOT.joinpath("docs", "criteria.md").read_text(encoding="utf-8") == renew.criteria()


@pytest.mark.slow
def test_the_diagram_is_what_the_example_draws(programs: Path) -> None:
    shown = ROOT.joinpath("docs", "images", "diagram.svg").read_text(encoding="utf-8")
    drawn = renew.diagram(programs).decode()
    texts = [tuple(re.findall(r"<text[^>]*>([^<]+)</text>", svg)) for svg in (shown, drawn)]
    assert texts[0]
    assert difference(*texts) == ""


def test_a_page_is_renewed_by_what_its_commands_and_its_program_print(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    steps = [
        (step.output, tuple(printed.splitlines()))
        for _, step, printed in renew.transcript(renew.blocks(PAGE), tmp_path)
    ]
    assert steps == [(("stale",), ("line", "last")), (("old", "lines"), ("3",)), (("",), ("4",)), ((), ("6",))]


PAGE = """
```text title="a/file.txt"
line
last
```

```console
$ cat a/file.txt
stale
```

```python
number = 3
print(number)
```

```text
old
lines
```

```python
print(number + 1)
```

```text
```

```python
print(number * 2)
```
"""


def test_the_page_of_the_api_has_every_public_name() -> None:
    text = ROOT.joinpath("docs", "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^::: circuitlang\.(\w+)$", text, flags=re.MULTILINE))
    assert listed == set(circuitlang.__all__)


def test_the_menu_has_every_page_once() -> None:
    menu = re.findall(r'= "([\w/-]+\.md)"', ROOT.joinpath("zensical.toml").read_text(encoding="utf-8"))
    assert sorted(menu) == sorted(str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md"))


def test_no_diagram_of_the_documentation_has_photographs() -> None:
    """They belong to others."""
    page = ROOT.joinpath("docs", "gallery.md").read_text(encoding="utf-8")
    blocks = renew.blocks(page)
    shown = {block.title.removesuffix(".circuit"): block.text for block in blocks if block.title}
    commands = " ".join(step.command for block in blocks if block.language == "console" for step in renew.steps(block))
    diagrams = sorted(ROOT.glob("docs/images/gallery/*.svg"))
    assert {path.name.split(".")[0] for path in diagrams} <= set(shown)
    for path in diagrams:
        run = path.name.split(".")[0]
        # Where every channel is visualised, no piece of an image is drawn.
        photos = "photos/" in shown[run] and f"{run}.circuit --visualise all" not in commands
        assert ("<image" in path.read_text(encoding="utf-8")) is not photos


@pytest.mark.slow
def test_the_gallery_is_what_its_specs_draw(tmp_path: Path, programs: Path, cache: Path) -> None:
    page = ROOT / "docs" / "gallery.md"
    text = page.read_text(encoding="utf-8")
    folder = renew.sandbox(tmp_path, page)
    share(cache, folder, text)
    list(renew.transcript(renew.blocks(text), folder, programs))
    drawn = sorted(folder.glob("runs/*/*/diagram.svg"))
    shown = {name: ROOT / "docs" / "images" / "gallery" / name for name in re.findall(r"gallery/([\w.-]+\.svg)", text)}
    compared = 0
    for path in drawn:
        there = shown.get(f"{path.parents[1].name}.{path.parent.name}.svg")
        if there is not None:
            labels = [
                tuple(sorted(re.findall(r"<text[^>]*>([^<]+)</text>", svg.read_text(encoding="utf-8"))))
                for svg in (there, path)
            ]
            assert labels[0]
            assert difference(*labels) == "", f"{there.name}; `make renew` may be due"
            compared += 1
    assert compared == 3


def test_no_link_of_a_page_leads_nowhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert "://" in target or page.parent.joinpath(target).exists(), f"{name(page)}: {target}"


def test_the_architecture_has_every_package_and_names_what_is_there() -> None:
    """Look for each path in the project, in the package, and in the package of the section."""
    text = ROOT.joinpath("docs", "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "circuitlang"
    sections = [section.split("\n", 1) for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    assert packages <= {title for title, _ in sections}
    for title, body in sections:
        for path in re.findall(r"`([\w/]+(?:\.py|\.lark|/))`", body):
            places = (ROOT, package, package / title)
            assert any(place.joinpath(path).exists() for place in places), f"{title}: {path}"


def difference(expected: tuple[str, ...], printed: tuple[str, ...]) -> str:
    """The first lines that differ by more than rounding, hashes and the length of bars; nothing where none do."""
    for left, right in zip(expected, printed, strict=False):
        if not alike(left.split(), right.split()):
            return f"{left!r} stands there, {right!r} is printed"
    return "" if len(expected) == len(printed) else f"{len(expected)} lines stand there, {len(printed)} are printed"


def alike(left: list[str], right: list[str]) -> bool:
    left, right = ([word for word in words if not re.fullmatch("[█▏▎▍▌▋▊▉─]+", word)] for words in (left, right))
    return len(left) == len(right) and all(map(same, left, right))


def same(left: str, right: str) -> bool:
    if re.fullmatch(r"[0-9a-f]{12},?", left):
        return bool(re.fullmatch(r"[0-9a-f]{12},?", right))
    try:
        a, b = (float(word.replace(",", "").rstrip("%")) for word in (left, right))
    except ValueError:
        return left == right
    return abs(a - b) <= TOLERANCE * max(abs(a), 1)


@pytest.mark.parametrize(
    ("expected", "printed", "fine"),
    [
        ("pearson 0.999 on 8", "pearson 0.998 on 8", True),
        ("conv1  39  ███▌ 81.2%", "conv1  39  ███▏ 81.3%", True),
        ("weights aaa994f747b1, images", "weights 503f85486f90, images", True),
        ("pearson 0.999", "pearson 0.9", False),
        ("kept 676", "kept 700", False),
        ("criterion snip", "criterion force", False),
    ],
)
def test_what_counts_as_rounding(expected: str, printed: str, fine: bool) -> None:
    assert (difference((expected,), (printed,)) == "") is fine


def test_lines_that_are_missing_count() -> None:
    assert difference(("a",), ("a", "b"))
    assert difference(("a", "b"), ("a",))
