"""Findings in every format: people see the words that are meant, programs get places they can trust."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner

from circuitlang.base.diagnostics import Finding
from circuitlang.base.source import Source, Span, decode, read
from circuitlang.cli.main import main
from circuitlang.reporting.diagnostics import MACHINE, render
from tests.conftest import ROOT

BAD = "preserve conv9:34 on images/dogs/* sparsity<=0.9\n"
GOOD = "preserve conv5:34 on images/dogs/* sparsity<=0.1\n"


def spanned(text: str, meant: str, name: str = "spec.circuit") -> Finding:
    start = text.index(meant)
    return Finding("E102", "no", Span(Source(name, text), start, start + len(meant)), "here", "do")


def picture(finding: Finding) -> list[tuple[str, str]]:
    """Each quoted line with the line of carets below it, both without the gutter."""
    lines = render([finding]).plain.splitlines()
    rows = [line.partition("|")[2][1:] for line in lines if re.match(r" *\d* \|", line)][1:]
    return list(zip(rows[::2], rows[1::2], strict=False))


def cells(text: str) -> int:
    """The width of text in a terminal, by Unicode's own tables."""
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(unicodedata.category(each) in ("Mn", "Me") for each in text)


@pytest.mark.parametrize(
    ("before", "meant"),
    [
        ("plain ", "word"),
        ("全角文字 ", "word"),
        ("on ", "犬の写真"),
        ("a\u0301e\u0308 ", "wo\u0301rd"),
        ("한국어 éü ", "ひ"),
        ("no\u00a0break ", "x"),
    ],
    ids=["plain", "wide before", "wide meant", "combining", "several", "no-break space"],
)
def test_carets_stand_below_the_words_that_are_meant(before, meant):
    ((line, carets),) = picture(spanned(f"{before}{meant} after", meant))
    assert line == f"{before}{meant} after"
    start = carets.index("^")
    assert start == cells(before)
    assert carets[start:] == "^" * cells(meant) + " here"


def test_tabs_are_as_wide_above_as_below():
    ((line, carets),) = picture(spanned("\ta\tword\tb", "word"))
    assert "\t" not in line
    assert line.index("word") == carets.index("^")


@pytest.mark.parametrize("hidden", ["\u200b", "\u202e", "\ufeff", "\x1b", "\x00", "\x7f", "\u2028", "\udcff"])
def test_what_a_terminal_would_hide_or_obey_is_shown(hidden):
    finding = spanned(f"ab{hidden}word", "word")
    ((line, carets),) = picture(finding)
    assert hidden not in line
    assert line.index("word") == carets.index("^")
    ((line, carets),) = picture(spanned(f"ab{hidden}word", hidden))
    assert len(carets.split()[0]) == len(line) - len("abword")
    for machine in ("concise",):
        said = Finding("E001", f"unknown '{hidden}'", Span(Source(f"a{hidden}", "x"), 0, 1))
        assert hidden not in MACHINE[machine]([said]) + render([said]).plain


def test_a_combining_mark_alone_is_underlined_with_its_letter():
    ((_, carets),) = picture(spanned("xe\u0301y", "\u0301"))
    assert carets.startswith(" ^ ")


def test_a_span_of_several_lines_is_underlined_in_each():
    rows = picture(spanned("a {\n  b\n} c", "{\n  b\n}"))
    assert rows == [("a {", "  ^"), ("  b", "  ^"), ("} c", "^ here")]


def test_a_long_span_is_cut_in_its_middle_and_keeps_the_label():
    text = "start\n" + "line\n" * 30 + "end tail"
    plain = render([spanned(text, text.removesuffix(" tail"))]).plain
    assert plain.count("line") == 1
    assert re.search(r"^ +:$", plain, re.MULTILINE)
    assert "^^^ here" in plain
    assert " 32 | end" in plain


def test_a_span_that_ends_with_its_line_break_stays_on_its_line():
    assert picture(spanned("one\ntwo", "one\n")) == [("one", "^^^ here")]


