"""Images of pages for the documentation, taken in Chromium.

A page's image `images/gallery/RUN.CIRCUIT.PAGE.png` shows the file PAGE.html of a result of one of its runs, as it
opens or, after a line `<!-- state: WORDS -->`, as it does with these words in its address; `RUN.CIRCUIT.view.svg` is
the large view of a channel, saved as an SVG. What is cut from photographs of others is left out of these.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, ViewportSize, sync_playwright

_IMAGE = re.compile(
    r"(?:<!-- state: (?P<state>[^\n]*) -->\n)?!\[[^]]*\]\("
    r"(?P<file>images/gallery/(?P<run>[\w-]+)\.(?P<circuit>[\w-]+)\.(?P<page>diagram\.png|report\.png|view\.svg))\)"
)
_DATA = re.compile(r'(?<=<script type="application/json" id="data">).*?(?=</script>)', re.DOTALL)
_SIZE: ViewportSize = {"width": 1200, "height": 800}
_LONG: ViewportSize = {"width": 1100, "height": 1100}
_COLOURS = 256


def take(text: str, folder: Path, docs: Path) -> None:
    """Take the images that the text of a page shows, from the runs in a folder."""
    matches = [match for match in _IMAGE.finditer(text) if _page(match, folder).exists()]
    chromium = shutil.which("chromium")
    if not matches or chromium is None:
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for match in matches:
            place = docs / match["file"]
            place.parent.mkdir(exist_ok=True)
            page = _page(match, folder)
            address = f"{page.as_uri()}#{match['state'] or ''}"
            view = match["page"] == "view.svg"
            bare = _bare(page).name if view else page.name
            address = address.replace(page.name, bare)
            place.write_bytes(_channel(browser, address) if view else _screenshot(browser, address))
        browser.close()


def take_sketch(circuit: Path, images: Path) -> None:
    """Take the page and the large view of a channel of a circuit, as the README and the page on diagrams show them."""
    chromium, page = shutil.which("chromium"), circuit / "diagram.html"
    if chromium is None:
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        images.joinpath("page.png").write_bytes(_screenshot(browser, f"{page.as_uri()}#channel=conv5:34&image=1"))
        images.joinpath("channel.svg").write_bytes(_channel(browser, f"{page.as_uri()}#channel=conv4:45"))
        browser.close()


def _page(match: re.Match[str], folder: Path) -> Path:
    name = "diagram.html" if match["page"] == "view.svg" else match["page"].replace(".png", ".html")
    return folder / "runs" / match["run"] / match["circuit"] / name


def _screenshot(browser: Browser, address: str) -> bytes:
    """Return the first screen of a page as a PNG of few colours."""
    page = browser.new_page(viewport=_SIZE if "diagram.html" in address else _LONG, color_scheme="light")
    page.goto(address)
    page.wait_for_timeout(500)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    content = io.BytesIO()
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return content.getvalue()


def _bare(path: Path) -> Path:
    """Write the page of a circuit without pieces of images beside it."""
    bare, text = path.with_name("bare.html"), path.read_text(encoding="utf-8")
    bare.write_text(_DATA.sub(lambda match: _without_crops(match[0]), text), encoding="utf-8")
    return bare


def _channel(browser: Browser, address: str) -> bytes:
    """Return the large view of the channel that an address names."""
    page = browser.new_page(viewport=_SIZE, color_scheme="light", accept_downloads=True)
    page.goto(address)
    with page.expect_download() as download:
        page.locator("#svg").click()
    content = Path(download.value.path()).read_bytes()
    page.close()
    return content


def _without_crops(data: str) -> str:
    content = json.loads(data)
    for node in content["nodes"]:
        if not node.get("isFilter"):
            node.pop("thumb", None)
    return json.dumps(content).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
