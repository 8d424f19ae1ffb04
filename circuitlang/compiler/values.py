"""Reading one value of the language as a Python value, or saying what is wrong with it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from circuitlang.base.diagnostics import Finding, Fix, SpecError, did_you_mean, listing
from circuitlang.compiler import syntax
from circuitlang.plan.model import Choice
from circuitlang.plugins.registry import Declaration, Value

_WORDS: Mapping[str, bool] = {"true": True, "false": False}


_LARGEST = 2**63 - 1
_DIGITS = 300

# The values that a type of parameter takes, in English.
_TYPES = {
    "int": "a whole number",
    "Count": "a whole number from 1",
    "float": "a number",
    "Positive": "a number above 0",
    "Share": "a share, above 0 and up to 1",
    "bool": "true or false",
}


def scalar(node: syntax.Value) -> Value:
    """A number, word, string or path as int, float, bool or str. Raises SpecError for lists and calls."""
    match node:
        case syntax.Number(text=text):
            return number(node) if re.search(r"[.eE%]", text) else _int(node)
        case syntax.Name(text=text):
            return _WORDS.get(text, text)
        case syntax.String(text=text) | syntax.Path(text=text):
            return text
    raise wrong(node, "one value", "a single number, word or string goes here")


def nothing(node: syntax.Value) -> bool:
    """Return whether a value is the word `none`; in quotes it is text."""
    return isinstance(node, syntax.Name) and node.text == "none"


def number(node: syntax.Value) -> float:
    """A number or percentage. Raises SpecError for anything else, for numbers such as `.1`, and for infinite ones."""
    if not isinstance(node, syntax.Number):
        raise wrong(node, "a number", _as_number(node.span.text))
    digits = node.text.rstrip("%")
    if digits.lstrip("+-").startswith("."):
        written = node.text.replace(".", "0.", 1)
        edit = Fix(node.span, written)
        raise SpecError(Finding("E207", f"'{node.text}' lacks a digit", node.span, "", f"write {written}", edit=edit))
    value = float(digits)
    if node.text.endswith("%"):
        # As a power of ten, which is exact where a division isn't.
        mantissa, _, exponent = digits.lower().partition("e")
        value = float(f"{mantissa}e{_int(node, exponent or '0') - 2}")
    if not math.isfinite(value):
        raise SpecError(Finding("E203", "this number is too large", node.span, "at most 1.8e308"))
    return value


def _as_number(text: str) -> str:
    """Return a cure for what stands in the place of a number: a quotient, or a word for the whole."""
    above, _, below = text.partition("/")
    if above.isdecimal() and below.isdecimal() and int(below[:9]) > 0 and int(above[:9]) <= int(below[:9]):
        return f"write {100 * int(above[:9]) / int(below[:9]):g}%"
    return "write 100%" if text in ("all", "everything", "full") else "as 0.1 or 10%"


def _is_share(node: syntax.Value) -> bool:
    return isinstance(node, syntax.Number) and node.text.endswith("%")


def _int(node: syntax.Number, digits: str = "") -> int:
    """A whole number that 64 bits hold, as files and tensors do."""
    digits = digits or node.text
    # Python reads no more than some thousand digits.
    if len(digits) > _DIGITS or not -_LARGEST <= int(digits) <= _LARGEST:
        raise SpecError(Finding("E203", "this number is too large", node.span, f"at most {_LARGEST:,}"))
    return int(digits)


def fraction(node: syntax.Value, lowest: float, highest: float) -> float:
    """A number in `[lowest, highest]`, or in `(0, highest]` where `lowest` is 0 and means nothing."""
    value = number(node)
    if not lowest <= value <= highest:
        plain = not node.span.text.endswith("%")
        likely = highest < value <= 100 and plain
        percent = f"did you mean {node.span.text}%?" if likely else ""
        edit = Fix(node.span, f"{node.span.text}%") if likely else None
        allowed = f"a fraction from {lowest:g} to {highest:g}, or a percentage"
        raise SpecError(Finding("E203", f"{node.span.text} is out of range", node.span, allowed, percent, edit=edit))
    return value


def whole(node: syntax.Value, lowest: int, highest: int | None = None) -> int:
    """A whole number of at least `lowest`, and at most `highest`."""
    value = scalar(node)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(
            node,
            "a whole number",
            f"a share is written keep<={node.span.text}" if _is_share(node) else "write digits, as 200",
        )
    if value < lowest:
        raise SpecError(Finding("E203", f"{value} is out of range", node.span, f"at least {lowest}"))
    if highest is not None and value > highest:
        raise SpecError(Finding("E203", f"{value} is out of range", node.span, f"at most {highest}"))
    return value


def choice(node: syntax.Value, kind: str, code: str, known: Mapping[str, Declaration], *, bare: bool = False) -> Choice:
    """`NAME` or `NAME(parameter=value, ...)` of a kind of extension, its parameters completed by their defaults.

    With `bare`, the value of a single parameter may stand alone, as in `blurred(4)`.
    """
    arguments: tuple[syntax.Value | syntax.Keyword, ...] = ()
    if isinstance(node, syntax.Name):
        name = node
    elif isinstance(node, syntax.Call):
        name, arguments = node.name, node.arguments
    else:
        quoted = isinstance(node, syntax.String) and node.text in known
        clause = "" if kind == "test" else f"{kind}="
        cure = f"write {clause}{node.span.text[1:-1]}" if quoted else f"one of {listing(sorted(known), 'or')}"
        raise wrong(node, f"the name of {_a(kind)}", cure)
    declaration = known.get(name.text)
    if declaration is None:
        label = f"there {'are' if len(known) > 1 else 'is'} {listing(sorted(known))}"
        cure = did_you_mean(name.text, known)
        raise SpecError(Finding(code, f"unknown {kind} '{name.text}'", name.span, label, cure))
    parameters = defaults(declaration)
    findings: list[Finding] = []
    words: set[str] = set()
    for argument in arguments:
        try:
            word, value = _argument(argument, declaration, known, bare)
            if word in words:
                raise SpecError(Finding("E206", f"'{word}' is given twice", argument.span))
            words.add(word)
            parameters[word] = value
        except SpecError as error:
            findings.extend(error.findings)
    if findings:
        raise SpecError(findings)
    return Choice(name.text, parameters)


def defaults(declaration: Declaration) -> dict[str, Value]:
    """Return the parameters of an extension that takes its defaults."""
    return {parameter.name: parameter.default for parameter in declaration.parameters}


def _argument(
    argument: syntax.Value | syntax.Keyword, declaration: Declaration, known: Mapping[str, Declaration], bare: bool
) -> tuple[str, Value]:
    words = [parameter.name for parameter in declaration.parameters]
    takes = f"{declaration.name} takes {listing(words) if words else 'no parameters'}"
    if not isinstance(argument, syntax.Keyword) and bare and len(words) == 1:
        argument = syntax.Keyword(argument.span, syntax.Name(argument.span, words[0]), argument)
    if not isinstance(argument, syntax.Keyword):
        written = f"{words[0]}={argument.span.text}" if words else ""
        edit = Fix(argument.span, written) if words else None
        cure = f"write {written}" if words else ""
        raise SpecError(Finding("E202", "a parameter needs its name", argument.span, takes, cure, edit=edit))
    parameter = declaration.parameter(argument.name.text)
    if parameter is None:
        message = f"{declaration.name} has no parameter '{argument.name.text}'"
        cure = did_you_mean(argument.name.text, words)
        raise SpecError(Finding("E105", message, argument.name.span, takes, cure))
    value = scalar(argument.value)
    if parameter.type == "CriterionName" and value not in known:
        label = f"there are {listing(sorted(known))}"
        cure = did_you_mean(str(value), known)
        raise SpecError(Finding("E103", f"unknown criterion '{value}'", argument.value.span, label, cure))
    if not parameter.accepts(value):
        raise wrong(argument.value, _TYPES.get(parameter.type, "a word or a string"))
    return parameter.name, float(value) if parameter.is_float else value


def wrong(node: syntax.Node, expected: str, cure: str = "") -> SpecError:
    """The error for a value of the wrong type."""
    return SpecError(Finding("E202", f"expected {expected}", node.span, f"this is {_kind(node)}", cure))


def _kind(node: syntax.Node) -> str:
    word = type(node).__name__.lower()
    return f"{_a(word)} ({node.span.text})" if isinstance(node, syntax.Number) else _a(word)


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