@pytest.mark.parametrize("text", ["abc", "abc\n", "abc\n\n"])
def test_the_end_of_a_file_has_a_place(text):
    finding = Finding("E006", "too early", Span(Source("f", text), len(text), len(text)), "more")
    assert picture(finding)[-1][1].strip() == "^ more"
    (found,) = json.loads(MACHINE["json"]([finding]))
    lines = text.split("\n")
    assert found["start"] == found["end"] == {"line": len(lines), "column": len(lines[-1]) + 1}


def test_an_empty_file_has_a_place_but_no_line():
    plain = render([Finding("E310", "no", Span(Source("f", ""), 0, 0), "why")]).plain
    assert "--> f:1:1\n" in plain
    assert "|" not in plain
    assert "= why" in plain


def test_a_span_past_the_end_is_the_end():
    assert Source("f", "ab\nc").position(99) == (2, 2)


@pytest.mark.parametrize("at", [0, 500, 3000])
def test_a_very_long_line_is_cut_around_what_is_meant(at):
    text = "x" * at + " word " + "y" * (3000 - at)
    ((line, carets),) = picture(spanned(text, "word"))
    assert len(line) < 130
    assert line.index("word") == carets.index("^")
    assert line.startswith("…") == (at > 0)
    assert line.endswith("…") == (at < 3000)


def test_a_span_longer_than_a_screen_is_cut_with_its_line():
    ((line, carets),) = picture(spanned("a " + "w" * 500, "w" * 500))
    assert len(carets.split()[0]) <= len(line) < 130


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks_move_nothing(tmp_path: Path, end: str, mark: str):
    path = tmp_path / "spec.circuit"
    path.write_bytes(f"{mark}# one{end}{end}{BAD.strip()}{end}".encode())
    assert read(path).text == decode(path.read_bytes()) == f"# one\n\n{BAD}"
    said = check(str(path), "--format", "concise", code=1)
    assert f"{path}:3:10: E102 unknown layer 'conv9'" in said


def check(*arguments: str, code: int = 0, stdin: str | bytes = "") -> str:
    result = CliRunner().invoke(main, ["check", *arguments], input=stdin)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("a.circuit", GOOD), ("sub/b.circuit", BAD), (".hidden/c.circuit", "nonsense")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "sub" / "notes.txt").write_text("nonsense")
    return tmp_path


def test_concise_is_one_line_for_each_finding(here):
    lines = check("a.circuit", "sub/b.circuit", "--format", "concise", code=1).splitlines()
    assert lines == [
        "sub/b.circuit:1:10: E102 unknown layer 'conv9'",
        "sub/b.circuit:1:36: W201 sparsity is the fraction that is kept",
    ]


def test_json_is_one_list_for_all_files(here):
    (here / "more.circuit").write_text("presrve\n")
    found = json.loads(check(".", "--format", "json", code=1))
    assert [(each["file"], each["code"], each["severity"]) for each in found] == [
        ("more.circuit", "E001", "error"),
        ("sub/b.circuit", "E102", "error"),
        ("sub/b.circuit", "W201", "warning"),
    ]
    assert found[0]["start"] == {"line": 1, "column": 1}
    assert found[0]["end"] == {"line": 1, "column": 8}
    assert found[0]["help"] == "did you mean 'preserve'?"
    keys = {"code", "severity", "message", "file", "start", "end", "label", "help"}
    assert all(each.keys() == keys for each in found)
    assert json.loads(check("a.circuit", "--format", "json")) == []


def test_a_finding_without_a_place_is_in_every_format():
    finding = Finding("E121", "twice")
    (one,) = json.loads(MACHINE["json"]([finding]))
    assert one["file"] is one["start"] is one["end"] is None
    assert MACHINE["concise"]([finding]) == "circuitlang: E121 twice\n"
    assert MACHINE["github"]([finding]) == "::error title=circuitlang E121::twice\n"
    assert "locations" not in json.loads(MACHINE["sarif"]([finding]))["runs"][0]["results"][0]


def unescaped(text: str, signs: str) -> str:
    for sign in signs:
        text = text.replace(f"%{ord(sign):02X}", sign)
    return text.replace("%25", "%")


