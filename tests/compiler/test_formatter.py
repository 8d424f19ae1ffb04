"""What `fmt` does to a text: golden cases, and what holds for any text: its tree and its comments stay.

`pytest tests/compiler/test_formatter.py --update-golden` writes what comes out now; read the diff before committing it.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from circuitlang.base.diagnostics import CircuitError, SpecError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.compiler import formatter
from circuitlang.compiler.formatter import WIDTH, format_source
from circuitlang.compiler.parser import STATEMENTS, parse
from circuitlang.compiler.syntax import Node
from tests.conftest import ROOT

CASES = sorted((ROOT / "tests" / "compiler" / "golden_format").glob("*.case"))
SPECS = sorted([*ROOT.glob("specs/**/*.circuit"), *ROOT.glob("examples/**/*.circuit")])
SEPARATOR = "=== expect ===\n"


def formatted(text: str) -> str:
    return format_source(Source("x.circuit", text))


def spoken(node: object) -> str:
    """What a text says, without its places."""
    if isinstance(node, tuple):
        return f"({', '.join(map(spoken, node))})"
    if isinstance(node, Node):
        inner = (f"{name}={spoken(getattr(node, name))}" for name in node.__struct_fields__ if name != "span")
        return f"{type(node).__name__}({', '.join(inner)})"
    return repr(node)


def tree(text: str) -> str:
    file = parse(Source("x.circuit", text))
    assert not file.findings
    return spoken(file.statements)


def comments(text: str) -> list[str]:
    return [match[1].rstrip() for match in re.finditer(r'"[^"\n]*"|(#[^\n]*)', text) if match[1]]


def keeps_everything(text: str) -> None:
    """The properties: the same tree, the same comments, one style."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    found = formatted(text)
    assert tree(found) == tree(text)
    assert comments(found) == comments(text)
    assert formatted(found) == found
    assert not re.search(r"\n\n\n|^\n|[^\n]\Z|\n\n\Z|[ \t]\n|\r|\t", re.sub("#.*", "#", found))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden(path: Path, request: pytest.FixtureRequest) -> None:
    text, _, expected = path.read_bytes().decode().partition(SEPARATOR)
    found = formatted(text)
    keeps_everything(text)
    if request.config.getoption("--update-golden"):
        path.write_bytes(f"{text}{SEPARATOR}{found}".encode())
        return
    assert found == expected


def test_there_are_cases():
    assert len(CASES) >= 20


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_specs_that_are_shipped_are_formatted(path):
    text = path.read_bytes().decode()
    assert formatted(text) == text, f"run `circuitlang fmt {path.relative_to(ROOT)}`"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n\n", " ", "\r", ";", "; \n ;"])
def test_a_text_ends_in_one_newline_however_it_ended(ending):
    assert formatted(f"\ufeffpreserve a:1 on b/* kernels<=3{ending}") == "preserve a:1 on b/* kernels<=3\n"


@pytest.mark.parametrize(("over", "lines"), [(0, 1), (1, 3)])
def test_a_statement_is_broken_behind_the_last_column(over, lines):
    line = "preserve a:1 on b/* name="
    line += "x" * (WIDTH + over - len(line))
    assert formatted(line).count("\n") == lines


# Texts from the grammar. A token is a text and whether what is around it is tight: no white space before, behind.
NAMES = st.sampled_from(["dogs", "conv5", "features.10", "snip", "x", "on", "into", "except", "as", "model", "犬"])
NUMBERS = st.sampled_from(["3", "0.1", ".5", "10%", "1e-3", "-2", "+0.7", "030"])
STRINGS = st.sampled_from(['"0"', '"my dog.png"', '"a # b; {"', '""'])
PATHS = st.sampled_from(["images/dogs/*", "*", "a?", "../b/**", "it's/x=1".replace("=", ":")])
GLUE = "\0"  # no white space here


@st.composite
def several(draw, items, opening: str, closing: str, last: bool = True, least: int = 0, most: int = 4) -> list[str]:
    drawn = draw(st.lists(items, min_size=least, max_size=most))
    inside = [token for item in drawn for token in [*item, ","]]
    if inside and not (last and draw(st.booleans())):
        inside.pop()
    return [opening, *inside, closing]


def one(strategy) -> st.SearchStrategy[list[str]]:
    return strategy.map(lambda text: [text])


def joined(*parts) -> st.SearchStrategy[list[str]]:
    """Strings and strategies of token lists, one after the other."""
    lists = [st.just([part]) if isinstance(part, str) else part for part in parts]
    return st.tuples(*lists).map(lambda drawn: [token for each in drawn for token in each])


