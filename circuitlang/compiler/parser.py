"""Source → syntax: split into statements, each read by Lark, so that one mistake spoils one statement."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping

from lark import TextSlice, Token, Tree, UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from msgspec.structs import replace

from circuitlang.base.diagnostics import Finding, Fix, did_you_mean, listing
from circuitlang.base.source import Source, Span
from circuitlang.compiler import syntax
from circuitlang.compiler.grammar import parser
from circuitlang.compiler.limits import MOST_MISTAKES
from circuitlang.compiler.recovery import broken_clause
from circuitlang.compiler.syntax_cures import statement_cure, syntax_cure, syntax_edit
from circuitlang.compiler.syntax_nodes import syntax_node

# Trees of statements by their text, each with the place at which it was read.
Trees = MutableMapping[str, tuple[int, Tree[Token]]]

STATEMENTS = (
    "model",
    "images",
    "target",
    "defaults",
    "preserve",
    "split",
    "circuit",
    "edit",
    "compare",
    "expect",
    "include",
    "label",
    "group",
)

# Names of terminals for readers.
_ENGLISH = {
    "NAME": "a name",
    "LAYERS": "layers such as layer3.*",
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
# Clauses of one statement that are left out to read the others.
_MOST_OF_A_STATEMENT = 20
# Text that may stand before a statement: spaces, and comments to the ends of their lines. There is one way to read it,
# because an expression that could take a comment for several would try them all.
_BEFORE = r"(?:[\s\ufeff]|#[^\n]*(?:\n|\Z))*"
_FIRST = re.compile(rf"{_BEFORE}([^\s\ufeff=:<>()\[\]{{}}]*)")
# Signs that may follow the first word without a space.
_SIGNED = re.compile(r'["#+-]')
_DEFINES = re.compile(rf"{_BEFORE}(\w+)(?:[\s\ufeff]+(\w+))?")
_WORD = re.compile(r'[^\s"#;,\[\](){}<>=]*')
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
# A line that begins like a statement ends the one before, even one with a bracket left open.
_SCAN = re.compile(
    rf"""(?P<string>"[^"\n]*"?)|(?P<comment>\#[^\n]*)|(?P<bracket>[()\[\]{{}}])
    |(?P<fresh>\n(?=[ \t]*(?:{"|".join(STATEMENTS)})[ \t]+[\w"]))|(?P<end>[\n;])""",
    re.VERBOSE,
)


def parse(source: Source, trees: Trees | None = None) -> syntax.File:
    """Read every statement of a source; never raises for what the text says, mistakes are findings.

    `trees` holds statements that were read before, and receives those of this source: the text of an editor, which
    changes in one statement at a time, is read faster with them.
    """
    statements: list[syntax.Statement] = []
    findings: list[Finding] = []
    broken: set[str] = set()
    for start, end, mistake in _split(source):
        statement, mistakes = (None, [mistake]) if mistake else _statement(source, start, end, trees)
        findings.extend(mistakes)
        if statement is None:
            broken.add(_about(source.text[start:end]))
        else:
            statements.append(statement)
            broken |= {"defaults"} if mistakes and isinstance(statement, syntax.Defaults) else set()
            findings.extend((*_spaces(statement), *_run_on(statement)))
        if len(findings) > MOST_MISTAKES:
            # The part that was read would seem to lack what the rest defines.
            findings.append(Finding("E009", "too many mistakes", findings[-1].span, "what follows is not read"))
            return syntax.File(source, (), tuple(findings))
    return syntax.File(source, tuple(statements), tuple(findings), frozenset(broken))


def _split(source: Source) -> Iterator[tuple[int, int, Finding | None]]:
    """The stretches of text that are one statement each, with what is wrong with them as a stretch."""
    text, start = source.text, 0
    opened: list[int] = []
    mistake: Finding | None = None
    for match in _SCAN.finditer(text):
        token, span = match.group(), Span(source, match.start(), match.end())
        if match["string"] and (len(token) < 2 or not token.endswith('"')):
            closed = token.split()[0].rstrip("])},;") + '"'
            mistake = Finding(
                "E002", "this string is never closed", span, 'no closing " on this line', f"close it, as {closed}"
            )
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


def _statement(
    source: Source, start: int, end: int, trees: Trees | None
) -> tuple[syntax.Statement | None, list[Finding]]:
    """Read a statement; where clauses can't be read, the statement without them, and a mistake for each of them."""
    word = _FIRST.match(source.text, start, end)
    if word and word[1] not in STATEMENTS and _SIGNED.split(word[1], 1)[0] not in STATEMENTS:
        return None, [_unknown(source, word.start(1), word[1], end)]
    text, mistakes = source.text, list[Finding]()
    if trees is not None and (known := trees.get(text[start:end])) is not None:
        return syntax_node(source, known[1], start - known[0]), []
    while len(mistakes) < _MOST_OF_A_STATEMENT:
        try:
            tree = parser().parse(TextSlice(text, start, end))
        except UnexpectedInput as error:
            mistakes.append(_explain(source, start, end, error))
        else:
            if trees is not None and not mistakes:
                trees[text[start:end]] = start, tree
            node: syntax.Statement = syntax_node(source, tree)
            return (_incomplete(node) if mistakes else node), mistakes
        # Spaces in place of a clause keep the places of all others.
        first, last = broken_clause(text, start, end, mistakes[-1].span.start if mistakes[-1].span else start)
        if first == last:
            break
        text = f"{text[:first]}{' ' * (last - first)}{text[last:]}"
    return None, mistakes[:1]


def _unknown(source: Source, at: int, word: str, end: int) -> Finding:
    return Finding(
        "E001",
        f"unknown statement '{word or source.text[at]}'",
        Span(source, at, at + max(len(word), 1)),
        f"a statement begins with {listing(STATEMENTS, 'or', limit=len(STATEMENTS))}",
        statement_cure(word, source.text[at:end]) or did_you_mean(word, STATEMENTS),
    )


def _incomplete(node: syntax.Statement) -> syntax.Statement:
    """Mark a circuit whose clauses could not all be read."""
    if isinstance(node, syntax.Circuit):
        return replace(node, asked=replace(node.asked, incomplete=True))
    return replace(node, incomplete=True) if isinstance(node, (syntax.Preserve, syntax.Split)) else node


def _explain(source: Source, start: int, end: int, error: UnexpectedInput) -> Finding:
    """A syntax error in English."""
    text = source.text
    stop = start + len(text[start:end].rstrip())
    if isinstance(error, UnexpectedCharacters):
        at = error.pos_in_stream or start
        return Finding(
            "E005",
            f"'{text[at]}' has no meaning here",
            Span(source, at, at + 1),
            "",
            syntax_cure(text, start, at, stop),
            edit=_edit(source, start, at, stop),
        )
    assert isinstance(error, UnexpectedToken)
    token: Token = error.token
    if token.type == "$END":
        return Finding(
            "E006",
            "the statement ends too early",
            Span(source, stop, stop),
            _expected(error.accepts),
            syntax_cure(text, start, stop, stop),
            edit=_edit(source, start, stop, stop),
        )
    at = token.start_pos if token.start_pos is not None else start
    word = _WORD.match(text, at)
    span = Span(source, at, max(at + len(token), word.end() if word else at))
    clause = Span(source, _back(text, start, at, _is_word), at)
    if (
        token in ("<=", ">=", "=", "<", ">", "==")
        and clause.text
        and text[start : clause.start][-1:] in ("*", "?", "/")
    ):
        pattern = text[_back(text, start, clause.start, lambda letter: not letter.isspace()) : clause.start]
        return Finding(
            "E004",
            f"a space is missing before '{clause.text}'",
            clause,
            "this runs on from the path",
            f"write {pattern} {text[clause.start : stop].split()[0]}",
            edit=Fix(Span(source, clause.start, clause.start), " "),
        )
    cure = syntax_cure(text, start, at, stop)
    if not cure and "INTO" in error.accepts:
        cure = "write into 2, or into auto, after the images"
    message, edit = f"'{span.text}' is not expected here", _edit(source, start, at, stop)
    cure = cure or did_you_mean(span.text, _keywords(error.accepts))
    return Finding("E005", message, span, _expected(error.accepts), cure, edit=edit)


def _keywords(terminals: set[str] | None) -> list[str]:
    """Return the words of the language among terminals of the grammar."""
    return sorted(name.lower() for name in terminals or () if name not in _ENGLISH and not name.startswith("__"))


def _edit(source: Source, start: int, at: int, stop: int) -> Fix | None:
    """Return the cure of a syntax error as an edit, if it is one."""
    edit = syntax_edit(source.text, start, at, stop)
    return Fix(Span(source, *edit[:2]), edit[2]) if edit else None


def _back(text: str, start: int, end: int, belongs: Callable[[str], bool]) -> int:
    """Return the start of the word that ends at `end`; each letter is looked at once."""
    while end > start and belongs(text[end - 1]):
        end -= 1
    return end


def _is_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def _expected(terminals: set[str] | None) -> str:
    """Name what the parser expects here; the words that begin a clause are summed up as such."""
    if "ON" in (terminals or ()):
        return "expected 'on' and the images"
    # Terminals without a name in the grammar are a second way to write those that have one.
    named = [name for name in terminals or () if name in _ENGLISH or not name.startswith("__")]
    words = sorted({_ENGLISH.get(name, f"'{name.lower()}'") for name in named})
    return f"expected {listing(words, 'or')}" if 0 < len(words) <= 8 else ""


def _about(text: str) -> str:
    """Return what a statement that can't be read would have defined: `images dogs`, `model`, `defaults`."""
    match = _DEFINES.match(text)
    if match is None:
        return ""
    keyword = did_you_mean(match[1], STATEMENTS).removeprefix("did you mean '").removesuffix("'?")
    return f"{keyword} {match[2]}" if keyword in ("images", "target", "circuit", "edit") else keyword


def _spaces(statement: syntax.Statement) -> Iterator[Finding]:
    """Spaces where a target must have none: around its ':'."""
    asked = statement.asked if isinstance(statement, syntax.Circuit) else statement
    named: list[syntax.Target] = []
    if isinstance(asked, (syntax.Preserve, syntax.Split, syntax.Direction)):
        named = [term.of for term in asked.feature.terms if isinstance(term.of, syntax.Target)]
    elif isinstance(asked, (syntax.Label, syntax.Group)):
        named = [asked.target]
    elif isinstance(asked, syntax.Edit):
        of = [asked.of.target, asked.of.source] if isinstance(asked.of, syntax.Kernel) else [asked.of]
        terms = [term.of for feature in asked.measured for term in feature.terms]
        named = [node for node in (*of, *terms) if isinstance(node, syntax.Target)]
    for target in named:
        between = Span(target.span.source, target.layer.span.end, target.unit.span.start)
        if between.text != ":":
            span = Span(target.span.source, target.layer.span.start, target.unit.span.end)
            written = f"{target.layer.span.text}:{target.unit.span.text}"
            cure, edit = f"write {written}", Fix(span, written)
            yield Finding("E007", "a target is written without spaces", span, "LAYER:CHANNEL", cure, edit=edit)


def _run_on(statement: syntax.Statement) -> Iterator[Finding]:
    """Yield a mistake for a word behind `circuit NAME =` that runs on, as in `preserveconv5:34`: the lexer, which knows
    that nothing but `preserve` or `split` may stand there, reads its beginning."""
    if not isinstance(statement, syntax.Circuit):
        return
    source, start = statement.span.source, statement.asked.span.start
    keyword = "preserve" if isinstance(statement.asked, syntax.Preserve) else "split"
    end = start + len(keyword)
    if _is_word(source.text[end : end + 1]):
        last = _WORD.match(source.text, start)
        span = Span(source, start, last.end() if last else end)
        cure, edit = f"write {keyword} {span.text[len(keyword) :]}", Fix(Span(source, end, end), " ")
        yield Finding("E005", f"'{span.text}' is not expected here", span, "a space is missing", cure, edit=edit)
