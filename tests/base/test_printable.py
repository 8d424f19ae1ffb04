"""Nothing that a file brought along acts in a terminal, a log or a page, and nothing in it hides."""

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.table import Table
from rich.text import Text

from circuitlang.base.diagnostics import Finding
from circuitlang.base.printable import is_hidden, lines, one_line, visible
from circuitlang.base.source import Source, Span
from circuitlang.cli.main import main
from circuitlang.reporting.diagnostics import MACHINE, render
from circuitlang.reporting.diagram.svg import clean
from circuitlang.reporting.html.pages import shown
from circuitlang.reporting.terminal.console import Console, as_text, json_text

RENDER = "all"

# What moves the cursor, sets a title, turns the text around, or isn't there to be seen.
ODD = "\x1b[2J\x1b]0;title\x07\u202e\u2066\u200b\x9b31m\x7f\u2028"
SPEC = f"""\
# {ODD}
images some = "pics/*"
circuit c = preserve conv3:3 on some {{ # {ODD}
    sparsity<=10% criterion=magnitude holdout=0 # {ODD}
}}
"""


def hidden(text: str) -> set[str]:
    return {each for each in text if is_hidden(each) and each != "\n"}


def call(*arguments: str, code: int | None = 0) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert code is None or result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of a spec and of pictures with such names."""
    from circuitlang.bundled.doodles import draw

    place = tmp_path_factory.mktemp("visible")
    (place / "pics").mkdir()
    for number in range(3):
        draw("dogs", 3_000_000 + number).save(place / "pics" / f"{ODD}{number}.png", "PNG")
    (place / "s.circuit").write_text(SPEC, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        (place / "printed").write_text(call("run", "s.circuit"), encoding="utf-8")
    return place


def test_what_a_run_prints(folder):
    assert hidden((folder / "printed").read_text(encoding="utf-8")) == set()


def test_what_a_run_writes_for_people(folder):
    files = [path for path in (folder / "runs").rglob("*") if path.suffix in (".txt", ".html", ".svg", ".yaml")]
    assert len(files) >= 5
    for path in files:
        assert hidden(path.read_text(encoding="utf-8")) - {"\t"} == set(), path.name


@pytest.mark.parametrize(
    "command",
    [
        ["show", "runs/s"],
        ["plan", "s.circuit"],
        ["plan", "--json", "s.circuit"],
        ["plan", "--yaml", "s.circuit"],
        ["check", "--deep", "s.circuit"],
        ["diff", "runs/s", "s.circuit"],
        ["diff", "--json", "runs/s", "s.circuit"],
        ["fmt", "--check", "s.circuit"],
        ["run", "s.circuit"],
        ["explain", ODD],
        ["layers", f"alexnet{ODD}"],
        ["check", f"{ODD}.circuit"],
        *(["check", "--format", style, "odd.circuit"] for style in ("full", *MACHINE)),
    ],
    ids=lambda command: " ".join(command[:3]).encode("ascii", "replace").decode(),
)
def test_commands(folder, monkeypatch, command):
    monkeypatch.chdir(folder)
    Path("odd.circuit").write_text(f'preserve conv9:3 on "{ODD}" {ODD}kernels<=3\nimages {ODD}', encoding="utf-8")
    assert hidden(call(*command, code=None)) == set()


def test_a_circuit_that_was_edited(folder, monkeypatch):
    monkeypatch.chdir(folder)
    path = folder / "runs" / "s" / "c" / "circuit.json"
    kept = path.read_bytes()
    content = json.loads(kept)
    content["plan"]["images"] = ODD
    content["plan"]["statement"] = ODD
    path.write_text(json.dumps(content))
    try:
        for command in (["show", "runs/s"], ["show", "runs/s/c"], ["diff", "runs/s/c", "s.circuit"]):
            assert hidden(call(*command, code=None)) == set()
    finally:
        path.write_bytes(kept)


def test_layers_with_odd_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        f"        self.add_module({ODD.replace('.', '')!r}, torch.nn.Conv2d(3, 4, 3))\n"
        "    def forward(self, x):\n"
        f"        return getattr(self, {ODD.replace('.', '')!r})(x)\n"
    )
    assert hidden(call("layers", 'python("net.py:Net", resize=32, crop=32)', "--allow-code", code=None)) == set()


def test_findings():
    source = Source(f"{ODD}.circuit", f"preserve {ODD}\n")
    findings = [Finding("E001", ODD, Span(source, 0, 9), ODD, ODD)]
    assert hidden(render(findings).plain) == set()
    for style in MACHINE.values():
        assert hidden(style(findings)) == set()


def test_a_console_shows_its_own_colours_and_no_others():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="standard", width=80)
    table = Table()
    table.add_column(Text(ODD))
    table.add_row(Text(f"a{ODD}", style="red"))
    console.print(table)
    console.print(ODD, markup=False)
    printed = file.getvalue()
    assert "\x1b[31m" in printed
    assert "\x1b[2J" not in printed
    assert "\x1b]0" not in printed
    assert hidden(printed) <= {"\x1b"}


def test_text_files():
    assert hidden(as_text(Text(f"a{ODD}\nb \x0c\x1c\x85 c")).decode()) == set()
    assert as_text(Text("a  \nb")).decode() == "a\nb\n"


def test_json_says_the_same():
    text = json.dumps({"a": ODD + "\U000e0001", "b": "犬\n"}, ensure_ascii=False, indent=2)
    assert hidden(json_text(text)) == set()
    assert json.loads(json_text(text)) == json.loads(text)
    assert "犬" in json_text(text)


@pytest.mark.parametrize("show", [visible, one_line, lines, clean, shown])
def test_every_way_out_shows(show):
    assert hidden(show(f"a{ODD}b")) == set()
    assert show("plain text, as ever: é 犬 →") == "plain text, as ever: é 犬 →"
    assert show("") == ""