NAME, NUMBER = one(NAMES), one(NUMBERS)
RANGE = joined(NUMBER, "..", NUMBER)
VALUE = st.recursive(
    st.one_of(NUMBER, one(STRINGS), NAME, one(PATHS), RANGE),
    lambda inner: several(inner, "[", "]") | joined(NAME, several(inner | joined(NAME, "=", inner), "(", ")")),
    max_leaves=8,
)
CALL = joined(NAME, several(VALUE | joined(NAME, "=", VALUE), "(", ")"))
RELATION = one(st.sampled_from(["<=", ">=", "=", "==", "<", ">"]))
CLAUSE = joined(NAME, RELATION, VALUE)
FLAT = st.lists(CLAUSE, max_size=4).map(lambda each: [token for clause in each for token in clause])
CLAUSES = FLAT | joined("{", FLAT, "}")
PLACE = joined("(", NUMBER, ",", NUMBER, ")")
UNIT = st.one_of(NUMBER, several(VALUE, "[", "]"), CALL, st.just(["*"]))
TARGET = joined(NAME | one(STRINGS), GLUE, ":", GLUE, UNIT, st.just([]) | joined("@", NAME | PLACE))
TERM = joined(st.just([]) | joined(NUMBER, "*"), st.one_of(TARGET, CALL, NAME))
SIGN = one(st.sampled_from(["+", "-"]))
MORE = st.lists(joined(SIGN, TERM), max_size=2).map(lambda terms: [token for term in terms for token in term])
FEATURE = joined(st.just([]) | SIGN, TERM, MORE)
PICTURES = joined(VALUE, st.just([]) | joined("except", VALUE))
ASKED = joined("preserve", FEATURE, "on", PICTURES, CLAUSES) | joined(
    "split", FEATURE, "on", PICTURES, "into", NUMBER | NAME, CLAUSES
)
CHOSEN = several(joined(NAME, "=", VALUE), "[", "]", last=False, least=1)
MEMBER = joined(NAME, st.just([]) | CHOSEN)
STATEMENT = st.one_of(
    joined("model", CALL | NAME),
    joined("images", NAME, "=", PICTURES, CLAUSES),
    joined("target", NAME, "=", FEATURE),
    joined("defaults", CLAUSES),
    ASKED,
    joined("circuit", NAME, "=", ASKED),
    several(MEMBER, "compare", "", last=False, least=2),
    joined("expect", NAME | joined(NAME, CHOSEN, ".pearson"), RELATION, VALUE),
    joined("include", one(STRINGS), st.just([]) | joined("as", NAME)),
)
SPACE = st.sampled_from([" ", " ", "  ", "\t", "\u00a0"])
BREAK = st.sampled_from(["\n", "\n\n", " # one\n", "# two; {\n", '\n  # "three"\n ', " #\n\n\n  # \n", "\r\n"])
BETWEEN = st.sampled_from(["\n", "; ", " ;\n", "\n\n\n", " # behind\n", "; # behind\n", "\n# [before\n\n", ";;\n \n"])


@st.composite
def texts(draw) -> str:
    """A text of a few statements, spaced and commented at random."""
    text = draw(st.sampled_from(["", "\ufeff", "\n\n", "# first\n"]))
    for statement in draw(st.lists(STATEMENT, min_size=1, max_size=3)):
        depth, tight = 0, False
        for token in statement:
            if token != GLUE:
                loose = " " if depth == 0 else draw(SPACE | BREAK)
                optional = token in ("(", "[", ",", ")", "]", "}") or text[-1:] in ("(", "[", "{", ",")
                text += ("" if tight or (optional and draw(st.booleans())) else loose) + token
                depth += (token in ("(", "[", "{")) - (token in (")", "]", "}"))
            tight = token == GLUE
        text += draw(BETWEEN)
    return text


@pytest.mark.slow
@settings(max_examples=150)
@given(texts())
def test_any_text_of_the_grammar_keeps_its_tree_and_its_comments(text):
    sound = not parse(Source("x", text.replace("\r\n", "\n"))).findings
    event(f"sound: {sound}")
    assume(sound)
    keeps_everything(text)


PIECES = [*STATEMENTS, " ", "\n", ";", "#", "# c\n", '"', "(", ")", "[", "]", "{", "}", ",", "=", "<=", "-", "\ufeff"]
WHOLE = "\n".join(path.read_bytes().decode().partition(SEPARATOR)[0] for path in CASES)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.data())
def test_a_damaged_text_is_refused_or_keeps_everything(data):
    lines = WHOLE.split("\n")
    start = data.draw(st.integers(0, len(lines)))
    text = "\n".join(lines[start : start + data.draw(st.integers(1, 12))])
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.sampled_from(PIECES)) + text[at + data.draw(st.integers(0, 3)) :]
    try:
        formatted(text)
    except SpecError:
        return
    keeps_everything(text)


