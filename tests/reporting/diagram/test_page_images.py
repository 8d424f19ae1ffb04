"""Images on the diagram's page: activation maps and feature visualisations."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.helpers.diagram_page import node, seen, strands, wait

RENDER = "all"


@pytest.mark.slow
def test_a_picture_shows_every_channels_maps(show):
    page = show(seen(strands()))
    expect(page.locator("#inside input").first).to_be_disabled()
    page.locator("input[name=image][value='1']").check(force=True)
    expect(page.locator("#status")).to_have_text("two.png, as it excites each channel in the circuit")
    tile = node(page, "conv2:3").locator(".overlay")
    expect(tile).to_have_attribute("viewBox", "1 1 1 1")
    page.locator("input[name=inside][value='0']").check(force=True)
    expect(tile).to_have_attribute("viewBox", "1 0 1 1")
    sheets = page.locator(".overlay image").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert len(set(sheets)) == len(sheets) == page.locator(".circuit-node").count()
    expect(page.locator("#feature-note")).to_contain_text("no correlation: one of the two is flat")
    page.locator("input[name=image][value='0']").check(force=True)
    expect(page.locator("#feature-note")).to_contain_text("correlation of the two 0.91; full colour is ±1.5")
    expect(page.locator("#feature-0")).to_have_attribute("viewBox", "0 0 1 1")
    expect(page.locator("#feature-1")).to_have_attribute("viewBox", "0 1 1 1")
    page.locator("input[name=image][value='-1']").check(force=True)
    assert page.locator(".circuit-node g[visibility=visible]").count() == 0


@pytest.mark.slow
def test_maps_of_a_layer_have_one_scale_if_asked_for(show):
    made = seen(strands())
    assert made.activation_maps is not None
    scales = {**made.activation_maps.scales, (1, 3): 0.4}  # of conv2:3; of conv2:2 it is 2.5
    page = show(replace(made, activation_maps=replace(made.activation_maps, scales=scales)))
    page.locator("input[name=image][value='1']").check(force=True)
    shown = {name: node(page, name).locator(".overlay image") for name in ("conv2:2", "conv2:3", "conv1:0")}
    assert [one.get_attribute("opacity") for one in shown.values()] == ["1.000"] * 3
    page.locator("#common").check()
    # Colours are by the square root of values.
    assert [one.get_attribute("opacity") for one in shown.values()] == ["1.000", "0.400", "1.000"]
    wait(page, "location.hash.includes('scale=layer')")


@pytest.mark.slow
def test_made_pictures_are_shown_through_the_network_and_the_circuit(show):
    page = show(seen(strands()))
    expect(page.locator("#feature-title")).to_have_text("made to excite conv3:6")
    page.locator("input[name=view][value='vision']").check(force=True)
    tile = node(page, "conv2:3").locator(".overlay")
    expect(tile).to_have_attribute("viewBox", "1 0 1 1")
    page.locator("input[name=inside][value='0']").check(force=True)
    expect(tile).to_have_attribute("viewBox", "0 0 1 1")
    node(page, "conv2:3").locator(".circuit-rim").hover()
    expect(page.locator("#card")).to_contain_text("made: circuit")
    page.locator("input[name=view][value='crop']").check(force=True)
    assert page.locator(".circuit-node g[visibility=visible]").count() == 0


@pytest.mark.slow
def test_channels_that_are_not_visualised_keep_their_crops(show):
    made = seen(strands())
    assert made.visualisations is not None
    some = replace(made.visualisations, channels={(1, 3): made.visualisations.channels[1, 3]})
    page = show(replace(made, visualisations=some))
    views = page.locator("#views")
    expect(views).to_contain_text("feature visualisation (1)")
    page.locator("input[name=view][value='vision']").check(force=True)
    covered = "g[visibility=visible] .overlay image"
    assert node(page, "conv2:3").locator(covered).count() == 1
    assert node(page, "conv2:2").locator(covered).count() == 0
    page = show(replace(made, visualisations=replace(some, channels={})))
    assert page.locator("#views").count() == 0


@pytest.mark.slow
def test_affordable_pictures_are_of_the_network_alone(show):
    made = seen(strands())
    assert made.visualisations is not None
    channels = {one: pictures[:1] for one, pictures in made.visualisations.channels.items()}
    made = replace(made, exemplars={(1, 3): np.zeros((64, 64, 3), np.uint8)})
    page = show(replace(made, visualisations=replace(made.visualisations, channels=channels, budget=True)))
    expect(page.locator("#views label").last.locator("span")).to_have_attribute("title", re.compile("a budget of some"))
    node(page, "conv2:3").press("Enter")
    # Beside what excites a channel in images, what was made to; the target is as in the network, too.
    expect(page.locator("#channel-figure")).to_contain_text("made to excite it")
    page.locator("input[name=view][value='vision']").check(force=True)
    expect(page.locator("#inside input").first).to_be_disabled()
    for name in ("conv2:3", "conv3:6"):
        expect(node(page, name).locator(".overlay")).to_have_attribute("viewBox", "0 0 1 1")
    assert node(page, "conv2:3").locator(".overlay image").get_attribute("width") == "1"
    node(page, "conv2:3").locator(".circuit-rim").hover()
    expect(page.locator("#card")).to_contain_text("made: network")
    assert "made: circuit" not in page.locator("#card").inner_text()


def test_without_pictures_nothing_speaks_of_them(show):
    page = show(strands())
    for absent in ("#images", "#inside", "#views", "#feature"):
        assert page.locator(absent).count() == 0
