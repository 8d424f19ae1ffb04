"""Neovim, with the configuration of the documentation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "guides" / "editors.md"
STEPS = ROOT / "docs" / "start" / "in-your-editor.md"
# Milliseconds after which Neovim gives up waiting.
PATIENCE = 120_000
# Without a screen, and with no files but the configuration.
ALONE = ("--headless", "-n", "-i", "NONE", "-u", "init.lua")
PROGRAM = f"""
local function diagnostics(count)
  vim.wait({PATIENCE}, function() return #vim.diagnostic.get(0) == count end, 20)
  for _, mistake in ipairs(vim.diagnostic.get(0)) do
    print(("%d:%d: %s %s"):format(mistake.lnum, mistake.col, mistake.code or "", mistake.message:match("[^\\n]*")))
  end
  print(("%d mistakes"):format(#vim.diagnostic.get(0)))
end
diagnostics(1)
print(vim.bo.omnifunc, vim.fn.maparg("gra", "n") ~= "", vim.fn.maparg("grl", "n") ~= "")
vim.api.nvim_buf_set_text(0, 1, 13, 1, 14, {{ "5" }})
diagnostics(0)
vim.api.nvim_win_set_cursor(0, {{ 2, 10 }})
local place = vim.lsp.util.make_position_params(0, "utf-16")
local answers = vim.lsp.buf_request_sync(0, "textDocument/hover", place, {PATIENCE})
for _, answer in pairs(answers) do print(answer.result.contents.value:match("[^\\n]*")) end
"""


def configuration(version: str) -> str:
    """Return the configuration of the page for a version of Neovim, the newest that is old enough."""
    blocks = re.findall(r"From version (\d+)\.(\d+) on.*?```lua\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    known = {(int(major), int(minor)): text for major, minor, text in blocks}
    major, minor = map(int, version.split(".")[:2])
    return known[max(place for place in known if place <= (major, minor))]


def keys() -> str:
    """Return the keys that the steps set."""
    (text,) = re.findall(r"```lua\n(.*?)```", STEPS.read_text("utf-8"), re.DOTALL)
    return text


@pytest.mark.slow
def test_neovim_shows_mistakes_as_one_types(tmp_path: Path, neovim: str) -> None:
    said = subprocess.run([neovim, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"NVIM v([\d.]+)", said)
    assert version is not None
    tmp_path.joinpath("init.lua").write_text(f"{configuration(version[1])}\n{keys()}")
    tmp_path.joinpath("program.lua").write_text(PROGRAM)
    tmp_path.joinpath("a.circuit").write_text("images d = images/dogs/*\npreserve conv9:34 on d keep<=5%\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [neovim, *ALONE, "a.circuit", "-c", "luafile program.lua", "-c", "qa!"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert lines[0].startswith("1:9: E102 unknown layer 'conv9'"), lines
    assert lines[1:4] == ["1 mistakes", "v:lua.vim.lsp.omnifunc true true", "0 mistakes"]
    assert "conv5" in lines[4]
