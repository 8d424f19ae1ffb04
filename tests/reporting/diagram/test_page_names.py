"""Labels and groups on the diagram's page: shown, given by hand, found, and saved as a file."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from playwright.sync_api import Page, expect

from circuitlang.plan.labels import Group, Label, Labels
from circuitlang.results.types import Result
from tests.helpers.diagram_page import channels, drawn_edges, node, seen, strands

RENDER = "all"


def called(made: Result, labels: Labels) -> Result:
    plan = msgspec.structs.replace(made.summary.plan, origin={"circuit": "face.circuit:3"})
    return replace(made, summary=msgspec.structs.replace(made.summary, labels=labels, plan=plan))


def put(page: Page, field: str, text: str) -> None:
    page.fill(field, text)
    page.press(field, "Enter")


@pytest.mark.slow
def test_a_channel_is_called_by_its_label_and_found_by_it(show):
    labels = Labels([Label("features.1", 3, "snout", "face.labels"), Label("conv3", 6, "dog", "face.circuit")])
    page = show(called(strands(), labels))
    expect(node(page, "conv2:3")).to_have_attribute("aria-label", "snout, conv2:3")
    expect(node(page, "conv2:3").locator("text")).to_have_text("snout")
    expect(node(page, "conv3:6").locator("text")).to_have_text("6 dog")
    page.fill("#search", "SNOUT")
    assert channels(page, ".found") == {"conv2:3"}
    page.keyboard.press("Enter")
    expect(page.locator("#channel-name")).to_have_text("snout")
    expect(page.locator("#lines")).to_have_text('label conv2:3 "snout"')
    expect(page.locator("#saving-title")).to_have_text("Names in face.labels")
    assert page.locator("#channels option[value=snout]").get_attribute("label") == "conv2:3"
    page.fill("#label", "not this")
    page.press("#label", "Escape")
    expect(page.locator("#channel-name")).to_have_text("snout")
    assert page.locator("#label").input_value() == "snout"
    put(page, "#label", "")
    expect(page.locator("#channel-name")).to_have_text("conv2:3")
    expect(page.locator("#saving-title")).to_have_text("1 change to save in face.labels")


@pytest.mark.slow
def test_a_group_is_one_node_that_opens(show):
    made = called(seen(strands()), Labels([], [Group("dog face", "conv2", [2, 3, 7], "face.circuit")]))
    page = show(made)
    whole = page.locator("#count").inner_text()
    assert drawn_edges(page) == {
        ("image", "conv1:0"), ("image", "conv1:1"), ("conv1:0", "dog face"), ("conv1:1", "dog face"),
        ("dog face", "conv3:6"),
    }  # fmt: skip
    expect(page.locator("#count")).to_have_text("7 of 7 kernels, 100% of the influence")
    page.fill("#search", "conv2:3")
    assert channels(page, ".found") == {"dog face"}
    page.keyboard.press("Enter")
    expect(page.locator("#channel-figure")).to_contain_text("2 channels of conv2")
    expect(page.locator("#channel-figure")).to_contain_text("68% of input")
    page.locator("input[name=image][value='1']").check(force=True)
    assert node(page, "dog face").locator(".overlay image").count() == 2
    page.locator("input[name=image][value='-1']").check(force=True)
    page.click("#open")
    assert ("conv1:0", "conv2:3") in drawn_edges(page)
    assert page.locator("#count").inner_text() == whole
    page.evaluate("new Promise((done) => setTimeout(done, 100))")
    assert "open=dog+face" in page.url
    # Opened by a key, and closed by the address.
    node(page, "conv2:3").focus()
    page.keyboard.press("g")
    assert page.locator(".circuit-group").count() == 1
    page.evaluate("location.hash = 'channel=conv2:3'")
    expect(node(page, "conv2:3")).to_have_attribute("aria-pressed", "true")
    assert page.locator(".circuit-group").count() == 0


@pytest.mark.slow
def test_names_are_given_by_hand_kept_and_saved(show):
    made = called(
        strands(), Labels([Label("conv1", 1, "edge", "face.labels"), Label("conv3", 6, "dog", "face.circuit")])
    )
    page = show(made)
    node(page, "conv2:3").click()
    put(page, "#label", ' big "snout" ')
    put(page, "#group", "dog face")
    expect(page.locator("#saving-note")).to_contain_text("has one channel yet")
    node(page, "conv2:2").click()
    put(page, "#group", "dog face")
    node(page, "conv3:6").click()
    put(page, "#label", "cat")
    lines = (
        'label conv1:1 "edge"\nlabel conv2:3 "big ”snout”"\nlabel conv3:6 "cat"  # instead of the one in face.circuit\n'
    )
    lines += 'group "dog face" = conv2:[2, 3]'
    expect(page.locator("#lines")).to_have_text(lines, use_inner_text=True)
    with page.expect_download() as saved:
        page.click("#save")
    assert saved.value.suggested_filename == "face.labels"
    assert saved.value.path().read_text() == f"{lines}\n"
    page.reload()
    expect(node(page, "conv2:3").or_(node(page, "dog face")).first).to_be_visible()
    expect(page.locator("#lines")).to_have_text(lines, use_inner_text=True)
    page.click("#discard")
    expect(page.locator("#lines")).to_have_text('label conv1:1 "edge"')
    assert page.evaluate("localStorage.length") == 0
