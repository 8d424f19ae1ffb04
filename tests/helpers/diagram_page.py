"""Results for the diagram's page, and what tests ask of it in a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from playwright.sync_api import Page

from circuitlang.results.types import ActivationMaps, FeatureVisualisations, Result
from tests.helpers.drawn_circuits import Made, fed_by, result

Open = Callable[..., Page]


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&]]>"


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


def shown_edges(page: Page) -> int:
    return page.locator(".circuit-edge:not(.hidden)").count()


def drawn_edges(page: Page) -> set[tuple[str, str]]:
    every = page.locator(".circuit-edge:not(.hidden)")
    return {tuple(ends) for ends in every.evaluate_all("all => all.map(one => [one.dataset.from, one.dataset.to])")}


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
