"""The page of two circuits in a browser: what both have, what either has alone, and filters for the three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from circuitlang.plan.labels import Label, Labels
from circuitlang.reporting.comparison_formats.diagram import diagram
from circuitlang.reporting.comparison_formats.diagram_html import diagram_html as compared
from circuitlang.reporting.formats.diagram_html import diagram_html
from circuitlang.results.comparison import Comparison, Member, Pair
from circuitlang.results.outputs import ComparisonResult
from circuitlang.results.overlap import Overlap, Part
from circuitlang.results.rendering import rendered_comparison
from circuitlang.results.types import Result
from circuitlang.results.writer import write_files
from tests.helpers.diagram_page import channels, drawn_edges, node, strands, wait
from tests.helpers.drawn_circuits import RGB, Made, fed_by, result

RENDER = "all"


def other() -> Result:
    """A circuit that shares the first strand with `strands`, and has one of its own."""
    return result(
        [
            Made([(0, 0, 0.9, 1.0, True), (4, 1, 0.8, 1.0, True)], RGB, side=7),
            Made([(2, 0, 0.5, -1.0, True), (5, 4, 0.4, 1.0, True)], fed_by(0, 5)),
            Made([(6, 2, 0.3, 1.0, True), (6, 5, 0.2, 1.0, True)], fed_by(1, 8)),
        ],
        unit=6,
    )


def comparison(*circuits: Result) -> ComparisonResult:
    part = Part(first=7, second=6, shared=3, iou=0.3, expected=None, expected_iou=None, p=None)
    members = [
        Member(name=name, target="conv3:6", images="dogs", how="", relevant=9, zero=0, kept=7, effective=7, pearson=0.9,
               where="held-out")
        for name in ("face", "snout", "ear")[: len(circuits)]
    ]  # fmt: skip
    pairs = [
        Pair(first=0, second=second, overlap=Overlap(total=part, layers={}), agreement=None)
        for second in range(1, len(circuits))
    ]
    layers = {layer.path: layer.name for circuit in circuits for layer in circuit.summary.layers}
    made = Comparison(identity="", model="doodle", noun="kernel", members=members, layers=layers, pairs=pairs)
    return ComparisonResult(made, circuits, beside=[member.name for member in members])


@pytest.fixture
def visit(show: Callable[..., Page], tmp_path: Path) -> Callable[..., Page]:
    """Opens the page of a comparison."""

    def opened(made: ComparisonResult, **options: object) -> Page:
        page = show(strands(), **options)
        (tmp_path / "compared.html").write_bytes(rendered_comparison(made, {"diagram_html"})[0]["diagram.html"])
        page.goto((tmp_path / "compared.html").as_uri())
        return page

    return opened


@pytest.mark.slow
def test_edges_are_shown_by_who_has_them(visit: Callable[..., Page]) -> None:
    page = visit(comparison(strands(), other()))
    both = {("image", "conv1:0"), ("conv1:0", "conv2:2"), ("conv2:2", "conv3:6")}
    first = {("image", "conv1:1"), ("conv1:1", "conv2:3"), ("conv1:0", "conv2:3"), ("conv2:3", "conv3:6")}
    second = {("image", "conv1:4"), ("conv1:4", "conv2:5"), ("conv2:5", "conv3:6")}
    assert drawn_edges(page) == both | first | second
    kinds = "all => all.map(one => [one.dataset.from, one.dataset.to])"
    for kind, edges in (("both", both), ("first", first), ("second", second)):
        assert set(map(tuple, page.locator(f".circuit-edge.{kind}").evaluate_all(kinds))) == edges
    assert channels(page, ".second") == {"conv1:4", "conv2:5"}
    expect(page.locator("#owners")).to_contain_text("in both (3)")
    expect(page.locator("#owners")).to_contain_text("only B (3)")
    page.locator("#owners input[value=first]").uncheck()
    assert drawn_edges(page) == both | second
    expect(page.locator("#count")).to_contain_text("6 of 10 kernels")
    page.locator("#owners input[value=both]").uncheck()
    assert drawn_edges(page) == second
    wait(page, "location.hash.includes('edges=second')")
    page.reload()
    assert drawn_edges(page) == second
    assert not page.locator("#owners input[value=first]").is_checked()
    page.locator("#owners input[value=both]").check()
    node(page, "conv2:5").locator(".circuit-rim").hover()
    expect(page.locator("#card")).to_contain_text("kernels: 1 only in snout")
    links = page.locator("nav a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert links == ["report.html", "../face/diagram.html", "../snout/diagram.html", "../index.html"]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(visit: Callable[..., Page], scheme: str) -> None:
    page = visit(comparison(strands(), other()), color_scheme=scheme)
    page.locator("#owners input[value=first]").uncheck()
    found = Axe().run(page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []


def test_channels_have_their_images_and_labels(visit: Callable[..., Page], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    faced = replace(strands(), exemplars={(1, 3): rng.integers(0, 255, (20, 20, 3), np.uint8)})
    write_files(diagram_html(faced), tmp_path / "face")
    labels = Labels([Label("conv2", 5, "</script>", "face.labels")])
    second = replace(other(), summary=msgspec.structs.replace(other().summary, labels=labels))
    made = comparison(strands(), second)
    page = visit(replace(made, folders=[tmp_path / "face", tmp_path / "gone"]))
    assert node(page, "conv2:3").locator("image").count() == 1
    assert node(page, "conv2:2").locator("image").count() == 0
    expect(node(page, "conv2:5")).to_have_attribute("aria-label", "</script>, conv2:5")
    # Nothing of a page that was changed is shown.
    (tmp_path / "face" / "diagram.html").write_text("changed")
    assert compared(replace(made, folders=[tmp_path / "face", tmp_path / "face"])) == compared(made)


def test_others_of_a_comparison_may_have_more_layers() -> None:
    deep = result([*(Made([(0, 0, 1.0, 1.0, True)], RGB if n == 0 else fed_by(n - 1, 1)) for n in range(5))], unit=0)
    made = comparison(strands(), other(), deep)
    assert set(diagram(made)) == {"diagram-A-B.svg", "diagram-A-C.svg"}
    assert set(compared(made)) == {"diagram-A-B.html", "diagram-A-C.html"}
