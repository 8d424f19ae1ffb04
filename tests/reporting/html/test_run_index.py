"""The index of a run: thumbnails, and tables of very many circuits."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from circuitlang.base.source import Source
from circuitlang.pipeline import compile_source
from circuitlang.plan.labels import Label, Labels
from circuitlang.plan.model import Plan
from circuitlang.reporting.html.run_index import index
from circuitlang.reporting.thumbnail import NO_ICON, stored_thumbnail, thumbnail
from tests.helpers.diagram_page import seen, strands
from tests.helpers.drawn_circuits import empty
from tests.helpers.fake_results import invented

# A WebP of the usual size.
IMAGE = "data:image/webp;base64," + base64.b64encode(np.random.default_rng(0).bytes(600)).decode()
HOSTILE = "</script><img src=x onerror=alert(1)>"


def large(number: int) -> Plan:
    """A plan of many circuits, of which each tenth has a name that is markup."""
    plan = compile_source(Source("large.circuit", "preserve conv5:34 on bundled.dogs keep<=10%")).plan
    (circuit,) = plan.circuits
    names = [f"conv5_{each}{HOSTILE if each % 10 == 0 else ''}" for each in range(number)]
    circuits = [msgspec.structs.replace(circuit, id=name) for name in names]
    return msgspec.structs.replace(plan, circuits=circuits, labels=Labels([Label("conv5", 34, HOSTILE)]))


def made(number: int) -> bytes:
    plan = large(number)
    finished = invented(plan, lambda circuit: int(re.findall(r"_(\d+)", circuit.id)[0]) / number)
    return index("large", plan, finished, thumbnails=dict.fromkeys(finished, IMAGE))


@pytest.mark.slow
def test_ten_thousand_circuits_are_a_page_of_twelve_megabytes() -> None:
    assert len(made(10_000)) < 12_000_000


@pytest.mark.slow
def test_rows_of_a_long_table_are_made_as_they_are_shown(chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(made(1000))
    page = chromium.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "index.html").as_uri())
    rows = page.locator("table.sortable tbody tr")
    assert rows.count() == 200
    assert page.locator("table.sortable img").count() == 200
    expect(page.locator("#more")).to_have_text("Show 200 more of 800")
    page.locator("#more").press("Enter")
    assert rows.count() == 400
    assert rows.nth(399).locator("a").first.get_attribute("href") == "conv5_399/report.html"
    # A row says the same, whether it came as HTML or is made here.
    shape = """row => row.outerHTML.replace(/ data-value="[^"]*"|[0-9.%,]+/g, "").replace(/>\\s+</g, "><").trim()"""
    assert rows.nth(399).evaluate(shape) == rows.nth(199).evaluate(shape)
    page.get_by_role("button", name="pearson", exact=True).click()
    assert rows.count() == 200
    expect(rows.first).to_have_attribute("data-id", "conv5_999")
    page.fill("#filter", "pearson>=0.5 conv5_7")
    expect(page.locator("#filtered")).to_have_text("100 of 1,000")
    expect(page.locator("#more")).to_be_hidden()
    assert page.locator("[onerror]").count() == 0
    assert said == []
    page.close()


def test_a_thumbnail_is_the_icon_of_the_pages_of_a_circuit(tmp_path: Path) -> None:
    assert thumbnail(strands()) == NO_ICON
    assert thumbnail(empty()) == NO_ICON
    image = thumbnail(seen(strands()))
    assert image.startswith("data:image/webp;base64,")
    assert len(image) < 2500
    (tmp_path / "diagram.html").write_text(f'<link rel="icon" href="{image}">' + " " * 10_000)
    assert stored_thumbnail(tmp_path) == image
    (tmp_path / "report.html").write_text('<link rel="icon" href="https://a.test/b.webp">')
    assert stored_thumbnail(tmp_path) == image
    assert stored_thumbnail(tmp_path / "gone") == ""
