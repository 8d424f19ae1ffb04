"""Frames that the page of a circuit draws while it is panned: `python -m benchmarks.panning DIAGRAM.html`.

The page is dragged by a few pixels in each frame, with all of its paths drawn. The count of frames is against that of
the same page at rest for as long, in turn, in a browser without a screen; the median of some rounds. At rest a browser
draws 60 frames a second, or fewer on a busy machine.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

MILLISECONDS = 3000
# Counts frames for a while; in each the pointer goes on, to and fro, or stays.
_COUNT = """async ([duration, moves]) => {
    const drawing = document.getElementById("drawing"), box = drawing.getBoundingClientRect();
    const send = (name, x) => drawing.dispatchEvent(new PointerEvent(name, {
        clientX: box.left + x, clientY: box.top + box.height / 2, pointerId: 1, button: 0, buttons: 1, bubbles: true,
    }));
    let frames = 0;
    const begin = performance.now();
    if (moves) send("pointerdown", 400);
    while (performance.now() - begin < duration) {
        await new Promise(requestAnimationFrame);
        frames += 1;
        if (moves) send("pointermove", 400 + 100 * Math.sin(frames / 10));
    }
    if (moves) send("pointerup", 450);
    return frames;
}"""


def share(page: Page, rounds: int) -> float:
    """Return how many frames are drawn while panning, as a share of those at rest."""
    shares = []
    for _ in range(rounds):
        rest, panned = (page.evaluate(_COUNT, [MILLISECONDS, moves]) for moves in (False, True))
        shares.append(panned / rest)
    return median(shares)


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for path in options.pages:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(path.resolve().as_uri())
            slider = page.locator("#shown")
            slider.evaluate("one => { one.value = one.max; one.dispatchEvent(new Event('input', { bubbles: true })) }")
            page.locator("#larger").click()
            page.wait_for_timeout(MILLISECONDS)
            before = page.locator("#view").get_attribute("transform")
            ratio = share(page, options.rounds)
            moved = page.locator("#view").get_attribute("transform") != before
            edges = page.locator(".circuit-edge:not(.hidden)").count()
            print(
                f"{path}: {edges:,} edges, {ratio:.2f} of the frames at rest{'' if moved else ', but it did not move'}"
            )
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