def test_github_commands_survive_every_sign():
    source = Source("a,b:c%0A.circuit", "x\nword")
    message, label = "100% of\r\nit, or: %0A", "50%"
    said = MACHINE["github"]([Finding("E102", message, Span(source, 2, 6), label, "")])
    assert said.count("\n") == 1
    match = re.fullmatch(r"::error ([^\r\n]*?)::([^\r\n]*)\n", said)
    assert match
    properties = dict(part.split("=", 1) for part in match[1].split(","))
    assert {word: unescaped(value, ":,\r\n") for word, value in properties.items()} == {
        "file": source.name,
        "line": "2",
        "endLine": "2",
        "col": "1",
        "endColumn": "5",
        "title": "circuitlang E102",
    }
    assert unescaped(match[2], "\r\n") == f"{message}\n{label}"


def test_github_gets_no_columns_of_different_lines():
    said = MACHINE["github"]([spanned("a\nb", "a\nb")])
    assert "line=1,endLine=2" in said
    assert "col" not in said
    assert MACHINE["github"]([Finding("W201", "so")]).startswith("::warning ")


def test_sarif_has_what_the_standard_requires(here):
    log = json.loads(check(".", "--format", "sarif", code=1))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "circuitlang"
    assert [rule["id"] for rule in driver["rules"]] == ["E102", "W201"]
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule["fullDescription"]["text"]
        assert rule["help"]["text"].startswith(f"# {rule['id']}: {rule['shortDescription']['text']}")
        assert "helpUri" not in rule
    assert [result["level"] for result in run["results"]] == ["error", "warning"]
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        assert location["physicalLocation"]["artifactLocation"] == {"uri": "sub/b.circuit"}
        region = location["physicalLocation"]["region"]
        assert region["startLine"] == region["endLine"] == 1
        assert BAD[region["startColumn"] - 1 : region["endColumn"] - 1] in ("conv9", "sparsity<=0.9")


def test_sarif_counts_columns_as_it_says():
    text = "😀犬 e\u0301 word"
    (run,) = json.loads(MACHINE["sarif"]([spanned(text, "word")]))["runs"]
    assert run["columnKind"] == "utf16CodeUnits"
    region = run["results"][0]["locations"][0]["physicalLocation"]["region"]
    units = text.encode("utf-16-le")
    meant = units[2 * (region["startColumn"] - 1) : 2 * (region["endColumn"] - 1)]
    assert meant.decode("utf-16-le") == "word"


@pytest.mark.parametrize(
    ("name", "uri"),
    [("a b/ü#1.circuit", "a%20b/%C3%BC%231.circuit"), ("/x y.circuit", "file:///x%20y.circuit")],
)
def test_sarif_names_files_by_uri(name, uri):
    (run,) = json.loads(MACHINE["sarif"]([spanned("word", "word", name)]))["runs"]
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri


@pytest.mark.parametrize("style", sorted(MACHINE))
def test_no_findings_are_a_sound_document_too(here, style):
    said = check("a.circuit", "--format", style)
    if style == "sarif":
        assert json.loads(said)["runs"][0]["results"] == []
    else:
        assert said.strip() in ("", "[]")


def test_warnings_alone_do_not_fail(here):
    (here / "w.circuit").write_text(GOOD.replace("0.1", "0.9"))
    assert "W201" in check("w.circuit", "--format", "concise")
    said = check("w.circuit")
    assert "1 warning" in said
    assert "no mistakes" in said


def test_a_folder_is_every_spec_in_it_but_hidden_ones(here):
    said = check(".", code=1)
    assert "a.circuit: 1 circuit, no mistakes" in said
    assert "sub/b.circuit:1:10" in said
    assert "nonsense" not in said
    assert check("a.circuit", ".", "a.circuit", code=1) == said
    assert "can't read .hidden/none" in check(".hidden/none", code=1)


def test_a_folder_without_specs_is_a_mistake(here):
    (here / "empty").mkdir()
    assert "E310" in check("empty", code=1)


def test_a_dash_is_standard_input(here):
    assert "1 circuit, no mistakes" in check("-", stdin=GOOD)
    said = check("-", "--format", "concise", code=1, stdin=f"\ufeff\r\n{BAD}")
    assert said.startswith("<stdin>:2:10: E102 ")
    assert "not text" in check("-", code=1, stdin=b"\xff\xfe")


def test_the_examples_and_specs_of_the_project_have_no_findings(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert json.loads(check("examples", "specs", "--format", "json")) == []
