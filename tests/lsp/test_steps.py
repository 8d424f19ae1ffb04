"""The steps of the page "In your editor", as a person takes them in Neovim, and the screens that the page shows.

`pytest -m slow --update-golden` writes the screens into the page.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.pseudo_terminal import Terminal
from tests.lsp.test_neovim import PATIENCE, STEPS, configuration, keys

SIZE = (96, 24)
ESCAPE, ENTER, COMPLETE, NEXT, ACCEPT = "\x1b", "\r", "\x18\x0f", "\x0e", "\x19"
CIRCUIT = "preserve conv5:34 on bundled.dogs keep<=10%"
_SCREEN = re.compile(r"(?<=```text\n).*?(?=```)", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """Keys, what the screen has and has not when they have taken effect, and what the page shows of it: as many lines,
    from the first one with a text."""

    keys: str
    then: str
    without: str = "Press ENTER"
    shown: str = ""
    lines: int = 0


# A person is slower than the start of the server.
READY = """
vim.wait(60000, function() return next(vim.lsp.buf_get_clients()) ~= nil end)
print("the server is there")
"""
TAKEN = (
    Step("", "dog.circuit"),
    Step(f":luafile ready.lua{ENTER}", "the server is there"),
    Step(f"ipreserve conv9:34 on bundled.{COMPLETE}", "bundled.trees", shown="preserve", lines=9),
    Step(7 * NEXT + ACCEPT, "on bundled.dogs"),
    Step(f" keep<=10%{ESCAPE}", "unknown layer", shown="preserve", lines=1),
    Step("0wgra", "Type number", shown="Code actions", lines=3),
    Step(f"1{ENTER}", "conv5", without="unknown layer"),
    Step("0wK", "kernels of 3x3", shown="preserve", lines=6),
    Step(f"l:w{ENTER}", "run | plan", shown="preserve", lines=1),
    Step("grl", "Type number"),
    Step(f"2{ENTER}", " total ", shown=" total ", lines=1),
    Step(ENTER, "run | plan"),
    Step("grl", "Type number"),
    Step(f"1{ENTER}", "last:", shown="preserve", lines=1),
)


def screens(terminal: Terminal) -> Iterator[str]:
    """Take the steps, and yield what the page shows after them."""
    for step in TAKEN:
        terminal.type(step.keys)
        terminal.read_until(
            lambda lines, step=step: step.then in "\n".join(lines) and step.without not in "\n".join(lines)
        )
        if step.lines:
            lines = terminal.lines
            first = next(number for number, line in enumerate(lines) if step.shown in line)
            yield "".join(f"{line}\n" for line in lines[first : first + step.lines])


@pytest.mark.slow
def test_from_an_empty_file_to_a_circuit(tmp_path: Path, neovim: str, request: pytest.FixtureRequest) -> None:
    said = subprocess.run([neovim, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"NVIM v([\d.]+)", said)
    page = STEPS.read_text("utf-8")
    shown = re.search(r"those of Neovim ([\d.]+\d)", page)
    assert version is not None
    assert shown is not None
    if not version[1].startswith(f"{shown[1]}."):
        pytest.skip(f"the page has screens of Neovim {shown[1]}")
    tmp_path.joinpath("init.lua").write_text(f"{configuration(version[1])}\n{keys()}")
    tmp_path.joinpath("ready.lua").write_text(READY)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    places = [f"PATH={path}", f"HOME={tmp_path}", f"XDG_STATE_HOME={tmp_path}", "CIRCUITLANG_RENDER=none"]
    alone = ["-n", "-i", "NONE", "-u", "init.lua"]
    # It would wait forever for a screen that does not come.
    limit = ["timeout", f"{PATIENCE // 1000}"]
    terminal = Terminal(*SIZE, ["env", "-C", str(tmp_path), *places, *limit, neovim, *alone, "dog.circuit"])
    made = list(screens(terminal))
    terminal.type(f":qa!{ENTER}")
    assert terminal.wait().code == 0
    assert tmp_path.joinpath("dog.circuit").read_text() == f"{CIRCUIT}\n"
    assert tmp_path.joinpath("runs", "dog", "index.html").exists()
    if request.config.getoption("--update-golden"):
        rest = iter(made)
        STEPS.write_text(_SCREEN.sub(lambda _: next(rest), page), encoding="utf-8")
        return
    assert made == _SCREEN.findall(page)
