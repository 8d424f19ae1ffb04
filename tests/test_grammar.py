"""The grammar is unambiguous, as far as this can be known without the package that `Lark(strict=True)` wants.

Where that package, interegular, is installed, Lark looks for colliding terminals each time a parser is built, which
would slow down every command; so it is no dependency of the tests either. What strict mode checks is checked here in
two parts: the conflicts of the parser by Lark itself, with certainty; and that no text is two terminals at once by
texts drawn at random from each terminal, which finds an overlap that is not rare.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Lark
from lark.exceptions import GrammarError
from lark.lexer import PatternRE, TerminalDef
from lark.parsers.lalr_parser import LALR_Parser

from circuitlang.compiler.parse import STATEMENTS, grammar_file

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
