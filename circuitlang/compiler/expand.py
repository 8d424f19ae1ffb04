"""One statement with `each` → one for each value; several `each` multiply."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

from msgspec.structs import replace

from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.compiler import syntax
from circuitlang.compiler.clauses import word
from circuitlang.compiler.limits import MOST, too_many

Variant = tuple[tuple[tuple[str, str], ...], tuple[syntax.Clause, ...]]


def expand(clauses: tuple[syntax.Clause, ...]) -> Iterator[Variant]:
    """Every combination of the clauses' values, with the names and values that tell it apart.

    Raises SpecError for an `each` of nothing and for more than `MOST` combinations.
    """
    number = 1
    for clause in clauses:
        # Counted before anything is made of it.
        number *= _count(clause.value)
        if number > MOST:
            raise too_many(clause.span)
    choices = [list(_values(clause.value)) for clause in clauses]
    for chosen in product(*choices):
        values = tuple(
            (word(clause), spell(value))
            for clause, options, value in zip(clauses, choices, chosen, strict=True)
            if len(options) > 1
        )
        yield values, tuple(replace(clause, value=value) for clause, value in zip(clauses, chosen, strict=True))


def _count(node: syntax.Value | syntax.Keyword) -> int:
    """Count the values that `_values` would yield."""
    match node:
        case syntax.Keyword(value=value):
            return _count(value)
        case syntax.Call(name=name, arguments=arguments):
            counts = [_count(argument) for argument in arguments]
            return sum(counts) or 1 if name.text == "each" else prod(counts)
    return 1


def _values(node: syntax.Value) -> Iterator[syntax.Value]:
    """The values a value stands for: its own, or those of the `each` in it."""
    if not isinstance(node, syntax.Call):
        yield node
    elif node.name.text == "each":
        if not node.arguments:
            raise SpecError(Finding("E202", "'each' stands for no value", node.span, "", "as each(0.05, 0.1)"))
        for argument in node.arguments:
            if isinstance(argument, syntax.Keyword):
                message = "'each' takes values without names"
                raise SpecError(Finding("E202", message, argument.span, "", f"write {argument.value.span.text}"))
            yield from _values(argument)
    else:
        inner = [list(_values(_value(argument))) for argument in node.arguments]
        for chosen in product(*inner):
            arguments = tuple(
                replace(argument, value=value) if isinstance(argument, syntax.Keyword) else value
                for argument, value in zip(node.arguments, chosen, strict=True)
            )
            yield replace(node, arguments=arguments)


def _value(argument: syntax.Value | syntax.Keyword) -> syntax.Value:
    return argument.value if isinstance(argument, syntax.Keyword) else argument


def spell(node: syntax.Value) -> str:
    """A value as text, the same however it was written: `10%` and `0.10` are `0.1`."""
    match node:
        case syntax.Number(text=text):
            try:
                return f"{float(text.rstrip('%')) / (100 if text.endswith('%') else 1):g}"
            except ValueError:
                return text
        case syntax.Call(name=name, arguments=arguments):
            inside = (
                f"{argument.name.text}={spell(argument.value)}"
                if isinstance(argument, syntax.Keyword)
                else spell(argument)
                for argument in arguments
            )
            return f"{name.text}({', '.join(inside)})"
        case syntax.List(items=items):
            return f"[{', '.join(map(spell, items))}]"
        case syntax.Range(first=first, last=last):
            return f"{spell(first)}..{spell(last)}"
    return node.text
