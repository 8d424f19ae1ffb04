"""The view of the diagram's page: fitted, zoomed, printed, in the address."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from circuitlang.reporting.formats.diagram_html import diagram_html
from tests.helpers.diagram_page import channels, inside, node, scale, seen, shown_edges, slide, strands, wait
from tests.helpers.drawn_circuits import crowd

RENDER = "all"


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_theme_is_switched(show):
    page = show(strands())
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    before = page.evaluate(paper)
    page.click("#theme")
    assert page.evaluate(paper) != before
    page.click("#theme")
    assert page.evaluate(paper) == before
    assert page.evaluate(paper) != show(strands(), color_scheme="dark").evaluate(paper)


@pytest.mark.slow
@pytest.mark.parametrize("kernels", [*(pytest.param(count, marks=pytest.mark.slow) for count in (10, 100)), 2000])
def test_nothing_overlaps_the_window(show, kernels):
    made = crowd(kernels, min(90, max(kernels // 5, 1)))
    page = show(seen(made), viewport={"width": 1280, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
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


@pytest.mark.slow
def test_print_shows_the_drawing_alone(show):
    page = show(seen(strands()), color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator(".controls")).to_be_hidden()
    expect(page.locator("#theme")).to_be_hidden()
    expect(page.locator("#drawing")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('color-scheme')") == "light"
