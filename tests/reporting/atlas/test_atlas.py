"""The atlas links channels by the circuits that pass through them, and its pages work from a disk."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page

import circuitlang
from circuitlang import pipeline
from circuitlang.api.atlas import write_atlas
from circuitlang.base.diagnostics import InputError, OutputError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.runtime.options import Options
from circuitlang.plan.labels import Label, Labels
from circuitlang.plan.model import Channel
from circuitlang.reporting.atlas.entries import AtlasEntry, entry
from circuitlang.reporting.atlas.links import links
from circuitlang.reporting.atlas.site import Atlas, slug
from circuitlang.reporting.atlas.site_files import write_site
from circuitlang.results.run_listener import RunListener, tracker
from circuitlang.results.types import Result
from tests.conftest import draw_pictures
from tests.helpers.diagram_page import HOSTILE
from tests.helpers.drawn_circuits import RGB, Made, chain, fed_by, result

SPEC = """preserve conv2:[3, 4, 6] on images/dogs/* keep<=20% criterion=gn
preserve conv3:[5, 6, 8, 11] on images/dogs/* keep<=10% criterion=gn
label conv3:11 "stripes"
"""


def measured(
    made: Result, name: str, unit: int | None = None, labels: Labels | None = None, constant: bool = False
) -> AtlasEntry:
    """Return the entry of a drawn circuit with an error, as every measured one has."""
    summary = made.summary
    fidelity = {
        word: msgspec.structs.replace(value, metrics={**value.metrics, "error": 0.1})
        for word in ("train", "test", "without")
        if (value := getattr(summary, word))
    }
    plan = msgspec.structs.replace(summary.plan, id=name)
    if unit is not None:
        plan = msgspec.structs.replace(plan, target=Channel("conv3", unit))
    summary = msgspec.structs.replace(summary, plan=plan, labels=labels, unheard=constant, **fidelity)
    return entry(summary, made.circuit, b"crops")


def other(unit: int) -> Result:
    """Return a circuit that shares one of its two upstream kernels with `chain`."""
    return result(
        [
            Made([(4, 0, 0.9, 1.0, True), (0, 1, 0.3, 0.5, True)], RGB, side=7),
            Made([(2, 4, 0.5, -1.0, True), (3, 0, 0.25, 1.0, True)], fed_by(0, 8)),
            Made([(unit, 2, 0.4, 1.0, True), (unit, 3, 0.3, 1.0, True)], fed_by(1, 8)),
        ],
        unit=unit,
    )


def test_channels_know_the_circuits_that_pass_through_them() -> None:
    entries = [measured(chain(), "one", 6), measured(other(5), "two", 5)]
    made = links(entries)
    assert made.width == {"conv1": 9, "conv2": 9, "conv3": 9}
    assert {number for _, number in made.through["conv2", 2]} == {0, 1}
    assert {number for _, number in made.through["conv1", 0]} == {1}
    # Only effective kernels count, and no circuit passes through its own target.
    assert made.count == {("conv1", 4): 2, ("conv1", 0): 1, ("conv2", 2): 2, ("conv2", 3): 2}
    amounts = [amount for amount, _ in made.through["conv2", 2]]
    assert amounts == sorted(amounts, reverse=True)
    assert all(0 < amount <= 1 for amount in amounts)


def test_similarity_is_the_shared_part_of_the_upstream_kernels() -> None:
    entries = [measured(chain(), "one", 6), measured(other(5), "two", 5)]
    sets = [
        {
            (number, target, source)
            for number, kernels in enumerate(made.circuit.kernels[:2])
            for target, source in zip(kernels.target.tolist(), kernels.source.tolist(), strict=True)
        }
        for made in (chain(), other(5))
    ]
    expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    assert links(entries).similar == {0: [(pytest.approx(expected), 1)], 1: [(pytest.approx(expected), 0)]}


def test_the_most_influential_circuits_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [measured(chain(), f"c{unit}", unit) for unit in range(9)]
    monkeypatch.setattr("circuitlang.reporting.atlas.links.LISTED", 4)
    made = links(entries)
    assert len(made.through["conv2", 2]) == 4
    assert made.count["conv2", 2] == 9


def test_a_drawing_has_whole_paths_by_number() -> None:
    drawing: Any = measured(chain(), "one").drawing
    assert drawing["layers"] == ["image", "conv1", "conv2", "conv3"]
    names = [f"{drawing['layers'][column]}:{unit}" for column, unit, _ in drawing["nodes"]]
    joined = {(names[source], names[target], sign) for source, target, _, sign in drawing["edges"]}
    assert ("conv1:4", "conv2:2", -1) in joined
    assert ("conv2:3", "conv3:6", 1) in joined
    assert [names[number] for number in drawing["target"]] == ["conv3:6"]


@pytest.mark.parametrize("layer", ["conv5", "layer3.0.conv1", "a/b", "..", "\u2603", "x" * 300, "con:1"])
def test_the_folder_of_a_layer_is_a_plain_name_and_its_own(layer: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,59}", slug(layer))
    assert slug(layer) != slug(f"{layer} ")
    assert (slug(layer) == layer) == (layer in ("conv5", "layer3.0.conv1"))


def test_texts_of_strangers_are_texts(tmp_path: Path) -> None:
    labels = Labels([Label("conv3", 6, HOSTILE)])
    files = dict(Atlas(HOSTILE, HOSTILE, [measured(chain(), "one", labels=labels)], labels).files())
    for name, content in files.items():
        if name.endswith(".html"):
            assert b"<script>alert" not in content
            assert b"<img src=x" not in content
    assert json.loads(files["data/network.js"].decode().removeprefix("window.NETWORK = ").rstrip(";\n"))


def test_crops_that_are_no_image_are_left_out() -> None:
    content = io.BytesIO()
    Image.fromarray(np.zeros((8, 32, 3), np.uint8)).save(content, "PNG")
    for crops, there in ((content.getvalue(), True), (b"RIFF" + bytes(20), False), (b"", False)):
        made = measured(chain(), "one")
        files = dict(Atlas("run", "net", [replace(made, crops=crops)]).files())
        assert any(name.endswith((".png", ".webp")) for name in files) == there
        assert files["channels/conv3/6.html"].count(b"<img") == (4 if there else 0)


def test_a_folder_of_others_is_left_alone_and_old_pages_go(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("mine")
    files = list(Atlas("run", "net", [measured(chain(), "one")]).files())
    with pytest.raises(OutputError, match="mine"):
        write_site(tmp_path / "mine", files)
    write_site(tmp_path / "site", files)
    old = tmp_path / "site" / "channels" / "conv9"
    old.mkdir()
    (old / "1.html").write_text("old")
    write_site(tmp_path / "site", files)
    assert not old.exists()
    assert {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*") if path.is_file()} == {
        name for name, _ in files
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, packed, with its atlas."""
    folder = tmp_path_factory.mktemp("atlas")
    draw_pictures(folder, "dogs", 5)
    pipeline.run(Source("<-e>", SPEC, folder), folder / "runs", Options(packed=True, render="none"))
    write_atlas(folder / "runs" / "inline")
    return folder / "runs" / "inline"


def is_ours(message: ConsoleMessage) -> bool:
    """Return whether a message is an error of the page, not of axe, which reads the style sheet once more."""
    return message.type == "error" and "Connecting to" not in message.text


Visit = Callable[..., Page]


@pytest.fixture
def visit(chromium: Browser) -> Any:
    opened, errors = [], []

    def go(path: Path, **options: Any) -> Page:
        context = chromium.new_context(**options)
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if is_ours(message) else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield go
    for context in opened:
        context.close()
    assert errors == []


@pytest.mark.slow
def test_a_packed_run_and_one_of_folders_have_the_same_atlas(run: Path, tmp_path: Path) -> None:
    """But for the crops, and the links to pages. Both tell how far they are."""
    pipeline.run(Source("<-e>", SPEC, run.parent.parent), tmp_path, Options(render="none"))
    progress, again = Steps(), Steps()
    other = write_atlas(tmp_path / "inline", track=tracker(progress)).folder
    write_atlas(run, track=tracker(again))
    assert progress.seen == again.seen
    pages = len(list(other.glob("channels/*/*.html")))
    assert [*dict.fromkeys(label for label, *_ in progress.seen)] == ["reading circuits", "writing pages"]
    assert progress.seen[-1] == ("writing pages", pages, pages)
    names = {path.relative_to(other) for path in other.rglob("*.*")}
    assert names == {
        path.relative_to(run / "atlas") for path in (run / "atlas").rglob("*.*") if path.suffix not in (".webp", ".png")
    }
    for name in names:
        if name.suffix == ".js":
            assert near((other / name).read_text()) == near((run / "atlas" / name).read_text()), name


