"""The diagram's page in a real browser, from disk and offline: every control does what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from circuitlang.reporting.formats.diagram_html import diagram_html
from circuitlang.results.types import ActivationMaps, FeatureVisualisations, Result
from tests.reporting.diagram.test_diagram import (
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
    return set(page.locator(".circuit-node.dim").evaluate_all("all => all.map(one => one.dataset.channel)"))


def node(page: Page, name: str):
    return page.locator(f'.circuit-node[data-channel="{name}"]')


def resize(page: Page, width: int, height: int) -> None:
    """Changes the window and waits until the page was told: that comes with a later frame."""
    page.evaluate(
        """size => void (window.told = new Promise(done => window.addEventListener("resize", () => {
            if (innerWidth === size[0] && innerHeight === size[1]) done();
        })))""",
        [width, height],
    )
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate("() => window.told")


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
    expect(page.locator("#count")).to_have_text("7 shown, none hidden")
    slide(page, 1)
    expect(page.locator("#count")).to_have_text("3 shown, 4 hidden")
    # What is left is the path of the first strand.
    assert drawn_edges(page) == {("image", "conv1:0"), ("conv1:0", "conv2:2"), ("conv2:2", "conv3:6")}
    assert dimmed(page) == {"conv1:1", "conv2:3"}
    page.locator("#shown").focus()
    page.keyboard.press("ArrowRight")
    assert shown_edges(page) == 6


def drawn_edges(page: Page) -> set[tuple[str, str]]:
    every = page.locator(".circuit-edge:not(.hidden)")
    return {tuple(ends) for ends in every.evaluate_all("all => all.map(one => [one.dataset.from, one.dataset.to])")}


def test_at_every_setting_what_is_drawn_are_whole_paths(show):
    page = show(crowd(300, 20, skipping=10))
    for setting in range(1, 1 + int(page.locator("#shown").get_attribute("max"))):
        slide(page, setting)
        edges = drawn_edges(page)
        read, fed = {source for source, _ in edges}, {target for _, target in edges}
        assert read - fed == {"image"}
        assert fed - read == {"conv5:0"}


def test_kernels_are_counted_where_an_edge_is_several_and_where_several_edges_are_one(show):
    page = show(flattened())
    expect(page.locator("#count")).to_have_text("7 shown, none hidden")  # two and five kernels on four edges
    page = show(residual())
    assert shown_edges(page) == 6
    expect(page.locator("#count")).to_have_text("5 shown, none hidden")  # one is in two edges


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


def test_escape_brings_back_what_the_slider_hid(show):
    page = show(strands())
    slide(page, 1)
    node(page, "conv2:3").click()
    page.keyboard.press("Escape")
    assert dimmed(page) == set()
    assert page.locator("#shown").input_value() == page.locator("#shown").get_attribute("max")
    assert shown_edges(page) == page.locator(".circuit-edge").count()


def test_what_was_enlarged_stays_so_when_the_windows_height_changes(show):
    page = show(strands())
    wide = "document.querySelector('#drawing').clientWidth"
    page.click("#larger")
    before, size = page.evaluate(wide), page.viewport_size
    resize(page, size["width"], size["height"] - 60)
    assert page.evaluate(wide) == before
    resize(page, size["width"] - 200, size["height"])
    assert page.evaluate(wide) == before
    page.click("#fit")
    fitted = page.evaluate(wide)
    resize(page, 400, size["height"])
    assert page.evaluate(wide) < fitted


def test_a_channel_is_found(show):
    page = show(strands())
    page.fill("#search", "conv2")
    expect(page.locator("#status")).to_have_text("2 channels found")
    assert page.locator(".circuit-node.found").count() == 2
    page.fill("#search", "CONV1:1")
    expect(page.locator("#status")).to_have_text("1 channel found")
    page.keyboard.press("Enter")
    expect(node(page, "conv1:1")).to_be_focused()
    assert "conv2:2" in dimmed(page)
    page.fill("#search", "conv9")
    page.keyboard.press("Escape")
    page.fill("#search", "conv9")
    expect(page.locator("#status")).to_have_text("no channel is called conv9")


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
    fills = card.locator("rect").evaluate_all("all => all.map(one => one.style.fill)")
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


def test_without_pictures_nothing_speaks_of_them(show):
    page = show(strands())
    for absent in ("#images", "#inside", "#views", "#feature"):
        assert page.locator(absent).count() == 0


def test_size_and_theme(show):
    page = show(strands())
    width = page.locator("#drawing").bounding_box()["width"]
    page.click("#larger")
    assert page.locator("#drawing").bounding_box()["width"] == pytest.approx(1.25 * width, abs=2)
    page.click("#fit")
    assert page.locator("#drawing").bounding_box()["width"] == pytest.approx(width, abs=2)
    page.click("#smaller")
    assert page.locator("#drawing").bounding_box()["width"] == pytest.approx(0.8 * width, abs=2)
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


@pytest.mark.parametrize("kernels", [10, 100, 2000])
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
    took = page.evaluate(
        "() => { const slider = document.getElementById('shown'); const begin = performance.now();"
        "for (let value = 1; value <= 20; value++) { slider.value = 100 * value;"
        "slider.dispatchEvent(new Event('input', {bubbles: true})); document.body.getBoundingClientRect() }"
        "return (performance.now() - begin) / 20 }"
    )
    assert took < 100, f"{took:.0f} ms for a step of the slider"


def test_what_is_left_out_is_said(show):
    page = show(crowd(3000, 90))
    expect(page.locator("header")).to_contain_text("with 2,000 of 3,000 effective kernels. They carry")
    expect(page.locator("#count")).to_have_text("2,000 shown, none hidden")


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
