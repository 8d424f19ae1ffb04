"""Lexer of Pygments for the language; documentation, notebooks and terminals find it by its entry point.

Nothing else in the package imports this module, so that the command line starts without Pygments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pygments.lexer import RegexLexer, bygroups
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Whitespace

from circuitlang.compiler.keywords import Kind, rules

if TYPE_CHECKING:
    from pygments.token import _TokenType

_TOKENS: Mapping[Kind, _TokenType] = {
    "argument": Name.Attribute,
    "call": Name.Function,
    "clause": Name.Attribute,
    "comment": Comment.Single,
    "constant": Name.Constant,
    "definition": Name.Variable,
    "layer": Name.Class,
    "name": Name,
    "number": Number,
    "operator": Operator,
    "punctuation": Punctuation,
    "space": Whitespace,
    "statement": Keyword,
    "string": String,
    "word": Keyword.Reserved,
}


class CircuitLexer(RegexLexer):
    """Lexer for specs, by the rules that editors use too. It needs no sound text."""

    name = "circuitlang"
    aliases: ClassVar = ["circuit", "circuit-error", "circuitlang"]
    filenames: ClassVar = ["*.circuit"]
    mimetypes: ClassVar = ["text/x-circuit"]
    url = ""
    tokens: ClassVar = {
        "root": [
            *((rule.pattern, bygroups(*(_TOKENS[kind] for kind in rule.kinds))) for rule in rules()),  # type: ignore[no-untyped-call]
            # A line at a time, as some rules match at the beginning of one.
            (r"\n", Whitespace),
            (r"[^\S\n]+", Whitespace),
        ]
    }
