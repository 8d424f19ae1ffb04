"""The diagram's page in a real browser, from disk and offline: every control does what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from circuitlang.reporting.diagram import captions
from circuitlang.reporting.diagram.captions import channel_name
from circuitlang.reporting.formats.diagram_html import diagram_html
from circuitlang.results.connections import connections
from circuitlang.results.types import ActivationMaps, FeatureVisualisations, PathFidelity, Result
from tests.reporting.diagram.test_diagram import (
    RGB,
    Made,
    chain,
    concatenated,
    crowd,
    empty,
    fed_by,
    flattened,
    residual,
    result,
)

RENDER = "all"

Open = Callable[..., Page]


def seen(made: Result, names: tuple[str, ...] = ("one.png", "two.png", "three.png")) -> Result:
    """The result with maps and made pictures of every channel, each channel's of a value of its own."""
    rng = np.random.default_rng(0)
    channels = {
        (layer, channel)
        for layer, kernels in enumerate(made.circuit.kernels)
        for channel in kernels.target[kernels.effective].tolist()
    }
    count = len(names)
    scenes = ActivationMaps(
        pictures=rng.integers(0, 256, (count, 24, 24, 3), np.uint8),
        names=names,
        maps={key: rng.integers(0, 255, (count, 2, 7, 7), np.uint8) for key in channels},
        scales=dict.fromkeys(channels, 2.5),
        feature=rng.integers(0, 255, (count, 2, 7, 7), np.uint8),
        scale=1.5,
        similarity=np.array([0.912, float("nan"), -0.3][:count]),
    )
    pictures = {key: rng.integers(0, 256, (2, 16, 16, 3), np.uint8) for key in channels}
    return replace(
        made,
        activation_maps=scenes,
        visualisations=FeatureVisualisations(rng.integers(0, 256, (2, 16, 16, 3), np.uint8), pictures),
    )


def strands() -> Result:
    """Two channels with paths of their own that meet in the target, and nowhere else."""
    return result(
        [
            Made([(0, 0, 0.9, 1.0, True), (1, 1, 0.8, 1.0, True)], [(0, -1, 0), (1, -1, 1), (2, -1, 2)], side=7),
            Made([(2, 0, 0.5, -1.0, True), (3, 1, 0.4, 1.0, True), (3, 0, 0.1, 1.0, True)], fed_by(0, 2)),
            Made([(6, 2, 0.3, 1.0, True), (6, 3, 0.2, 1.0, True)], fed_by(1, 8)),
        ],
        unit=6,
    )


