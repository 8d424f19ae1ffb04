"""The diagram's page in a real browser, from disk and offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from circuitlang.reporting.formats.diagram_html import diagram_html
from circuitlang.results.labelling import labelled
from circuitlang.results.types import Result
from tests.helpers.diagram_page import Open


@pytest.fixture
def show(chromium: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a result's page from disk with the network off; whatever the console says or is asked of it fails."""
    said: list[str] = []
    contexts = []

    def opened(made: Result, **options: object) -> Page:
        path = tmp_path / "diagram.html"
        path.write_bytes(labelled(diagram_html(made), made.summary)["diagram.html"])
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
