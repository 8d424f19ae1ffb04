"""The paths that the diagram's page draws, and what it says of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from circuitlang.reporting.diagram import captions
from circuitlang.reporting.diagram.captions import channel_name
from circuitlang.results.connections import connections
from circuitlang.results.types import PathFidelity
from tests.helpers.diagram_page import channels, dimmed, drawn_edges, inside, node, seen, shown_edges, slide, strands
from tests.helpers.drawn_circuits import RGB, Made, crowd, fed_by, flattened, residual, result

RENDER = "all"


@pytest.mark.slow
def test_the_slider_hides_the_weakest_paths_and_counts(show):
    page = show(strands())
    assert shown_edges(page) == 7
    expect(page.locator("#count")).to_have_text("7 of 7 kernels, 100% of the influence")
    slide(page, 1)
    # 0.6 of the target's input, and of that all but what comes from elsewhere.
    expect(page.locator("#count")).to_have_text("3 of 7 kernels, 60% of the influence")
    # The path of the first strand is left.
    assert drawn_edges(page) == {("image", "conv1:0"), ("conv1:0", "conv2:2"), ("conv2:2", "conv3:6")}
    assert channels(page, ".hidden") == {"conv1:1", "conv2:3"}
    page.locator("#shown").focus()
    page.keyboard.press("ArrowRight")
    assert shown_edges(page) == 6


@pytest.mark.slow
def test_at_every_setting_what_is_drawn_are_whole_paths(show):
    made = crowd(160, 12, skipping=6)
    page = show(made)
    settings = page.evaluate("""() => {
        const slider = document.getElementById("shown"), settings = [];
        for (let value = 1; value <= Number(slider.max); value++) {
            slider.value = value;
            slider.dispatchEvent(new Event("input", {bubbles: true}));
            const drawn = [...document.querySelectorAll(".circuit-edge:not(.hidden)")].map((one) => one.dataset);
            settings.push([document.getElementById("count").textContent, drawn.map(({from, to}) => [from, to])]);
        }
        return settings;
    }""")
    found = connections(made.circuit, 2000).strongest
    names = [tuple(channel_name(end, made.summary.layers) for end in (one.source, one.target)) for one in found]
    for step, (said, edges) in enumerate(settings):
        until = [number for number, one in enumerate(found) if one.step <= step]
        assert sorted(map(tuple, edges)) == sorted(names[number] for number in until)
        read, fed = {source for source, _ in edges}, {target for _, target in edges}
        assert read - fed == {"image"}
        assert fed - read == {"conv5:0"}
        if step % 6 == 0:
            share = captions.percent(connections(made.circuit, len(until)).carried)
            assert said.endswith(f", {share} of the influence")
    assert len(settings) > 40


@pytest.mark.slow
def test_the_little_that_flows_through_many_layers_is_not_nothing(show):
    """A path through 24 layers of four channels carries a millionth of a millionth."""
    kernels = [(target, source, 1.0, 1.0, True) for target in range(4) for source in range(4)]
    layers = [Made([(channel, 0, 1.0, 1.0, True) for channel in range(4)], RGB)]
    layers += [Made(kernels, fed_by(number, 4)) for number in range(24)]
    page = show(result([*layers, Made(kernels[:4], fed_by(24, 4))], unit=0))
    slide(page, 1)
    expect(page.locator("#count")).to_contain_text("<0.001% of the influence")
    assert inside(page, "#stage", ".circuit-node")
    width = page.evaluate("""Math.min(...[...document.querySelectorAll(".circuit-edge:not(.hidden)")]
        .map((one) => one.getAttribute("stroke-width") * document.getElementById("view").getScreenCTM().a))""")
    assert width >= 0.3


@pytest.mark.slow
def test_kernels_are_counted_where_an_edge_is_several_and_where_several_edges_are_one(show):
    page = show(flattened())
    expect(page.locator("#count")).to_contain_text("7 of 7 kernels")  # two and five kernels on four edges
    page = show(residual())
    assert shown_edges(page) == 6
    expect(page.locator("#count")).to_contain_text("5 of 5 kernels")  # one is in two edges


@pytest.mark.slow
def test_a_click_isolates_and_another_or_escape_brings_back(show):
    page = show(strands())
    node(page, "conv2:2").click()
    assert dimmed(page) == {"conv1:1", "conv2:3"}
    assert page.locator(".circuit-edge.dim").count() == 4
    expect(page.locator("#status")).to_contain_text("conv2:2: fed by 1 channel and the image, feeds 1 channel.")
    expect(node(page, "conv2:2")).to_have_attribute("aria-pressed", "true")
    node(page, "conv2:2").click()
    assert dimmed(page) == set()
    node(page, "conv1:1").click()
    assert dimmed(page) == {"conv1:0", "conv2:2"}
    page.keyboard.press("Escape")
    assert dimmed(page) == set()
    expect(page.locator("#status")).to_have_text("")


@pytest.mark.slow
def test_what_is_hidden_feeds_nothing(show):
    page = show(strands())
    node(page, "conv2:3").click()
    assert dimmed(page) == {"conv2:2"}
    slide(page, 2)  # without conv1:0 to conv2:3
    assert dimmed(page) == {"conv1:0", "conv2:2"}


@pytest.mark.slow
def test_steps_before_the_target(show):
    page = show(strands())
    page.select_option("#depth", "1")
    assert drawn_edges(page) == {("conv2:2", "conv3:6"), ("conv2:3", "conv3:6")}
    expect(page.locator("#count")).to_have_text("2 of 7 kernels, 100% of the influence")
    near = node(page, "conv2:2").locator(".circuit-rim").bounding_box()["width"]
    page.select_option("#depth", "0")
    assert shown_edges(page) == 7
    assert near >= node(page, "conv2:2").locator(".circuit-rim").bounding_box()["width"]


@pytest.mark.slow
def test_layers_fold(show):
    page = show(strands())
    slide(page, 1)
    width = "one => one.getBoundingClientRect().width"
    before = node(page, "conv2:2").locator(".circuit-rim").evaluate(width)
    page.locator("#passing").check()
    assert channels(page, ".folded") == {"conv1:0", "conv2:2"}
    assert node(page, "conv2:2").locator(".circuit-rim").evaluate(width) < before / 2
    page.locator(".heading", has_text="conv2").click()
    assert channels(page, ".folded:not(.hidden)") == {"conv1:0"}
    node(page, "conv2:2").focus()
    page.keyboard.press("f")
    assert channels(page, ".folded:not(.hidden)") == {"conv1:0", "conv2:2"}


@pytest.mark.slow
def test_edges_are_weighted_by_what_they_carry_in_an_image(show):
    flows = [np.ones((len(kernels.target), 3), np.float32) for kernels in strands().circuit.kernels]
    flows[2][0] = [1, 9, 0]  # what conv2:2 carries to the target
    page = show(replace(seen(strands()), contributions=tuple(flows)))
    edge = page.locator('.circuit-edge[data-from="conv2:2"][data-to="conv3:6"]')
    width = "one => Number(one.getAttribute('stroke-width'))"
    node(page, "conv3:6").click()
    expect(page.locator("#channel")).to_contain_text("77% of input")  # 10 of 13
    widths = []
    for image, share in enumerate(("50%", "90%", "0%")):
        page.locator(f"input[name=image][value='{image}']").check(force=True)
        expect(page.locator("#channel")).to_contain_text(f"{share} of input")
        widths.append(edge.evaluate(width))
    assert widths[1] >= widths[0] > widths[2]
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_contain_text("edges by what they carry in it")


def test_the_fidelity_of_drawn_paths_alone_is_said_where_it_was_measured(show):
    page = show(replace(strands(), path_fidelity=(PathFidelity(1, 3, {"pearson": 0.731}),)))
    expect(page.locator("#status")).to_have_text("")
    slide(page, 1)
    expect(page.locator("#status")).to_have_text("Alone, these paths keep conv3:6 at pearson 0.73.")
    assert page.locator("#measured option").evaluate_all("all => all.map(one => one.value)") == ["1"]
    slide(page, 2)
    expect(page.locator("#status")).to_have_text("")


@pytest.mark.slow
def test_what_is_left_out_is_said(show):
    page = show(crowd(3000, 90))
    expect(page.locator("header")).to_contain_text("with 2,000 of 3,000 effective kernels. They carry")
    expect(page.locator("#count")).to_contain_text("of 2,000 kernels")
