"""Keywords and tokens of the language for highlighters, from the grammar, the tables of words and the registries.

The lexer of Pygments and the grammars of editors are made from `rules`, so that a new clause or criterion is
highlighted everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from circuitlang.compiler.clauses import ALIASES
from circuitlang.compiler.grammar import grammar_file
from circuitlang.compiler.words import words
from circuitlang.plan.clauses import EDIT, IMAGES, PRESERVE
from circuitlang.plugins.hypothesis_tests import TESTS
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, METRICS
from circuitlang.plugins.registry import Declaration
from circuitlang.plugins.transforms import TRANSFORMS

Kind = Literal[
    "argument", "call", "clause", "comment", "constant", "definition", "layer", "name", "number", "operator",
    "punctuation", "space", "statement", "string", "word",
]  # fmt: skip

_RELATION = r"[^\S\n]*(?:<=|>=|==|=|<|>)"
_SPACE = r"[^\S\n]"
# A word ends where neither a letter nor a suffix follows.
_END = r"(?![\w.])"


@dataclass(frozen=True)
class Keywords:
    """Words that highlighters know, by their use; each is sorted."""

    statements: tuple[str, ...]
    words: tuple[str, ...]
    calls: tuple[str, ...]
    clauses: tuple[str, ...]
    constants: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """A regular expression, and the kind of each of its groups; together the groups are the whole match.

    The expression is one of Python's `re` (with `re.MULTILINE`) and of Oniguruma, and matches within a line.
    """

    pattern: str
    kinds: tuple[Kind, ...]


def keywords() -> Keywords:
    """Return the keywords of the grammar, the clauses, and the names of built-in extensions."""
    literals = set(re.findall(r'"([a-z]+)"', grammar_file().read_text(encoding="utf-8")))
    meanings = [(name, word) for name, entries in words().items() for word in entries]
    statements = {name for name, word in meanings if word.kind == "statement"}
    others = {name: word.example for name, word in meanings if word.kind == "word"}
    calls = {name for name, example in others.items() if f"{name}(" in example}
    positions = {name for name, example in others.items() if f"@{name}" in example or f"into {name}" in example}
    clauses = {
        name for clause in {**IMAGES, **PRESERVE, **EDIT}.values() for name in (clause.name, clause.alias) if name
    }
    values = {name for name, word in meanings if word.kind == "value"}
    registries = CRITERIA.declarations, ABLATIONS.declarations, TESTS.declarations, TRANSFORMS.declarations
    extensions = {name for declarations in registries for name in _built_in(declarations)}
    return Keywords(
        statements=tuple(sorted(statements)),
        words=tuple(sorted(literals - statements)),
        calls=tuple(sorted(calls)),
        clauses=tuple(sorted({*clauses, *ALIASES, *_built_in(METRICS.declarations)})),
        constants=tuple(sorted({*values, *extensions, *positions, "false", "true"})),
    )


def terminals() -> Mapping[str, str]:
    """Return the regular expressions of the grammar's terminals, without groups."""
    text = grammar_file().read_text(encoding="utf-8")
    patterns = re.findall(r"^([A-Z]+)(?:\.\d+)?:\s+/(.*)/$", text, flags=re.MULTILINE)
    return {name: _ungrouped(pattern) for name, pattern in patterns}


def rules() -> tuple[Rule, ...]:
    """Return the rules of a highlighter. At each place the first that matches counts."""
    known, tokens = keywords(), terminals()
    name, string, number, path = (tokens[terminal] for terminal in ("NAME", "STRING", "NUMBER", "PATH"))
    layers = rf"{name}|{string}|{tokens['LAYERS']}"
    start = rf"(^|;)({_SPACE}*)"
    return (
        Rule(f"({tokens['COMMENT']})", ("comment",)),
        Rule(
            rf"{start}(circuit|edit|images|target)({_SPACE}+)({name})(?={_SPACE}*=)",
            ("punctuation", "space", "statement", "space", "definition"),
        ),
        Rule(rf"{start}({_any(known.statements)}){_END}", ("punctuation", "space", "statement")),
        Rule(rf"(=)({_SPACE}*)(preserve|split)(?={_SPACE})", ("operator", "space", "statement")),
        Rule(rf"({layers})(:)(\*)(?=[\s@;]|$)", ("layer", "punctuation", "operator")),
        Rule(rf"({layers})(?=:(?:\d|\[|{name}\())", ("layer",)),
        Rule(f"({string})", ("string",)),
        Rule(rf'({number})({_SPACE}*)(\*)(?={_SPACE}*[^\W\d]|{_SPACE}*")', ("number", "space", "operator")),
        Rule(f"({path})", ("string",)),
        Rule(rf"((?:(?:train|test|contrast)\.)?(?:{_any(known.clauses)}))(?={_RELATION})", ("clause",)),
        Rule(rf"([^\W\d]\w*)(?={_SPACE}*=(?!=))", ("argument",)),
        Rule(rf"({_any(known.calls)})(?=\()", ("word",)),
        Rule(rf"({name})(?=\()", ("call",)),
        Rule(rf"({_any(known.words)}){_END}", ("word",)),
        Rule(rf"(?:(?<=[=(,@])|(?<=[=(,] )|(?<=into ))({_any(known.constants)}){_END}", ("constant",)),
        Rule(f"({name})", ("name",)),
        Rule(f"({tokens['SUFFIX']})", ("name",)),
        Rule(r"(\.\.|<=|<-|>=|==|[=<>*])", ("operator",)),
        Rule(f"({number})", ("number",)),
        Rule(r"([-+])", ("operator",)),
        Rule(r"([\[\](){},:;@])", ("punctuation",)),
    )


def _built_in(declarations: Mapping[str, Declaration]) -> Iterable[str]:
    """Return names without those of other packages, which are not installed everywhere."""
    return (name for name, declaration in declarations.items() if declaration.module.startswith("circuitlang."))


def _any(names: Iterable[str]) -> str:
    # The longest first: `kernels` before `kernel`.
    return "|".join(sorted(map(re.escape, names), key=lambda name: (-len(name), name)))


def _ungrouped(pattern: str) -> str:
    """Return the expression with groups that capture nothing. A parenthesis in a set of characters is no group."""
    return re.sub(r"\((?!\?)", "(?:", pattern) if re.compile(pattern).groups else pattern
