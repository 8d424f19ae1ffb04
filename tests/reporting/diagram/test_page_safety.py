"""The diagram's page runs nothing but its own, says no word, and is accessible."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from circuitlang.reporting.formats.diagram_html import diagram_html
from tests.helpers.diagram_page import HOSTILE, node, seen, strands
from tests.helpers.drawn_circuits import chain, concatenated, crowd, empty, flattened, residual

RENDER = "all"


# In turn plain and with images; `make test-slow` opens the others.
@pytest.mark.slow
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


# In turn light and dark; `make test-slow` looks at the others.
@pytest.mark.slow
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


@pytest.mark.slow
def test_axe_finds_no_serious_fault_in_use(show):
    page = show(seen(strands()))
    page.locator("input[name=image][value='1']").check(force=True)
    node(page, "conv2:2").click()
    found = Axe().run(page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []


def test_no_name_can_run_anything(show):
    made = seen(strands(), (HOSTILE, "\ud800.png", "{{ 7 * 7 }}"))
    layers = [msgspec.structs.replace(layer, name=HOSTILE, path=HOSTILE) for layer in made.summary.layers]
    plan = msgspec.structs.replace(made.summary.plan, images=HOSTILE, id=HOSTILE)
    page = show(replace(made, summary=msgspec.structs.replace(made.summary, layers=layers, plan=plan)))
    assert page.locator("script").count() == 3
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


def test_the_same_result_is_the_same_page():
    assert diagram_html(seen(strands())) == diagram_html(seen(strands()))


def test_the_data_is_json_that_html_cannot_end():
    page = diagram_html(seen(strands(), (HOSTILE, "b", "c")))["diagram.html"].decode()
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data)["scenes"]["names"][0] == HOSTILE
    assert not set("<>&") & set(data)