@pytest.fixture
def show(chromium: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a result's page from disk with the network off; whatever the console says or is asked of it fails."""
    said: list[str] = []
    contexts = []

    def opened(made: Result, **options: object) -> Page:
        path = tmp_path / "diagram.html"
        path.write_bytes(diagram_html(made)["diagram.html"])
        size = {"width": 1280, "height": 800}
        context = chromium.new_context(offline=True, **{"viewport": size, "reduced_motion": "reduce", **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda sent: said.append(sent.url) if not sent.url.startswith(("file:", "data:")) else None)
        page.on("dialog", lambda dialog: said.append("a dialog"))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def shown_edges(page: Page) -> int:
    return page.locator(".circuit-edge:not(.hidden)").count()


def dimmed(page: Page) -> set[str]:
    return channels(page, ".dim")


def channels(page: Page, kind: str) -> set[str]:
    every = page.locator(f".circuit-node{kind}")
    return set(every.evaluate_all("all => all.map(one => one.dataset.channel)"))


def wait(page: Page, condition: str) -> None:
    """Wait for a condition in the page; Playwright's own way needs `eval`, which the page forbids."""
    page.evaluate(
        f"() => new Promise((done) => {{ const look = () => ({condition}) ? done() : setTimeout(look, 10); look() }})"
    )


def scale(page: Page) -> float:
    return page.evaluate("document.getElementById('view').getScreenCTM().a")


def node(page: Page, name: str):
    return page.locator(f'.circuit-node[data-channel="{name}"]')


def slide(page: Page, value: int) -> None:
    page.locator("#shown").evaluate(
        "(one, value) => { one.value = value; one.dispatchEvent(new Event('input', {bubbles: true})) }", value
    )


# In turn plain and with images; `make test-slow` opens the others.
@pytest.mark.parametrize(
    ("made", "full"),
    [
        pytest.param(made, full, marks=() if number % 2 == full else pytest.mark.slow)
        for number, made in enumerate((chain, residual, concatenated, flattened, empty, lambda: crowd(500, 40, 10)))
        for full in (False, True)
    ],
)
def test_every_page_opens_without_a_word(show, made, full):
    page = show(seen(made()) if full else made())
    expect(page.locator("h1")).to_contain_text("pearson 0.93 held-out")
    assert page.locator(".circuit-node").count() >= 1


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


def drawn_edges(page: Page) -> set[tuple[str, str]]:
    every = page.locator(".circuit-edge:not(.hidden)")
    return {tuple(ends) for ends in every.evaluate_all("all => all.map(one => [one.dataset.from, one.dataset.to])")}


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


def test_kernels_are_counted_where_an_edge_is_several_and_where_several_edges_are_one(show):
    page = show(flattened())
    expect(page.locator("#count")).to_contain_text("7 of 7 kernels")  # two and five kernels on four edges
    page = show(residual())
    assert shown_edges(page) == 6
    expect(page.locator("#count")).to_contain_text("5 of 5 kernels")  # one is in two edges


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


def test_what_is_hidden_feeds_nothing(show):
    page = show(strands())
    node(page, "conv2:3").click()
    assert dimmed(page) == {"conv2:2"}
    slide(page, 2)  # without conv1:0 to conv2:3
    assert dimmed(page) == {"conv1:0", "conv2:2"}


def test_what_was_enlarged_stays_so_when_the_window_changes(show):
    page = show(strands())
    fitted = scale(page)
    page.click("#larger")
    assert scale(page) == pytest.approx(1.25 * fitted, rel=1e-3)
    page.set_viewport_size({"width": 900, "height": 700})
    wait(page, "document.getElementById('drawing').viewBox.baseVal.width < 900")
    assert scale(page) == pytest.approx(1.25 * fitted, rel=1e-3)
    page.click("#fit")
    page.set_viewport_size({"width": 420, "height": 700})
    wait(page, "document.getElementById('drawing').viewBox.baseVal.width < 420")
    assert inside(page, "#stage", ".circuit-node")


def inside(page: Page, outer: str, inner: str) -> bool:
    """Return whether all drawn elements of a kind are within another's borders."""
    return page.evaluate(
        """([outer, inner]) => {
            const room = document.querySelector(outer).getBoundingClientRect();
            const boxes = [...document.querySelectorAll(`${inner}:not(.hidden)`)].map(
                (one) => (one.querySelector(".circuit-rim") || one).getBoundingClientRect()
            );
            const within = ({left, right, top, bottom}) =>
                left >= room.left && right <= room.right && top >= room.top && bottom <= room.bottom;
            return boxes.length > 0 && boxes.every(within);
        }""",
        [outer, inner],
    )


@pytest.mark.parametrize("width", [1024, *(pytest.param(width, marks=pytest.mark.slow) for width in (1440, 2560))])
def test_it_opens_whole_with_words_that_can_be_read(show, width):
    made = crowd(2000, 90)
    page = show(made, viewport={"width": width, "height": 800})
    for setting in (None, 1, int(page.locator("#shown").get_attribute("max"))):
        if setting:
            slide(page, setting)
        assert inside(page, "#stage", ".circuit-node")
        assert page.locator(".circuit-target").is_visible()
        sizes = page.evaluate("""[...document.querySelectorAll("#drawing text, #headings text")]
            .filter((one) => one.getBoundingClientRect().width)
            .map((one) => one.getScreenCTM().a * parseFloat(getComputedStyle(one).fontSize))""")
        assert min(sizes) >= 8.99
        assert page.locator("#headings text.name").count() >= 3
        assert page.locator("#minimap").is_hidden()


def test_wheel_drag_and_double_click(show):
    page = show(strands())
    target = node(page, "conv3:6").locator(".circuit-rim")
    middle = (
        "one => { const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2] }"
    )
    x, y = target.evaluate(middle)
    fitted = scale(page)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    wait(page, f"document.getElementById('view').getScreenCTM().a > {1.5 * fitted}")
    # The channel under the pointer stays there.
    assert target.evaluate(middle) == pytest.approx([x, y], abs=1)
    expect(page.locator("#minimap")).to_be_visible()
    page.mouse.down()
    page.mouse.move(x - 80, y - 50, steps=4)
    page.mouse.up()
    assert target.evaluate(middle) == pytest.approx([x - 80, y - 50], abs=1)
    expect(node(page, "conv3:6")).to_have_attribute("aria-pressed", "false")  # a drag is no click
    frame = page.locator("#frame").get_attribute("x")
    box = page.locator("#minimap").bounding_box()
    page.mouse.click(box["x"] + 20, box["y"] + box["height"] / 2)
    assert page.locator("#frame").get_attribute("x") != frame
    box = page.locator("#stage").bounding_box()
    page.mouse.dblclick(box["x"] + 30, box["y"] + box["height"] - 60)
    assert scale(page) == pytest.approx(fitted, rel=1e-3)
    expect(page.locator("#minimap")).to_be_hidden()
    page.locator("#stage").focus()
    page.keyboard.press("+")
    assert scale(page) == pytest.approx(1.25 * fitted, rel=1e-3)
    page.keyboard.press("0")
    assert scale(page) == pytest.approx(fitted, rel=1e-3)


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


def test_steps_before_the_target(show):
    page = show(strands())
    page.select_option("#depth", "1")
    assert drawn_edges(page) == {("conv2:2", "conv3:6"), ("conv2:3", "conv3:6")}
    expect(page.locator("#count")).to_have_text("2 of 7 kernels, 100% of the influence")
    near = node(page, "conv2:2").locator(".circuit-rim").bounding_box()["width"]
    page.select_option("#depth", "0")
    assert shown_edges(page) == 7
    assert near >= node(page, "conv2:2").locator(".circuit-rim").bounding_box()["width"]


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


def test_the_large_view_is_saved_for_a_paper(show):
    page = show(seen(strands()), color_scheme="dark")
    node(page, "conv2:3").click()
    with page.expect_download() as saved:
        page.click("#svg")
    assert saved.value.suggested_filename == "conv2_3.svg"
    root = ElementTree.fromstring(saved.value.path().read_text(encoding="utf-8"))
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


def test_every_state_has_an_address(show):
    made = seen(strands())
    page = show(made)
    slide(page, 2)
    page.select_option("#depth", "2")
    page.locator("input[name=image][value='1']").check(force=True)
    page.locator("input[name=inside][value='0']").check(force=True)
    node(page, "conv2:3").click()
    page.click("#larger")
    wait(page, "location.hash.includes('at=')")
    address = page.url
    for words in ("channel=conv2%3A3", "image=2", "in=network", "paths=2", "depth=2"):
        assert words in address
    zoomed = scale(page)
    other = show(made)
    other.goto(address)
    other.reload()
    expect(other.locator("#channel-name")).to_have_text("conv2:3")
    assert other.locator("#shown").input_value() == "2"
    assert other.locator("#depth").input_value() == "2"
    assert other.locator("input[name=image][value='1']").is_checked()
    assert other.locator("input[name=inside][value='0']").is_checked()
    assert scale(other) == pytest.approx(zoomed, rel=1e-2)
    # An address that says nonsense is that of the page.
    other.evaluate("location.hash = 'channel=nobody&image=99&paths=-1&depth=x&view=vision&at=1,2&fold=conv1,conv8'")
    expect(other.locator("#channel")).to_be_hidden()
    assert other.locator("#depth").input_value() == "0"
    assert channels(other, ".folded") == {"conv1:0", "conv1:1"}


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
    fills = card.locator("rect").evaluate_all("all => all.map(one => one.getAttribute('fill'))")
    assert len(fills) == 9
    assert fills[0].startswith("color-mix(in oklab, var(--excite) 50%")
    assert "var(--inhibit)" in fills[4]
    assert fills[1] == fills[2]
    page.mouse.move(2, 2)
    expect(card).to_be_hidden()


def test_the_card_of_a_sum_says_so(show):
    page = show(residual())
    assert page.locator(".circuit-sum").count() == 1
    assert page.locator(".circuit-edge[stroke-dasharray]").count() == 1  # conv1:0 past conv2
    node(page, "conv3:3").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#card")).to_contain_text("reads the sum conv1:0 + conv2:0")
    expect(page.locator("footer")).to_contain_text("reads a sum")


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


def test_channels_that_are_not_visualised_keep_their_crops(show):
    made = seen(strands())
    assert made.visualisations is not None
    some = replace(made.visualisations, channels={(1, 3): made.visualisations.channels[1, 3]})
    page = show(replace(made, visualisations=some))
    views = page.locator("#views")
    expect(views).to_contain_text("feature visualisation (of 1)")
    page.locator("input[name=view][value='vision']").check(force=True)
    covered = "g[visibility=visible] .overlay image"
    assert node(page, "conv2:3").locator(covered).count() == 1
    assert node(page, "conv2:2").locator(covered).count() == 0
    page = show(replace(made, visualisations=replace(some, channels={})))
    assert page.locator("#views").count() == 0


def test_without_pictures_nothing_speaks_of_them(show):
    page = show(strands())
    for absent in ("#images", "#inside", "#views", "#feature"):
        assert page.locator(absent).count() == 0


def test_the_theme_is_switched(show):
    page = show(strands())
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    before = page.evaluate(paper)
    page.click("#theme")
    assert page.evaluate(paper) != before
    page.click("#theme")
    assert page.evaluate(paper) == before
    assert page.evaluate(paper) != show(strands(), color_scheme="dark").evaluate(paper)


# In turn light and dark; `make test-slow` looks at the others.
@pytest.mark.parametrize(
    ("made", "scheme"),
    [
        pytest.param(made, scheme, marks=() if number % 2 == dark else pytest.mark.slow)
        for number, made in enumerate((residual, lambda: seen(strands()), empty, lambda: crowd(300, 20)))
        for dark, scheme in enumerate(("light", "dark"))
    ],
)
def test_axe_finds_no_serious_fault(show, made, scheme):
    page = show(made(), color_scheme=scheme)
    found = Axe().run(page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []


def test_axe_finds_no_serious_fault_in_use(show):
    page = show(seen(strands()))
    page.locator("input[name=image][value='1']").check(force=True)
    node(page, "conv2:2").click()
    found = Axe().run(page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&]]>"


def test_no_name_can_run_anything(show):
    made = seen(strands(), (HOSTILE, "\ud800.png", "{{ 7 * 7 }}"))
    layers = [msgspec.structs.replace(layer, name=HOSTILE, path=HOSTILE) for layer in made.summary.layers]
    plan = msgspec.structs.replace(made.summary.plan, images=HOSTILE, id=HOSTILE)
    page = show(replace(made, summary=msgspec.structs.replace(made.summary, layers=layers, plan=plan)))
    assert page.locator("script").count() == 2
    assert page.locator("img[onerror], img[src=x]").count() == 0
    assert page.locator("#images img").first.get_attribute("alt") == HOSTILE
    assert page.locator(".circuit-node").first.get_attribute("data-channel") in ("image", f"{HOSTILE}:0")
    page.locator("input[name=image][value='0']").check(force=True)
    expect(page.locator("#status")).to_contain_text(HOSTILE)
    page.locator(".circuit-node .circuit-rim").last.hover()
    expect(page.locator("#card")).to_contain_text("<script>")


def test_what_is_written_in_it_and_no_more_may_run(chromium, tmp_path):
    (tmp_path / "diagram.html").write_bytes(diagram_html(strands())["diagram.html"])
    page = chromium.new_context().new_page()
    page.goto((tmp_path / "diagram.html").as_uri())
    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert policy.startswith("default-src 'none'; img-src data:")
    assert "unsafe" not in policy
    violated = page.evaluate("""new Promise(done => {
        document.addEventListener("securitypolicyviolation", event => done(event.violatedDirective));
        const script = document.createElement("script");
        script.textContent = "window.ran = 1";
        document.body.append(script);
    })""")
    assert violated.startswith("script-src")
    assert page.evaluate("window.ran === undefined")
    page.close()


@pytest.mark.parametrize("kernels", [*(pytest.param(count, marks=pytest.mark.slow) for count in (10, 100)), 2000])
def test_nothing_overlaps_the_window(show, kernels):
    made = crowd(kernels, min(90, max(kernels // 5, 1)))
    page = show(seen(made), viewport={"width": 1280, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_two_thousand_kernels_are_fluid_and_small(show):
    made = seen(crowd(2000, 90))
    content = diagram_html(made)["diagram.html"]
    assert len(content) < 5_000_000
    page = show(made)
    assert page.locator(".circuit-edge").count() == 2000
    assert shown_edges(page) <= 160
    took = page.evaluate(
        "() => { const slider = document.getElementById('shown'); const begin = performance.now();"
        "for (let value = 1; value <= 20; value++) { slider.value = slider.max / 20 * value;"
        "slider.dispatchEvent(new Event('input', {bubbles: true})); document.body.getBoundingClientRect() }"
        "return (performance.now() - begin) / 20 }"
    )
    assert took < 200, f"{took:.0f} ms for a step of the slider"


def test_what_is_left_out_is_said(show):
    page = show(crowd(3000, 90))
    expect(page.locator("header")).to_contain_text("with 2,000 of 3,000 effective kernels. They carry")
    expect(page.locator("#count")).to_contain_text("of 2,000 kernels")


def test_print_shows_the_drawing_alone(show):
    page = show(seen(strands()), color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator(".controls")).to_be_hidden()
    expect(page.locator("#theme")).to_be_hidden()
    expect(page.locator("#drawing")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('color-scheme')") == "light"


def test_the_same_result_is_the_same_page():
    assert diagram_html(seen(strands())) == diagram_html(seen(strands()))


def test_the_data_is_json_that_html_cannot_end():
    page = diagram_html(seen(strands(), (HOSTILE, "b", "c")))["diagram.html"].decode()
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data)["scenes"]["names"][0] == HOSTILE
    assert not set("<>&") & set(data)
