"""Limits on what one text may ask for. Things are counted before they are made, as a short text can stand for a lot."""

from __future__ import annotations

from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.base.source import Span

# Circuits of one statement, such as all channels of a large network at four sizes; and patterns of a list.
MOST = 100_000
# Circuits of all statements of a file together.
MOST_OF_A_FILE = 100_000
# Letters, or channels of a target, of a statement times its circuits: all of them repeat it.
MOST_LETTERS = 20_000_000
# Circuits of one comparison, in which each is held against each; and mentions in all that is compared and expected.
MOST_COMPARED = 1000
MOST_MENTIONED = 1_000_000
# Files that a file includes, directly or not, and those that lead to one another.
MOST_INCLUDED = 1000
DEEPEST_INCLUDED = 50
# Mistakes of syntax after which the rest of a text isn't read.
MOST_MISTAKES = 500


def too_many(span: Span, label: str = "") -> SpecError:
    """The error for a statement of more than `MOST` circuits."""
    return SpecError(Finding("E211", f"this stands for more than {MOST:,} circuits", span, label))