def call(*arguments: str, code: int = 0, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(main, ["fmt", *arguments], input=stdin)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


UGLY, NEAT = "preserve  conv5:34 on a/* kernels <= 3", "preserve conv5:34 on a/* kernels<=3\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "ugly.circuit").write_text(UGLY)
    (tmp_path / "sub" / "neat.circuit").write_text(NEAT)
    return tmp_path


def test_files_are_rewritten_where_they_change_and_only_there(here):
    before = (here / "sub" / "neat.circuit").stat()
    (here / "ugly.circuit").chmod(0o600)
    (here / "link.circuit").symlink_to("ugly.circuit")
    assert call("link.circuit", "sub").stdout == "formatted link.circuit\n"
    assert (here / "link.circuit").is_symlink()
    assert (here / "ugly.circuit").read_text() == NEAT
    assert stat.S_IMODE((here / "ugly.circuit").stat().st_mode) == 0o600
    after = (here / "sub" / "neat.circuit").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert call(".").stdout == ""


@pytest.mark.parametrize("content", [NEAT.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + NEAT.encode()])
def test_carriage_returns_and_a_byte_order_mark_go(here, content):
    (here / "sub" / "neat.circuit").write_bytes(content)
    call("--check", "sub", code=1)
    call("sub")
    assert (here / "sub" / "neat.circuit").read_bytes() == NEAT.encode()


def test_check_names_what_would_change_and_writes_nothing(here):
    assert call("--check", ".", code=1).stdout == "would format ugly.circuit\n"
    assert call("--check", "sub").stdout == ""
    assert (here / "ugly.circuit").read_text() == UGLY


def test_diff_prints_what_would_change_and_writes_nothing(here):
    said = call("--diff", ".").stdout
    assert f"-{UGLY}\n\\ No newline at end of file\n+{NEAT}" in said
    assert said.count("---") == 1
    assert call("--diff", "--check", ".", code=1).stdout == said
    assert (here / "ugly.circuit").read_text() == UGLY


def test_standard_input_is_printed(here):
    assert call("-", stdin=UGLY.encode()).stdout == NEAT
    assert call("-", stdin=NEAT.encode()).stdout == NEAT
    assert "E005" in call("-", stdin=b"preserve conv5:34 of a/*", code=1).stderr


def test_a_file_with_syntax_mistakes_is_left_and_the_others_are_formatted(here):
    broken = "images  a = b/*\npreserve conv5: 34 on a kernels <= 3"
    (here / "broken.circuit").write_text(broken)
    result = call("broken.circuit", "none.circuit", "ugly.circuit", code=1)
    assert result.stdout == "formatted ugly.circuit\n"
    assert "E007" in result.stderr
    assert "none.circuit" in result.stderr
    assert (here / "broken.circuit").read_text() == broken


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (lambda text: text.replace(" seed=1", ""), "another tree"),
        (lambda text: text.replace("kernels<=3 seed=1", "seed=1 kernels<=3"), "another tree"),
        (lambda text: text.replace("seed=1", "seed="), "another tree"),
        (lambda text: text.replace("  # why", ""), "other comments"),
        (lambda text: text.replace("# why", "# how"), "other comments"),
    ],
)
def test_a_layout_that_changes_anything_is_refused_and_the_file_left(here, monkeypatch, spoil, wrong):
    text = "preserve a:1 on b/*  kernels<=3 seed=1  # why\n"
    (here / "ugly.circuit").write_text(text)
    right = formatter.layout
    monkeypatch.setattr(formatter, "layout", lambda file: spoil(right(file)))
    with pytest.raises(CircuitError) as caught:
        format_source(Source("x", text))
    assert caught.value.findings[0].code == "E391"
    assert wrong in caught.value.findings[0].message
    assert "E391" in call("ugly.circuit", code=1).stderr
    assert (here / "ugly.circuit").read_text() == text


def test_a_layout_that_never_settles_is_refused(monkeypatch):
    right = formatter.layout
    monkeypatch.setattr(formatter, "layout", lambda file: right(file) + "\n" * file.source.text.count("\n"))
    with pytest.raises(CircuitError, match="another text when it is formatted again"):
        formatted("\n" + NEAT)


def test_brackets_too_deep_to_follow_are_refused():
    with pytest.raises(CircuitError, match="E008"):
        formatted(f"model a(x={'[' * 250}{']' * 250})")


def test_a_dropped_brace_or_bracket_is_no_change_and_a_dropped_item_is():
    file = parse(Source("x", "preserve a:[1, 2,] on b/* { kernels<=3 }"))
    formatter.verify_layout(file, "preserve a:[1, 2] on b/* kernels<=3\n")
    with pytest.raises(CircuitError, match="another tree"):
        formatter.verify_layout(file, "preserve a:[1] on b/* kernels<=3\n")
