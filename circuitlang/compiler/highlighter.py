"""Statement → pieces that a page may colour, by the grammar itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lark import Token, Tree, UnexpectedInput

from circuitlang.compiler.grammar import parser

# Styles of terminals that mean the same everywhere.
_KINDS = {"NUMBER": "number", "STRING": "string", "PATH": "string", "SUFFIX": "name", "LAYERS": "name"}
# Styles of a name, by the rule that holds it.
_NAMES = {"clause": "clause", "keyword": "clause", "call": "call"}


def highlight(text: str) -> list[tuple[str, str]]:
    """The text in pieces, each with its kind: `word` of the language, `clause`, `call`, `name`, `number`, `string`,
    `sign`, `comment`, or nothing. A text that is not a statement is one piece of no kind."""
    try:
        tree: Tree[Token] = parser().parse(text)
    except UnexpectedInput:
        return [("", text)]
    pieces, end = list[tuple[str, str]](), 0
    for kind, token in _tokens(tree):
        start = token.start_pos or 0
        pieces += [*_between(text[end:start]), (kind, str(token))]
        end = start + len(token)
    return [*pieces, *_between(text[end:])]


def _tokens(tree: Tree[Any], name: str = "name") -> Iterator[tuple[str, Token]]:
    """The tokens in order; `name` is what a name directly in this tree is."""
    for place, child in enumerate(tree.children):
        if isinstance(child, Tree):
            # The first name of a clause or a call is its own; its arguments are names like any other.
            yield from _tokens(child, _NAMES.get(tree.data, "name") if place == 0 else "name")
        elif child.type == "NAME":
            yield name, child
        else:
            yield _KINDS.get(child.type, "word" if child.isalpha() else "sign"), child


def _between(text: str) -> Iterator[tuple[str, str]]:
    """Yield the text that the parser skips: spaces and comments."""
    for line in text.splitlines(keepends=True):
        space, mark, comment = line.partition("#")
        yield from ((kind, part) for kind, part in (("", space), ("comment", mark + comment)) if part)
