"""The site of the documentation, as one reads it from the disk."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import ROOT


@pytest.mark.slow
def test_the_site_is_searched_from_the_disk(tmp_path: Path, chromium: Browser) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    # The snippets and the API are taken from the package.
    tmp_path.joinpath("circuitlang").symlink_to(ROOT / "circuitlang")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    program = Path(sys.executable).with_name("zensical")
    subprocess.run([program, "build"], cwd=tmp_path, check=True, capture_output=True)
    index = tmp_path / "site" / "index.html"
    assert not re.findall(r'<(?:script|link)[^>]*(?:src|href)="https?:', index.read_text("utf-8"))
    page = chromium.new_page()
    page.goto(index.as_uri())
    page.locator(".md-search__button").click()
    page.keyboard.type("ablation")
    expect(page.get_by_role("link", name="Ablation", exact=False).first).to_be_visible()
    expect(page.get_by_text(re.compile(r"^\d+ results$"))).to_be_visible()
    page.close()
