"""Semantic tokens: highlighting by the rules that Pygments and the TextMate grammar are made from too."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache

from lsprotocol import types

from circuitlang.base.source import Source
from circuitlang.compiler.keywords import Kind, rules
from circuitlang.lsp.positions import units

# Kinds that editors colour, by the protocol's names. Brackets and commas have none.
_TYPES: Mapping[Kind, types.SemanticTokenTypes] = {
    "argument": types.SemanticTokenTypes.Parameter,
    "call": types.SemanticTokenTypes.Function,
    "clause": types.SemanticTokenTypes.Property,
    "comment": types.SemanticTokenTypes.Comment,
    "constant": types.SemanticTokenTypes.EnumMember,
    "definition": types.SemanticTokenTypes.Variable,
    "layer": types.SemanticTokenTypes.Class,
    "name": types.SemanticTokenTypes.Variable,
    "number": types.SemanticTokenTypes.Number,
    "operator": types.SemanticTokenTypes.Operator,
    "statement": types.SemanticTokenTypes.Keyword,
    "string": types.SemanticTokenTypes.String,
    "word": types.SemanticTokenTypes.Keyword,
}
_NAMES = sorted({name.value for name in _TYPES.values()})
LEGEND = types.SemanticTokensLegend(_NAMES, [types.SemanticTokenModifiers.Definition.value])
# Lines whose tokens are kept: after a keystroke only one is new.
_LINES = 20_000


def semantic_tokens(source: Source) -> types.SemanticTokens:
    """Return the tokens of a text, sound or not, five numbers each: lines and UTF-16 units since the start of the last
    token, length in UTF-16 units, index of the type in the legend, and modifiers as bits."""
    data: list[int] = []
    last = 0
    for number, line in enumerate(source.text.split("\n")):
        before = 0
        for start, length, kind, modifiers in _tokens(line):
            data += [number - last, start - before, length, kind, modifiers]
            last, before = number, start
    return types.SemanticTokens(data)


@lru_cache(maxsize=_LINES)
def _tokens(line: str) -> tuple[tuple[int, int, int, int], ...]:
    """Return start, length, type and modifiers of the tokens of a line; rules match within one."""
    return tuple(
        (units(line[:start]), units(line[start:end]), _NAMES.index(_TYPES[kind].value), int(kind == "definition"))
        for kind, start, end in _pieces(line)
        if kind in _TYPES and start < end
    )


def _pieces(line: str) -> Iterator[tuple[Kind, int, int]]:
    pattern, rule_of = _compiled()
    place = 0
    while place < len(line):
        # A rule matches spaces at the beginning of a line alone.
        match = None if place and line[place].isspace() else pattern.match(line, place)
        if match:
            # The groups of a rule are its whole match, so that the last one that matched tells which it is.
            first, kinds = rule_of[match.lastindex or 0]
            yield from ((kind, *match.span(group)) for group, kind in enumerate(kinds, first))
        place = match.end() if match else place + 1


@cache
def _compiled() -> tuple[re.Pattern[str], Mapping[int, tuple[int, tuple[Kind, ...]]]]:
    """Return all rules as one expression, and by each of its groups the first group of its rule and their kinds."""
    known, count = rules(), 0
    rule_of: dict[int, tuple[int, tuple[Kind, ...]]] = {}
    for rule in known:
        rule_of |= dict.fromkeys(range(count + 1, count + 1 + len(rule.kinds)), (count + 1, rule.kinds))
        count += len(rule.kinds)
    # The first rule that matches counts, as it does in an alternation.
    return re.compile("|".join(f"(?:{rule.pattern})" for rule in known), re.MULTILINE), rule_of
