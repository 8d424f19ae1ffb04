"""The tree-sitter grammar: it accepts what the compiler reads, gives the same trees, and highlights the same words."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pygments.token import Comment, Keyword, Name, Number, String
from tree_sitter import Language, Parser, Query, QueryCursor

from circuitlang.base.source import Source
from circuitlang.compiler.keywords import keywords
from circuitlang.compiler.parser import parse
from circuitlang.compiler.pygments_lexer import CircuitLexer
from tests.compiler import test_language as language
from tests.compiler.test_golden import CASES, SEPARATOR
from tests.conftest import ROOT
from tests.helpers.tree_sitter_parser import FOLDER, build, expression

SPECS = sorted(path for folder in ("specs", "examples") for path in (ROOT / folder).rglob("*.circuit"))
TEXTS = {
    **{f"{path.parent.name}/{path.stem}": path.read_text("utf-8") for path in SPECS},
    **{f"golden/{path.stem}": path.read_text("utf-8").partition(SEPARATOR)[0] for path in CASES},
    "language": language.SPEC + language.MORE,
}
SLIPS = Path(__file__).with_name("slips.txt").read_text("utf-8")
# Names that highlighters of both kinds have for the same thing.
CAPTURES = {
    Comment.Single: {"comment"},
    Keyword: {"keyword"},
    Keyword.Reserved: {"keyword"},
    Name.Class: {"type"},
    Name.Variable: {"type.definition"},
    Number: {"number"},
    # Names of layers and of sets of images may be quoted.
    String: {"string", "type"},
}


@pytest.fixture(scope="module")
def circuit(c_compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Language:
    return build(c_compiler, tmp_path_factory.mktemp("tree-sitter"))


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """The script that makes files of the grammar."""
    spec = importlib.util.spec_from_file_location("treesitter", ROOT / "editors" / "treesitter.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_read(text: str) -> bool:
    """Return whether the compiler can read a text; that a target has no spaces is said by its checker."""
    return not [finding for finding in parse(Source("x.circuit", text)).findings if finding.code != "E007"]


def is_accepted(parser: Parser, text: str) -> bool:
    return not parser.parse(text.encode()).root_node.has_error


def agree(parser: Parser, text: str) -> None:
    assert is_accepted(parser, text) == is_read(text), text


def test_the_files_that_follow_from_the_language_are_fresh(generator: ModuleType) -> None:
    for file, content in generator.files().items():
        assert file.read_text(encoding="utf-8") == content, "`make renew` writes it"


def test_the_grammar_has_the_words_of_the_language() -> None:
    known = keywords()
    # The parser is made from the second, which `tree-sitter generate` makes from the first.
    script = FOLDER.joinpath("grammar.js").read_text(encoding="utf-8")
    rules = json.loads(FOLDER.joinpath("src", "grammar.json").read_text(encoding="utf-8"))["rules"]
    parser = FOLDER.joinpath("src", "parser.c").read_text(encoding="utf-8")
    words = {*known.statements, *known.words}
    assert set(re.findall(r"'([a-z]{2,})'[,)]", script)) == words
    assert set(literals(rules)) == words
    assert set(re.findall(r'^  \[anon_sym_(\w+)\] = "\1"', parser, re.MULTILINE)) == words


def literals(rule: object) -> Iterator[str]:
    """Yield the words that a rule of the grammar has as they are."""
    if isinstance(rule, dict):
        if rule.get("type") == "STRING" and str(rule["value"]).isalpha():
            yield rule["value"]
        rule = list(rule.values())
    if isinstance(rule, list):
        for part in rule:
            yield from literals(part)


@pytest.mark.slow
def test_trees_are_those_of_the_compiler(circuit: Language, generator: ModuleType) -> None:
    parser, sound = Parser(circuit), 0
    for name, text in TEXTS.items():
        if is_read(text):
            sound += 1
            trees = " ".join(["source_file", *map(generator.expression, generator.spans(text))])
            assert expression(parser.parse(text.encode()).root_node) == f"({trees})", name
    assert sound > 60


@pytest.mark.slow
def test_what_the_compiler_reads_is_accepted_and_nothing_else(circuit: Language) -> None:
    parser = Parser(circuit)
    agree(parser, SLIPS)
    for name, text in TEXTS.items():
        agree(parser, text)
        for line in text.splitlines():
            agree(parser, line)
            for end in range(len(line) if not name.startswith("golden") else 0):
                agree(parser, line[:end])
    for line in SLIPS.splitlines():
        agree(parser, line)


@pytest.mark.slow
@settings(max_examples=2000)
@given(language.HEAPS)
def test_heaps_of_words_are_accepted_as_the_compiler_reads_them(circuit: Language, text: str) -> None:
    # The character NUL is the end of a text to tree-sitter.
    agree(Parser(circuit), text.replace("\x00", ""))


@pytest.mark.slow
@settings(max_examples=400)
@given(st.data())
def test_damaged_specs_are_accepted_as_the_compiler_reads_them(circuit: Language, data: st.DataObject) -> None:
    text = language.damaged(data)
    assume("\x00" not in text)
    agree(Parser(circuit), text)
    for line in text.splitlines():
        agree(Parser(circuit), line)


@pytest.mark.slow
def test_a_mistake_leaves_the_statements_after_it(circuit: Language) -> None:
    text = "preserve conv5:[3, on dogs keep<=5%\nmodel alexnet\npreserve conv5:3 on dogs { keep<=5%\nmodel alexnet\n"
    root = Parser(circuit).parse(text.encode()).root_node
    assert root.has_error
    assert [node.start_point.row for node in root.children if node.type == "model"] == [1, 3]


def captured(circuit: Language, text: str) -> dict[int, tuple[str, str]]:
    """Return what is highlighted, by its first byte: the text and the name of the last capture, as editors take it."""
    query = Query(circuit, FOLDER.joinpath("queries", "highlights.scm").read_text(encoding="utf-8"))
    matches = QueryCursor(query).matches(Parser(circuit).parse(text.encode()).root_node)
    found: dict[int, tuple[int, str, str]] = {}
    for pattern, captures in matches:
        for name, nodes in captures.items():
            for node in nodes:
                if pattern >= found.get(node.start_byte, (-1,))[0]:
                    found[node.start_byte] = pattern, (node.text or b"").decode(), name
    return {start: (word, name) for start, (_, word, name) in found.items()}


@pytest.mark.slow
def test_words_are_highlighted_as_by_the_rules_of_the_language(circuit: Language) -> None:
    compared = set()
    for path in SPECS:
        text = path.read_text("utf-8")
        highlighted = captured(circuit, text)
        place = 0
        for kind, word in CircuitLexer().get_tokens(text):
            if kind in CAPTURES:
                assert highlighted[place][1] in CAPTURES[kind], (path.name, word, highlighted[place])
                compared.add(kind)
            place += len(word.encode())
    assert compared == set(CAPTURES)


@pytest.mark.slow
def test_constants_and_clauses_are_highlighted_where_they_are_known(circuit: Language) -> None:
    clauses = "keep<=5% test.keep<=each(1%, 2%) other=3 criterion=snip x=force(steps=3)"
    text = f"preserve conv5:34@center on dogs as grey {clauses}"
    names = dict(captured(circuit, text).values())
    expected = {
        "conv5": "type", "34": "number", "center": "constant.builtin", "dogs": "variable", "grey": "constant.builtin",
        "keep": "property", "test.keep": "property", "each": "keyword", "other": "variable", "criterion": "property",
        "snip": "constant.builtin", "force": "constant.builtin", "steps": "variable.parameter",
        "@": "punctuation.delimiter", "(": "punctuation.bracket", "<=": "operator", "as": "keyword",
    }  # fmt: skip
    assert {word: names[word] for word in expected} == expected
