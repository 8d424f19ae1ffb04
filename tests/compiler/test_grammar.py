"""The grammar is unambiguous, as far as this can be known without the package that `Lark(strict=True)` wants.

Where that package, interegular, is installed, Lark looks for colliding terminals each time a parser is built, which
would slow down every command; so it is no dependency of the tests either. What strict mode checks is checked here in
two parts: the conflicts of the parser by Lark itself, with certainty; and that no text is two terminals at once by
texts drawn at random from each terminal, which finds an overlap that is not rare.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Lark, UnexpectedInput
from lark.exceptions import GrammarError
from lark.lexer import PatternRE, TerminalDef
from lark.parsers.lalr_parser import LALR_Parser

from circuitlang.compiler import grammar
from circuitlang.compiler.grammar import build, grammar_file, tables, tables_file
from circuitlang.compiler.parser import STATEMENTS

GRAMMAR = grammar_file().read_text(encoding="utf-8")


def built(text: str) -> Lark:
    return Lark(text, start="statement", parser="lalr")


def strictly(text: str) -> None:
    """Raises GrammarError for every conflict, also those that Lark decides for itself."""
    LALR_Parser(built(text).parser.parser_conf, strict=True)


def patterns(grammar: Lark) -> list[TerminalDef]:
    """The terminals that are patterns; a keyword wins against them, which is meant."""
    return [each for each in grammar.terminals if isinstance(each.pattern, PatternRE)]


TERMINALS = patterns(built(GRAMMAR))


def also(text: str, of: TerminalDef, terminals: list[TerminalDef]) -> list[str]:
    """The other terminals of the same priority that a text is."""
    return [
        each.name
        for each in terminals
        if each.name != of.name
        and each.priority == of.priority
        and re.fullmatch(each.pattern.to_regexp(), text) is not None
    ]


def test_no_conflict_is_left_to_lark():
    strictly(GRAMMAR)


def test_a_conflict_would_be_found():
    dangling = 'statement: "if" statement | "if" statement "else" statement | "x"'
    built(dangling)
    with pytest.raises(GrammarError):
        strictly(dangling)


@settings(max_examples=200)
@given(st.data())
def test_no_text_is_two_terminals(data):
    of = data.draw(st.sampled_from(TERMINALS))
    text = data.draw(st.from_regex(of.pattern.to_regexp(), fullmatch=True))
    assert also(text, of, TERMINALS) == []


@pytest.mark.parametrize("text", ["0.1", "10%", "+.1e5", ".pearson", "a.b", "_", '"a/*"', "a/*", "?", "images/**", " "])
def test_a_token_is_one_terminal(text):
    (first,) = {each.priority: each for each in TERMINALS if re.fullmatch(each.pattern.to_regexp(), text)}.values()
    assert also(text, first, TERMINALS) == []


def test_two_terminals_at_once_would_be_found():
    terminals = patterns(built("statement: A | B\nA: /a+/\nB: /[ab]+/"))
    assert also("aa", terminals[0], terminals)


def test_the_compiler_knows_the_statements_of_the_grammar():
    (rule,) = re.findall(r"^\?statement: (.*)$", GRAMMAR, re.MULTILINE)
    words = re.findall(rf"^(?:{rule.replace(' ', '')}): +\"(\w+)\"", GRAMMAR, re.MULTILINE)
    assert sorted(words) == sorted(STATEMENTS)


def alike(one: Lark, other: Lark) -> bool:
    """Whether two parsers are the same but for the order of what has none, such as the numbers of their states."""

    def words(parser: Lark) -> set[object]:
        conf = parser.lexer_conf
        terminals = ((each.name, each.pattern.to_regexp(), each.priority) for each in conf.terminals)
        rules = ((each, each.options.expand1, each.options.keep_all_tokens, each.alias) for each in parser.rules)
        return {*terminals, *rules, *conf.ignore, parser.options.maybe_placeholders}

    if words(one) != words(other):
        return False
    left, right = (parser.parser.parser._parse_table for parser in (one, other))
    seen, found = set(), [(left.start_states["statement"], right.start_states["statement"])]
    while found:
        if (pair := found.pop()) in seen:
            continue
        seen.add(pair)
        here, there = left.states[pair[0]], right.states[pair[1]]
        if {key: kind for key, (kind, _) in here.items()} != {key: kind for key, (kind, _) in there.items()}:
            return False
        for key, (kind, to) in here.items():
            if kind.name == "Shift":
                found.append((to, there[key][1]))
            elif to != there[key][1]:
                return False
    return True


@pytest.fixture
def own_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the parser finds its tables: copies of those there are."""
    path = tmp_path / "circuit.tables"
    path.write_bytes(tables_file().read_bytes())
    monkeypatch.setattr(grammar, "tables_file", lambda: path)
    return path


def no_building(_: str) -> Lark:
    raise AssertionError("the tables are not used")


def test_the_tables_are_those_of_the_grammar(monkeypatch: pytest.MonkeyPatch):
    """`make grammar` is due where this fails: after a change to the grammar, or with another version of Lark."""
    fresh = build(GRAMMAR)
    monkeypatch.setattr(grammar, "build", no_building)
    assert alike(grammar.parser.__wrapped__(), fresh)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("STAR.2:", "STAR.3:"),
        ('["except" value]', '["except" name]'),
        ("clause* |", "clause clause* |"),
        ("?value:", "value:"),
    ],
)
def test_other_tables_would_be_found(before: str, after: str):
    assert before in GRAMMAR
    assert not alike(build(GRAMMAR), build(GRAMMAR.replace(before, after)))


def test_tables_of_another_grammar_are_not_used(own_tables: Path):
    own_tables.write_bytes(tables(GRAMMAR.replace('"preserve"', '"keep"')))
    grammar.parser.__wrapped__().parse("preserve conv5:34 on images/*")
    with pytest.raises(UnexpectedInput):
        grammar.parser.__wrapped__().parse("keep conv5:34 on images/*")


def test_tables_of_another_lark_are_not_used(own_tables: Path, monkeypatch: pytest.MonkeyPatch):
    made = msgspec.msgpack.decode(own_tables.read_bytes())
    own_tables.write_bytes(msgspec.msgpack.encode({**made, "lark": "0.1"}))
    monkeypatch.setattr(grammar, "build", no_building)
    with pytest.raises(AssertionError):
        grammar.parser.__wrapped__()


@pytest.mark.parametrize("content", [None, b"", b"no tables", b"\x01"])
def test_without_tables_the_grammar_is_built(own_tables: Path, content: bytes | None):
    if content is None:
        own_tables.unlink()
    else:
        own_tables.write_bytes(content)
    assert alike(grammar.parser.__wrapped__(), build(GRAMMAR))
