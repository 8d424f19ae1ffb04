"""The clause that can't be read, so that the others of its statement can be."""

from __future__ import annotations

import re

from circuitlang.compiler.syntax_cures import CLAUSES

# The part of a statement before its clauses.
_HEAD = re.compile(
    r"""\s*(?:images\s+\w+\s*=\s*\S+|defaults\b(?:\s*\{)?
    |(?:circuit\s+\w+\s*=\s*)?(?:preserve|split)\s[^\n]{1,2000}?\son\s+(?:\[[^\]]*\]|\S+)(?:\s+into\s+\w+)?)""",
    re.VERBOSE,
)
# The sign after the name of a clause, also one that is none.
_SIGN = r"(?:<=|>=|==|=<|=>|=|<|>|≤|≥|:)"
_NAME = re.compile(rf"(?P<name>[^\W\d][\w.]*)\s*(?P<sign>{_SIGN})?")
_BEFORE_VALUE = re.compile(rf"(?:{_SIGN}\s*|[(,\[])$")
_STRAY = re.compile(r",(?!\d)|//[^\n]*")


def broken_clause(text: str, start: int, end: int, at: int) -> tuple[int, int]:
    """Return the ends of the clause in `text[start:end]` that an error at `at` spoils; equal where it is none."""
    head = _HEAD.match(text, start, end)
    if head is None or at < head.end():
        return at, at
    if stray := _STRAY.match(text, at, end):
        return stray.span()
    first, following = at, end
    for match in _NAME.finditer(text, head.end(), end):
        if _BEFORE_VALUE.search(text[max(head.end(), match.start() - 10) : match.start()]):
            continue
        if match.start() < at:
            first = match.start()
        elif match["sign"] or (match["name"] in CLAUSES and match.start() >= at):
            following = match.start()
            break
    closing = text.find("}", at, following)
    return first, max(first, following if closing < 0 else closing)
