"""Source → syntax: split into statements, each read by Lark, so that one mistake spoils one statement."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from lark import (
    Lark,
    TextSlice,
    Token,
    Transformer,
    UnexpectedCharacters,
    UnexpectedInput,
    UnexpectedToken,
    v_args,
)
from lark.tree import Meta

from circuitlang.compiler import syntax
from circuitlang.errors import Finding, did_you_mean, listing
from circuitlang.source import Source, Span

STATEMENTS = (
    "model",
    "images",
    "target",
    "defaults",
    "preserve",
    "split",
    "circuit",
    "compare",
    "expect",
    "include",
)

N = TypeVar("N", bound=syntax.Node)

# What a reader calls the terminals of the grammar.
_ENGLISH = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a quoted string",
    "PATH": "a path such as images/dogs/*",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "COMMA": "','",
    "COLON": "':'",
    "EQUAL": "'='",
    "STAR": "'*'",
    "PLUS": "'+'",
    "MINUS": "'-'",
    "AT": "'@'",
    "__ANON_0": "'..'",
    "SUFFIX": "a metric, as .pearson",
    "LESSTHAN": "'<='",
    "MORETHAN": "'>='",
    "$END": "the end of the statement",
}
# Deeper nesting is no spec, and would exhaust the parser.
_DEEPEST = 50
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
# A line that begins like a statement ends the one before, even one with a bracket left open.
_SCAN = re.compile(
    rf"""(?P<string>"[^"\n]*"?)|(?P<comment>\#[^\n]*)|(?P<bracket>[()\[\]{{}}])
    |(?P<fresh>\n(?=[ \t]*(?:{"|".join(STATEMENTS)})[ \t]+[\w"]))|(?P<end>[\n;])""",
    re.VERBOSE,
)


def parse(source: Source) -> syntax.File:
    """Read every statement of a source; never raises for what the text says, mistakes are findings."""
    statements: list[syntax.Statement] = []
    findings: list[Finding] = []
    broken: set[str] = set()
    for start, end, mistake in _split(source):
        result = mistake or _statement(source, start, end)
        if isinstance(result, Finding):
            findings.append(result)
            broken.add(_about(source.text[start:end]))
        else:
            statements.append(result)
            findings.extend(_spaces(result))
    return syntax.File(source, tuple(statements), tuple(findings), frozenset(broken))


def grammar_file() -> Path:
    """The grammar: carried in the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    carried = package / "grammar" / "circuit.lark"
    return carried if carried.exists() else package.parent / "grammar" / "circuit.lark"


def _split(source: Source) -> Iterator[tuple[int, int, Finding | None]]:
    """The stretches of text that are one statement each, with what is wrong with them as a stretch."""
    text, start = source.text, 0
    opened: list[int] = []
    mistake: Finding | None = None
    for match in _SCAN.finditer(text):
        token, span = match.group(), Span(source, match.start(), match.end())
        if match["string"] and (len(token) < 2 or not token.endswith('"')):
            mistake = Finding("E002", "this string is never closed", span, 'no closing " on this line')
        elif token in _BRACKETS:
            opened.append(span.start)
            if len(opened) > _DEEPEST:
                mistake = Finding("E008", "brackets are nested too deep", span, f"more than {_DEEPEST} are open here")
        elif match["bracket"] and opened:
            opened.pop()
        elif match["fresh"] is not None or (match["end"] and not opened):
            yield from _stretch(text, start, span.start, mistake or _unclosed(source, opened))
            start, opened, mistake = span.end, [], None
    yield from _stretch(text, start, len(text), mistake or _unclosed(source, opened))


def _unclosed(source: Source, opened: list[int]) -> Finding | None:
    if not opened:
        return None
    span = Span(source, opened[-1], opened[-1] + 1)
    return Finding("E003", f"'{span.text}' is never closed", span, f"no '{_BRACKETS[span.text]}' follows")


def _stretch(text: str, start: int, end: int, mistake: Finding | None) -> Iterator[tuple[int, int, Finding | None]]:
    """The stretch, unless nothing but comments and white space is in it."""
    lines = [line.replace("\ufeff", " ").strip() for line in text[start:end].split("\n")]
    if any(line and not line.startswith("#") for line in lines):
        yield start, end, mistake


def _statement(source: Source, start: int, end: int) -> syntax.Statement | Finding:
    word = re.compile(r"(?:\s|\ufeff|#[^\n]*)*([^\s=:<>()\[\]{}]*)").match(source.text, start, end)
    if word and word[1] not in STATEMENTS:
        at, length = word.start(1), max(len(word[1]), 1)
        return Finding(
            "E001",
            f"unknown statement '{word[1] or source.text[at]}'",
            Span(source, at, at + length),
            f"a statement begins with {listing(STATEMENTS, 'or')}",
            did_you_mean(word[1], STATEMENTS),
        )
    try:
        tree = _parser().parse(TextSlice(source.text, start, end))
    except UnexpectedInput as error:
        return _explain(source, start, end, error)
    node: syntax.Statement = _Build(source).transform(tree)
    return node


def _explain(source: Source, start: int, end: int, error: UnexpectedInput) -> Finding:
    """A syntax error in English."""
    text = source.text
    stop = start + len(text[start:end].rstrip())
    if isinstance(error, UnexpectedCharacters):
        at = error.pos_in_stream or start
        return Finding("E005", f"'{text[at]}' has no meaning here", Span(source, at, at + 1))
    assert isinstance(error, UnexpectedToken)
    token: Token = error.token
    if token.type == "$END":
        return Finding("E006", "the statement ends too early", Span(source, stop, stop), _expected(error.accepts))
    at = token.start_pos if token.start_pos is not None else start
    word = re.compile(r'[^\s"#;,\[\](){}<>=]*').match(text, at)
    span = Span(source, at, max(at + len(token), word.end() if word else at))
    run_on = re.search(r"\S*[*?/](\w+)\Z", text[start:at])
    if token in ("<=", ">=", "=", "<", ">", "==") and run_on:
        clause = Span(source, start + run_on.start(1), at)
        pattern = run_on[0][: -len(run_on[1])]
        return Finding(
            "E004",
            f"a space is missing before '{run_on[1]}'",
            clause,
            "this runs on from the path",
            f"write {pattern} {text[clause.start : stop].split()[0]}",
        )
    return Finding("E005", f"'{span.text}' is not expected here", span, _expected(error.accepts))


def _expected(terminals: set[str] | None) -> str:
    """What may stand here; a name that begins a clause says so, a longer list would not help."""
    if "ON" in (terminals or ()):
        return "expected 'on' and the pictures"
    words = sorted({_ENGLISH[name] if name in _ENGLISH else f"'{name.lower()}'" for name in terminals or ()})
    return f"expected {listing(words, 'or')}" if 0 < len(words) <= 8 else ""


def _about(text: str) -> str:
    """What a statement that can't be read would have defined: `images dogs`, `model`, `defaults`."""
    match = re.match(r"(?:\s|\ufeff|#[^\n]*)*(\w+)(?:\s+(\w+))?", text)
    if match is None:
        return ""
    keyword = did_you_mean(match[1], STATEMENTS).removeprefix("did you mean '").removesuffix("'?")
    return f"{keyword} {match[2]}" if keyword in ("images", "target", "circuit") else keyword


def _spaces(statement: syntax.Statement) -> Iterator[Finding]:
    """Spaces where a target must have none: around its ':'."""
    asked = statement.asked if isinstance(statement, syntax.Circuit) else statement
    if not isinstance(asked, (syntax.Preserve, syntax.Split, syntax.Direction)):
        return
    for target in (term.of for term in asked.feature.terms if isinstance(term.of, syntax.Target)):
        between = Span(target.span.source, target.layer.span.end, target.unit.span.start)
        if between.text != ":":
            span = Span(target.span.source, target.layer.span.start, target.unit.span.end)
            cure = f"write {target.layer.span.text}:{target.unit.span.text}"
            yield Finding("E007", "a target is written without spaces", span, "LAYER:CHANNEL", cure)


@cache
def _parser() -> Lark:
    text = grammar_file().read_text(encoding="utf-8")
    return Lark(text, start="statement", parser="lalr", propagate_positions=True, maybe_placeholders=True)


@v_args(meta=True)
class _Build(Transformer[Token, Any]):
    """Lark's tree as syntax nodes; a method for each rule, of the rule's name."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def _span(self, meta: Meta) -> Span:
        return Span(self._source, meta.start_pos, meta.end_pos)

    def name(self, meta: Meta, children: Sequence[Token]) -> syntax.Name:
        return syntax.Name(self._span(meta), str(children[0]))

    def number(self, meta: Meta, children: Sequence[Token]) -> syntax.Number:
        return syntax.Number(self._span(meta), str(children[0]))

    def string(self, meta: Meta, children: Sequence[Token]) -> syntax.String:
        return syntax.String(self._span(meta), str(children[0])[1:-1])

    def path(self, meta: Meta, children: Sequence[Token]) -> syntax.Path:
        return syntax.Path(self._span(meta), str(children[0]))

    def range(self, meta: Meta, children: Sequence[Any]) -> syntax.Range:
        return syntax.Range(self._span(meta), *children)

    def layer(self, meta: Meta, children: Sequence[Token]) -> syntax.Name | syntax.String:
        token = children[0]
        return self.string(meta, children) if token.type == "STRING" else self.name(meta, children)

    def every(self, meta: Meta, children: Sequence[Token]) -> syntax.Every:
        return syntax.Every(self._span(meta))

    def selector(self, meta: Meta, children: Sequence[Any]) -> Any:
        return children[0]

    def position(self, meta: Meta, children: Sequence[Any]) -> syntax.Position:
        if isinstance(children[0], syntax.Name):
            return syntax.Position(self._span(meta), children[0], None)
        return syntax.Position(self._span(meta), None, (children[0], children[1]))

    def sign(self, meta: Meta, children: Sequence[Token]) -> str:
        return str(children[0])

    def term(self, meta: Meta, children: Sequence[Any]) -> syntax.Term:
        return syntax.Term(self._span(meta), False, *children)

    def feature(self, meta: Meta, children: Sequence[Any]) -> syntax.Feature:
        signed = zip(children[::2], children[1::2], strict=True)
        terms = tuple(replace(term, negative=sign == "-") for sign, term in signed)
        return syntax.Feature(self._span(meta), terms)

    def pictures(self, meta: Meta, children: Sequence[Any]) -> syntax.Pictures:
        return syntax.Pictures(self._span(meta), *children)

    def relation(self, meta: Meta, children: Sequence[Token]) -> str:
        return str(children[0])

    def list(self, meta: Meta, children: Sequence[Any]) -> syntax.List:
        return syntax.List(self._span(meta), tuple(filter(None, children)))

    def keyword(self, meta: Meta, children: Sequence[Any]) -> syntax.Keyword:
        return syntax.Keyword(self._span(meta), *children)

    def call(self, meta: Meta, children: Sequence[Any]) -> syntax.Call:
        name, *arguments = children
        return syntax.Call(self._span(meta), name, tuple(filter(None, arguments)))

    def clause(self, meta: Meta, children: Sequence[Any]) -> syntax.Clause:
        return syntax.Clause(self._span(meta), *children)

    def clauses(self, meta: Meta, children: Sequence[syntax.Clause]) -> tuple[syntax.Clause, ...]:
        return tuple(children)

    def target(self, meta: Meta, children: Sequence[Any]) -> syntax.Target:
        return syntax.Target(self._span(meta), *children)

    def model(self, meta: Meta, children: Sequence[syntax.Call | syntax.Name]) -> syntax.Model:
        called = children[0]
        call = called if isinstance(called, syntax.Call) else syntax.Call(called.span, called, ())
        return syntax.Model(self._span(meta), call)

    def images(self, meta: Meta, children: Sequence[Any]) -> syntax.Images:
        return syntax.Images(self._span(meta), *children)

    def direction(self, meta: Meta, children: Sequence[Any]) -> syntax.Direction:
        return syntax.Direction(self._span(meta), *children)

    def defaults(self, meta: Meta, children: Sequence[Any]) -> syntax.Defaults:
        return syntax.Defaults(self._span(meta), *children)

    def preserve(self, meta: Meta, children: Sequence[Any]) -> syntax.Preserve:
        return syntax.Preserve(self._span(meta), *children)

    def split(self, meta: Meta, children: Sequence[Any]) -> syntax.Split:
        return syntax.Split(self._span(meta), *children)

    def circuit(self, meta: Meta, children: Sequence[Any]) -> syntax.Circuit:
        return syntax.Circuit(self._span(meta), *children)

    def member(self, meta: Meta, children: Sequence[Any]) -> syntax.Member:
        name, *given = children
        return syntax.Member(self._span(meta), name, tuple(filter(None, given)))

    def compare(self, meta: Meta, children: Sequence[syntax.Member]) -> syntax.Compare:
        return syntax.Compare(self._span(meta), tuple(children))

    def measure(self, meta: Meta, children: Sequence[Any]) -> syntax.Measure:
        name, *given, suffix = children
        return syntax.Measure(self._span(meta), name, tuple(filter(None, given)), str(suffix or ""))

    def expect(self, meta: Meta, children: Sequence[Any]) -> syntax.Expect:
        return syntax.Expect(self._span(meta), *children)

    def include(self, meta: Meta, children: Sequence[Any]) -> syntax.Include:
        return syntax.Include(self._span(meta), *children)
