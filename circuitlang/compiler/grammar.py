"""The grammar as a parser, from tables made beforehand: making them takes longer than reading most files with them.

`make grammar` makes them anew.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import lark
import msgspec


class _Tables(msgspec.Struct):
    """The tables as Lark gives them, the text of the grammar they are of, and Lark's version."""

    grammar: str
    lark: str
    data: dict[Any, Any]
    memo: dict[Any, Any]


def grammar_file() -> Path:
    """The grammar: carried in the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    carried = package / "grammar" / "circuit.lark"
    return carried if carried.exists() else package.parent / "grammar" / "circuit.lark"


def tables_file() -> Path:
    """The tables, beside their grammar: plain data in MessagePack, for one version of Lark."""
    return grammar_file().with_name("circuit.tables")


@cache
def parser() -> lark.Lark:
    """The parser of one statement, from the tables if they are those of this grammar and this Lark."""
    grammar = grammar_file().read_text(encoding="utf-8")
    if made := _made(grammar):
        # Lark's public way to load wants a pickle, which could run code.
        loaded: lark.Lark = lark.Lark._load_from_dict(made.data, made.memo)  # type: ignore[no-untyped-call]
        return loaded
    return build(grammar)


def _made(grammar: str) -> _Tables | None:
    """Return the tables if they are those of this grammar and this Lark."""
    with suppress(OSError, msgspec.DecodeError):
        made = msgspec.msgpack.decode(tables_file().read_bytes(), type=_Tables)
        if (made.grammar, made.lark) == (grammar, lark.__version__):
            return made
    return None


def write_tables() -> None:
    """Write the tables of the grammar, unless they are there: Lark gives them in another order in each process."""
    grammar = grammar_file().read_text(encoding="utf-8")
    if _made(grammar) is None:
        tables_file().write_bytes(tables(grammar))


def build(grammar: str) -> lark.Lark:
    """The parser from the text of a grammar. Its trees hold every token: a node is from its first to its last."""
    return lark.Lark(grammar, start="statement", parser="lalr", maybe_placeholders=False, keep_all_tokens=True)


def tables(grammar: str) -> bytes:
    """The tables of a grammar, as `parser` reads them."""
    data, memo = build(grammar).memo_serialize([lark.lexer.TerminalDef, lark.grammar.Rule])
    for table in memo.values():
        if "_width" in table.get("pattern", ()):
            # Without an end is 2**64 to Python's `re`, more than MessagePack can say.
            table["pattern"]["_width"] = [min(width, 2**32) for width in table["pattern"]["_width"]]
    return msgspec.msgpack.encode(_Tables(grammar, lark.__version__, data, memo))


if __name__ == "__main__":
    write_tables()
