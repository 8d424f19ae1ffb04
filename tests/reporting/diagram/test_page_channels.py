"""Channels on the diagram's page: found, explained, walked through and saved."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from circuitlang.base.source import Source
from circuitlang.pipeline import compile_source
from tests.helpers.diagram_page import channels, dimmed, node, seen, slide, strands
from tests.helpers.drawn_circuits import residual

RENDER = "all"


@pytest.mark.slow
def test_a_channel_is_found_as_people_write_it(show):
    page = show(strands())
    page.fill("#search", "conv2")
    expect(page.locator("#status")).to_have_text("2 channels found")
    assert page.locator(".circuit-node.found").count() == 2
    for query, found in {
        "CONV1:1": {"conv1:1"},
        "features.1:3": {"conv2:3"},
        "features.1 : 3": {"conv2:3"},
        "features.1": {"conv2:2", "conv2:3"},
        "features": {"conv1:0", "conv1:1", "conv2:2", "conv2:3", "conv3:6"},
        ":3": {"conv2:3"},
    }.items():
        page.fill("#search", query)
        assert channels(page, ".found") == found, query
    page.fill("#search", "features.0:1")
    page.keyboard.press("Enter")
    expect(node(page, "conv1:1")).to_be_focused()
    expect(page.locator("#channel")).to_be_visible()
    expect(page.locator("#card")).to_be_hidden()
    assert "conv2:2" in dimmed(page)
    page.fill("#search", "conv9")
    expect(page.locator("#status")).to_have_text("no channel is called conv9")
    # One that is not drawn is drawn when it is gone to.
    page.keyboard.press("Escape")
    slide(page, 1)
    page.fill("#search", "conv2:3")
    expect(page.locator("#status")).to_have_text("1 channel found, 1 not drawn")
    page.keyboard.press("Enter")
    expect(node(page, "conv2:3")).to_be_visible()


@pytest.mark.slow
def test_a_channel_is_seen_large_and_the_circuit_is_walked(show):
    page = show(seen(strands()))
    panel = page.locator("#channel")
    expect(panel).to_be_hidden()
    node(page, "conv3:6").click()
    expect(panel).to_contain_text("conv3:6")
    expect(panel).to_contain_text("the target")
    assert panel.locator(".step").count() == 2
    expect(panel).to_contain_text("60% of input")
    page.locator("input[name=image][value='1']").check(force=True)
    expect(panel).to_contain_text("circuit")
    assert panel.locator("image").count() == 2 + 2 + 1 + 2
    panel.locator(".step").nth(1).click()
    expect(panel.locator("#channel-name")).to_have_text("conv2:3")
    expect(panel).to_contain_text("goes to")
    assert dimmed(page) == {"conv2:2"}
    panel.locator(".step").first.focus()
    page.keyboard.press("Enter")
    expect(panel.locator("#channel-name")).to_have_text("conv1:1")
    assert page.evaluate("document.activeElement.closest('#channel') !== null")
    found = Axe().run(page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    page.click("#close")
    expect(panel).to_be_hidden()


@pytest.mark.slow
def test_the_large_view_is_saved_for_a_paper(show):
    page = show(seen(strands()), color_scheme="dark")
    node(page, "conv2:3").click()
    with page.expect_download() as saved:
        page.click("#svg")
    assert saved.value.suggested_filename == "conv2_3.svg"
    text = saved.value.path().read_text(encoding="utf-8")
    # Few programs for drawing read WebP.
    assert "data:image/jpeg" in text
    assert "image/webp" not in text
    root = ElementTree.fromstring(text)
    assert root.get("width") == "252pt"
    assert root.get("viewBox").split()[2] == "252"
    sizes = [float(text.get("font-size")) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert min(sizes) >= 7
    assert "var(" not in ElementTree.tostring(root, encoding="unicode")
    with page.expect_download() as saved:
        page.click("#png")
    picture = Image.open(saved.value.path())
    assert picture.width == 2100  # 3.5 inches at 600 pixels an inch
    assert picture.convert("RGB").getpixel((5, 5)) == (255, 255, 255)
    with page.expect_download():
        page.keyboard.press("e")


@pytest.mark.slow
def test_the_card_of_a_kernel_shows_its_weights(show):
    made = strands()
    made.circuit.kernels[1].weight[0] = np.array([[1, 0, 0], [0, -2, 0], [0, 0, 0.5]])
    page = show(made)
    edge = page.locator('.circuit-edge[data-to="conv2:2"]')
    box = edge.evaluate("one => { const p = one.getPointAtLength(one.getTotalLength() / 2).matrixTransform("
                        "one.getScreenCTM()); return [p.x, p.y] }")  # fmt: skip
    page.mouse.move(*box)
    card = page.locator("#card")
    expect(card).to_be_visible()
    expect(card).to_contain_text("conv1:0 → conv2:2")
    expect(card).to_contain_text("score 0.5, rank 3 of 7")
    expect(card).to_contain_text("3×3 kernel, weight sum -0.5")
    expect(card).to_contain_text("full colour is ±2")
    expect(card.locator("code")).to_contain_text("edit NAME = conv2:2 <- conv1:0 scale=0 on")
    fills = card.locator("rect").evaluate_all("all => all.map(one => one.getAttribute('fill'))")
    assert len(fills) == 9
    assert fills[0].startswith("color-mix(in oklab, var(--excite) 50%")
    assert "var(--inhibit)" in fills[4]
    assert fills[1] == fills[2]
    page.mouse.move(2, 2)
    expect(card).to_be_hidden()


@pytest.mark.slow
def test_the_card_of_a_sum_says_so(show):
    page = show(residual())
    assert page.locator(".circuit-sum").count() == 1
    assert page.locator(".circuit-edge[stroke-dasharray]").count() == 1  # conv1:0 past conv2
    node(page, "conv3:3").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#card")).to_contain_text("reads the sum conv1:0 + conv2:0")
    expect(page.locator("footer")).to_contain_text("reads a sum")


@pytest.mark.slow
def test_arrow_keys_go_along_the_edges(show):
    page = show(strands())
    focused = "(({channel, from, to}) => channel || from + '>' + to)(document.activeElement.dataset)"
    page.locator("#stage").focus()
    page.keyboard.press("Tab")
    walked = [page.evaluate(focused)]
    for key in ("ArrowLeft", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
        walked.append(page.evaluate(focused))
    assert walked[:4] == ["conv3:6", "conv2:2>conv3:6", "conv2:3>conv3:6", "conv2:3"]
    assert walked[4] in ("conv2:2", "conv2:3")  # whichever is above
    assert walked[-3:] == [walked[5] + ">conv3:6", "conv3:6", "conv3:6"]
    expect(page.locator("#card")).to_contain_text("conv3:6")
    expect(node(page, "conv3:6")).to_have_attribute("aria-pressed", "true")


@pytest.mark.slow
def test_the_card_of_a_channel_has_the_line_of_its_edit(show):
    page = show(strands())
    for name, lines in (("conv2:3", 1), ("image", 0)):
        node(page, name).hover()
        expect(page.locator("#card")).to_be_visible()
        expect(page.locator("#card code")).to_have_count(lines)
        page.mouse.move(2, 2)
        expect(page.locator("#card")).to_be_hidden()
    node(page, "conv2:3").hover()
    plan = strands().summary.plan
    line = f"edit NAME = conv2:3 scale=0 on {plan.images} measure {plan.target}"
    expect(page.locator("#card code")).to_have_text(line)
    compile_source(Source("spec.circuit", f"images dogs = images/dogs/*\n{line}"))