class Steps(RunListener):
    """What a listener is told of the progress of steps."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def step(self, label: str, done: int, total: int) -> None:
        self.seen.append((label, done, total))


def near(text: str) -> list[Any]:
    """Return a script with its numbers apart: those of packed scores are in half precision."""
    parts = re.split(r"(-?\d+\.\d+)", text)
    return [pytest.approx(float(part), abs=0.01) if number % 2 else part for number, part in enumerate(parts)]


def test_every_link_of_the_site_leads_somewhere(run: Path) -> None:
    for page in (run / "atlas").rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#:]+)"', page.read_text()):
            assert (page.parent / link).exists(), (page, link)


@pytest.mark.slow
def test_from_the_map_to_a_channel_to_what_feeds_it(run: Path, visit: Visit) -> None:
    page = visit(run / "atlas" / "index.html")
    cells = page.locator(".layer", has_text="conv3").locator(".cells a")
    page.locator("#network .cells a").first.wait_for()
    own = cells.locator("visible=true").filter(has_not=page.locator(".passed"))
    assert own.count() == 4
    # One stop for the tab key in each layer, and arrows within it.
    assert page.locator("#network .cells a[tabindex='0']").count() == page.locator("#network .layer").count()
    cells.first.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith("conv3:11 “stripes”: ")
    page.keyboard.press("Enter")
    page.wait_for_url("**/channels/conv3/11.html")
    assert page.locator("h1").inner_text() == "conv3:11 “stripes”"
    page.locator(".paths svg a.target").wait_for()
    feeding = page.locator("section", has=page.locator("#reads")).locator("a").first
    name = feeding.inner_text()
    feeding.click()
    assert page.locator("h1").inner_text().startswith(name)
    assert "conv3:11" in page.locator("section", has=page.locator("#feeds")).inner_text()


@pytest.mark.slow
@pytest.mark.parametrize(("words", "hit"), [("conv2:3", "conv2:3"), ("strip", "conv3:11")])
def test_channels_are_found_by_name_and_by_label(run: Path, visit: Visit, words: str, hit: str) -> None:
    page = visit(run / "atlas" / "channels" / "conv2" / "4.html")
    page.locator("#search").fill(words)
    page.locator("#found a").first.wait_for()
    assert page.locator("#found a").first.inner_text().startswith(hit)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/channels/{hit.replace(':', '/')}.html")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "channels/conv3/11.html", "channels/conv1/2.html"])
def test_pages_can_be_read_by_everybody(run: Path, visit: Visit, name: str, scheme: str) -> None:
    page = visit(run / "atlas" / name, color_scheme=scheme, viewport={"width": 1024, "height": 800})
    page.locator("#network .cells, .paths svg, #none").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1024
    violations = Axe().run(page).response["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in violations] == []


def test_the_numbers_on_a_page_are_those_of_the_circuit(run: Path) -> None:
    frame = circuitlang.load(run).to_frame()
    for row in frame.itertuples():
        page = (run / "atlas" / "channels" / row.layer / f"{row.unit}.html").read_text()
        assert f"{row.kept:,} of {row.relevant:,} kernels" in page
        assert f'<span class="reading">{row.test_pearson:.3f}</span>' in page


def test_the_command_says_where_the_site_is(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["atlas", str(run), "--out", str(tmp_path / "site")], catch_exceptions=False)
    assert done.output.startswith(f"{tmp_path / 'site' / 'index.html'}: 7 circuits, ")
    with pytest.raises(InputError, match="holds no run"):
        write_atlas(tmp_path)


@pytest.mark.slow
def test_a_thousand_circuits_make_a_site_of_a_few_megabytes(tmp_path: Path, visit: Visit) -> None:
    draw_pictures(tmp_path, "dogs", 4)
    sizes = "keep<=each(5%, 10%, 20%, 40%) criterion=gn holdout=0"
    spec = "".join(f"preserve conv{layer}:* on images/dogs/* {sizes}\n" for layer in range(1, 6))
    pipeline.run(Source("<-e>", spec, tmp_path), tmp_path / "runs", Options(packed=True))
    folder = tmp_path / "runs" / "inline"
    frame = circuitlang.load(folder).to_frame()
    assert len(frame) == 4 * 240
    written = write_atlas(folder)
    # Ten thousand would be under 2 GB, and what the first page loads is small.
    assert written.size / written.circuits < 200_000
    first = ("index.html", "atlas.css", "atlas.js", "data/network.js")
    assert sum((written.folder / name).stat().st_size for name in first) < 300_000
    page = visit(written.page)
    page.locator("#network .cells a").first.wait_for()
    assert page.locator("#network .cells a").count() == len(frame.target.unique()) == 240
    page.locator("#search").fill("conv5:34")
    page.locator("#found a").first.wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url("**/channels/conv5/34.html")
    assert page.locator("h2", has_text="reserved").count() >= 1
    page.locator(".paths svg").first.wait_for()
    assert page.locator(".paths svg").count() == 4


@pytest.mark.parametrize("constant", [False, True])
def test_no_part_of_an_image_excites_a_constant_channel_most(constant):
    assert measured(chain(), "face", constant=constant).crops == (b"" if constant else b"crops")
