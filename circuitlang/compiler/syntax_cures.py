"""Cures of syntax errors: texts that newcomers write, and what to write instead.

A cure is a pattern of the text before the error, a pattern of the text from the error on, and the help line, with the
named groups of both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from circuitlang.plan.clauses import EDIT, IMAGES, PRESERVE

# Letters on either side of an error that are looked at: patterns must not take long, whatever the text.
_REACH = 200
_RELATION = r"(?:<=|>=|==|=<|=>|=|<|>|≤|≥)"
# Words of help lines that stand for others.
_INCOMPLETE = re.compile(r"\b[A-Z]{4,}\b|\.\.\.|, | or ")
_TARGET = r'(?P<layer>[\w.]+|"[^"\n]*")'
_VALUE = r"(?P<value>\"[^\"\n]*\"|[^\s\[\](){}<>=,;]+(?:\([^)\n]*\))?)"
_PRESERVE = "write preserve LAYER:CHANNEL on IMAGES keep<=10%"
_SPLIT = "write split LAYER:CHANNEL on IMAGES into 2 keep<=10%"
_EDIT = "write edit NAME = LAYER:CHANNEL scale=0 on IMAGES measure TARGET"
_SWEEP = "one statement stands for several circuits: preserve conv5:[0..9] on IMAGES keep<=each(1%, 5%)"
_NO_VARIABLES = (
    "there are no variables: `defaults` has what statements share, and each(1%, 5%) stands for several values"
)

# The relation of every clause, and of its other word.
CLAUSES = {
    word: clause.relation
    for clause in (*PRESERVE.values(), *IMAGES.values(), *EDIT.values())
    for word in (clause.name, clause.alias)
    if word
} | {"pearson": ">=", "correlation": ">=", "r2": ">=", "spearman": ">=", "error": "<="}
_CLAUSE = f"(?P<clause>{'|'.join(sorted(CLAUSES, key=len, reverse=True))})"
_EXAMPLES = {clause.name: clause.example for clause in (*PRESERVE.values(), *IMAGES.values(), *EDIT.values())}


class _Cure(NamedTuple):
    """Patterns before the error and from it on, and a help line or a function of their groups."""

    before: str
    rest: str
    help: str | Callable[[Mapping[str, str]], str]


def _clause(groups: Mapping[str, str]) -> str:
    return f"write {groups['clause']}{CLAUSES[groups['clause']]}{groups['value']}"


def _named_clause(groups: Mapping[str, str]) -> str:
    clause = groups["clause"]
    return f"write {clause}{CLAUSES.get(clause, '=')}{groups['value']}"


def _without_value(groups: Mapping[str, str]) -> str:
    example = _EXAMPLES.get(groups["clause"])
    return f"a clause has a value, as {example}" if example else f"a clause has a value, as {groups['clause']}<=10%"


def _units(groups: Mapping[str, str]) -> str:
    unit = groups["unit"].strip()
    several = "," in unit or ".." in unit
    return f"write {groups['layer']}:{f'[{unit}]' if several else unit}"


def _class(groups: Mapping[str, str]) -> str:
    label = groups["label"].strip().strip("\"'")
    return f"write class({label})" if label.isdecimal() else f'write class("{label}")'


def _model(groups: Mapping[str, str]) -> str:
    name = groups["model"].strip('"')
    if name.rpartition(".")[2] in ("pt", "pth", "safetensors", "ckpt"):
        return f'weights belong to a network: write model resnet18(weights="{name}")'
    return f'write model file("{name}")' if name.endswith(".pt2") else f"write model {name}"


def _label(groups: Mapping[str, str]) -> str:
    return f'write label {groups["target"]} "{groups["text"].strip(chr(34))}"'


def _comparison(groups: Mapping[str, str]) -> str:
    flipped = {"<=": ">=", "<": ">=", ">=": "<=", ">": "<="}[groups["relation"]]
    return f"the measurement comes first: write {groups['measure']} {flipped} {groups['value']}"


# In order; the first that fits is taken.
_CURES = (
    # Comments.
    _Cure("", r"//|/\*|--(?=\s)", "a comment begins with #"),
    # Includes.
    _Cure(r"include\s+", r"<?(?P<file>[\w./-]+)>?", 'write include "{file}"'),
    # Circuits within circuits.
    _Cure("", r"(?:refine|narrow)\s+(?P<name>\w+)\s+on\b",
          "write preserve LAYER:CHANNEL on IMAGES keep<=30% within={name}"),
    # Concepts.
    _Cure(r"concept\([^()]*\)\s*", r"(?:at|of|:)\s*(?P<layer>[\w.]+)", "as concept(dogs against cats) in {layer}"),
    _Cure(r"concept\([^()]*\s", r"(?:vs\.?|versus|not|and|or|without)\s", "as concept(dogs against cats) in conv5"),
    # Models.
    _Cure(r"model\s*", r"[:=]\s*(?P<model>\"[^\"\n]*\"|[\w.]+)", _model),
    _Cure(r"model\s+", r"(?P<model>\"[^\"\n]*\")", _model),
    _Cure(r"model\s+(?P<model>[\w.]+),?\s*", r",?\s*pretrained", "write model {model}(weights=DEFAULT)"),
    _Cure(r"model\s+(?P<model>[\w.]+),?\s*", r",?\s*(?P<word>[\w]+)\s*=\s*(?P<value>[^\s,]+)",
          "write model {model}({word}={value})"),
    # Definitions.
    _Cure(r"images\s*", r"=", "name them: write images NAME = PATTERN"),
    _Cure(r"images\s+", r"\"(?P<name>\w+)\"", "write images {name} = PATTERN, without quotes"),
    _Cure(r"images\s+(?P<name>\w+)\s*", r":?\s*(?P<path>[^\s,:]+)", "write images {name} = {path}"),
    _Cure(r"target\s+(?P<name>\w+)\s*", r":?\s*(?P<target>[\w.]+:\S+)", "write target {name} = {target}"),
    _Cure(r"target\s[^\n]*\s", r"on\s", "images belong to preserve: leave out 'on' and what follows"),
    _Cure(r"circuit\s+(?:preserve|split)\s+", r"", "name it: write circuit NAME = preserve ..."),
    _Cure(r"circuit\s+(?P<name>\w+)\s*", r":?\s*(?P<verb>preserve|split)\b", "write circuit {name} = {verb} ..."),
    _Cure(r"circuit\s+(?P<name>\w+)\s*", r"\[", "name it without brackets; several sizes are keep<=each(1%, 5%)"),
    _Cure(r"defaults\s*", r"[:=]", "write defaults keep<=10%, without a sign after 'defaults'"),
    _Cure(r"label\s+(?P<target>[\w.]+:\d+)\s*", r"[:=]?\s*(?P<text>\"[^\"\n]*\"|\w+)", _label),
    _Cure(r"group\s+", r"(?P<name>\w+)", 'write group "{name}" = LAYER:[3, 8]'),
    _Cure(r"group\s+(?P<name>\"[^\"\n]*\")\s*", r":?\s*(?P<target>[\w.]+:\S+)", "write group {name} = {target}"),
    # Comparisons and expectations.
    _Cure(r"(?:compare|expect)\b[^\n]*?(?P<name>\w+)\[", r"(?P<value>[\d.]+%?)", "write {name}[keep={value}]"),
    _Cure(r"(?:compare|expect)\b[^\n]*?(?P<name>\w+)\[(?P<value>[\d.]+%?)", r"\]", "write {name}[keep={value}]"),
    _Cure(r"compare\s*", r"[\[(](?P<inside>[^\])\n]*)", "write compare {inside}"),
    _Cure(r"compare\s[^\n]*?(?P<first>[\w.\]]+)\s+", r"(?:(?:and|with|to|vs|versus|against)\b\.?\s*)?(?P<second>\w+)",
          "write {first}, {second}"),
    _Cure(r"expect\s+(?P<metric>\w+)\s*", r"\((?P<name>[^)\n]*)\)", "write {name}.{metric}"),
    _Cure(r"expect\s+(?P<name>\w+)\s+", r"(?P<metric>\w+)", "write {name}.{metric}"),
    _Cure(r"expect\s+", r"(?P<value>[\d.]+%?)\s*(?P<relation><=|>=|<|>)\s*(?P<measure>[\w.]+)", _comparison),
    # Edits.
    _Cure(r"expect\s+(?P<name>\w+)\.(?P<layer>[\w.]+)", r":(?P<unit>\d+)\.(?P<metric>[\w.]+)",
          "write {name}[{layer}:{unit}].{metric}"),
    _Cure(r"edit\s+(?P<of>[\w.]+)\s*", r"(?::\S+\s+)?(?:scale|patch|on)\b", f"name it: {_EDIT}"),
    _Cure(r"edit\s+(?P<name>\w+)\s*", r":\s*(?P<of>[\w.]+:\S+)", "write edit {name} = {of}"),
    _Cure(r"(?P<source>[\w.]+:\d+)\s*-?", r"-?>\s*(?P<target>[\w.]+:\d+)",
          "the channel that reads comes first: write {target} <- {source}"),
    # Targets. The layers of nn.Sequential have numbers for names.
    _Cure(r"(?:preserve|split|label|=)\s+(?P<layer>\d[\d.]*)", r"(?P<rest>[\w.]*):(?P<unit>\d+|\[[^\]\n]*\]|\*)",
          'write "{layer}{rest}":{unit}'),
    _Cure(r"(?:preserve|split)", r"\(", _PRESERVE),
    _Cure(r"preserve\s+class\s*", r"[\[:=]?\s*(?P<label>[\w\"' ]+?)(?:\]|\s+on\b)", _class),
    _Cure(r"class\(\s*(?P<first>\w+)\s+", r"(?P<second>[^)\n\"]*)", 'write class("{first} {second}")'),
    _Cure(r"(?P<target>[\w.]+:\d+)", r"\[\s*(?P<row>\d+)\s*,\s*(?P<column>\d+)\s*\]",
          "write {target}@({row}, {column})"),
    _Cure(r"@", r"\[?\s*(?P<row>\d+)\s*,\s*(?P<column>\d+)", "write @({row}, {column})"),
    _Cure(rf"(?:preserve|split|=)\s+{_TARGET}\s*", r"\[(?P<unit>[^\]\n]*)\]", _units),
    _Cure(r"(?:preserve|split)\s+(?P<text>\"(?P<target>[^\"\n]+)\")\s+", r"on\b", "write {target}, without quotes"),
    _Cure(r"(?:preserve|split)\s+", r"'(?P<target>[^'\n]+)'", "write {target}, without quotes"),
    _Cure(rf"{_TARGET}:(?P<first>\d+)", r"\.\.(?P<last>\d+)", "write {layer}:[{first}..{last}]"),
    _Cure(rf"{_TARGET}:(?P<first>\d+)\s*-\s*(?P<last>\d+)\s+", r"on\b", "write {layer}:[{first}..{last}]"),
    _Cure(r"\[(?P<first>\d+)\s*", r"[-:]\s*(?P<last>\d+)", "write {first}..{last}"),
    _Cure(rf"{_TARGET}:(?P<first>\d+)", r"\s*,\s*(?P<second>\d+)", "write {layer}:[{first}, {second}]"),
    _Cure(rf"{_TARGET}:(?:all|every|any)\s+", r"on\b", "write {layer}:*"),
    _Cure(rf"{_TARGET}:(?:channel|unit|filter|neuron|ch|c)_?(?P<unit>\d+)\s+", r"on\b", "write {layer}:{unit}"),
    _Cure(rf"{_TARGET}:[A-Za-z_]\w*\s+", r"on\b", "a channel is a number: write {layer}:0"),
    _Cure(r"(?:preserve|split)\s+(?P<unit>\d+)\s+", r"on\b", "name its layer: write LAYER:{unit}"),
    _Cure(rf"(?:preserve|split)\s+{_TARGET}\s*", r"[/#]?(?P<unit>\d+)\b", "write {layer}:{unit}"),
    _Cure(r"(?P<factor>[\d.]+)\s+", r"(?P<target>[\w.]+:\d+)", "write {factor}*{target}"),
    _Cure(r"[\w.]+:\S+\s*", r"(?:and\b|&|,)\s*(?:[\w.]+:)",
          "write a list for channels of one layer, as conv5:[34, 35], and a statement each for others"),
    # Splits.
    _Cure(r"into\s+(?P<number>\w+)\s+(?P<word>parts?|circuits?|groups?|clusters?|kinds?|ways?)\s+", r"",
          "leave out '{word}'"),
    _Cure(r"into\s+(?P<number>\w+)\s+", r"(?P<word>parts?|circuits?|groups?|clusters?|kinds?|ways?)\b",
          "leave out '{word}'"),
    _Cure(r"into\s*", r"=\s*(?P<number>\w+)", "write into {number}"),
    _Cure(r"split\s+[^\s]+\s+", r"into\b", f"the images come first: {_SPLIT}"),
    # Images.
    _Cure(r"preserve\s+on\s+", r"", f"the target comes first: {_PRESERVE}"),
    _Cure(r"(?:preserve|split)\s+[\w.]+\s*", _RELATION, f"clauses come last: {_PRESERVE}"),
    _Cure(r"(?:preserve|split)\s+[\w.]+:\S+\s+", rf"\w+\s*{_RELATION}", f"clauses come last: {_PRESERVE}"),
    _Cure(r"\son\s+[\w.]+\s*", r"(?:<=|>=|<|>)\s*\S+\s+(?P<images>[\w./*?-]+)", "images come first: write on {images}"),
    _Cure(r"(?:preserve|split)\s+[^\s]+\s+", r"(?:in|for|with|using|over|from|of|at|against)\s+(?P<images>[^\s,;]+)",
          "write on {images}"),
    _Cure(r"(?:preserve|split)\s+[^\s]+\s+", r"=?\s*(?P<images>[^\s,;:=<>]*[/*][^\s,;:=<>]*)", "write on {images}"),
    _Cure(r"(?P<first>[^\s,=]+)", r"\s*,\s*(?P<word>\w+)\s*(?:<=|>=|==|=|<|>|:)",
          "clauses stand side by side: leave out the comma"),
    _Cure(r"(?:\son|=)\s+(?P<first>[^\s,=<>]*[/*?A-Za-z_][^\s,=<>]*)", r"\s*,\s*(?P<second>[^\s,;{]+)",
          "write several images as a list: [{first}, {second}]"),
    _Cure(r"\son\s+[A-Za-z]", r":\\?(?P<rest>\S*)",
          'write a path of Windows with "/" and in quotes, as "C:/images/dogs/*"'),
    _Cure(r"(?:\son|=)\s+", r"\{\s*(?P<inside>[^}\n]*?)\s*\}", "write a list in square brackets: [{inside}]"),
    _Cure(r"\s(?:without|minus|excluding|but|not)\s+", r"(?P<images>[^\s,;]*[/*][^\s,;]*)", "write except {images}"),
    # Numbers.
    _Cure(r"(?:<=|>=|=)\s*0", r",(?P<digits>\d+)%?", "write a decimal point: 0.{digits}"),
    _Cure(r"(?:<=|>=|=)\s*(?P<first>\d+)", r",(?P<second>\d{3})\b", "write {first}{second}, without a comma"),
    _Cure(r"(?P<number>\d+)[kK]\s*", r"", "write {number}000"),
    _Cure(r"(?P<number>[\d.]+)\s*(?:percent|per cent|pct)\s*", r"", "write {number}%"),
    _Cure(r"(?P<number>[\d.]+)\s+", r"%", "write {number}%, without a space"),
    _Cure(r"%", r"%", "write one %"),
    # Clauses.
    _Cure(r"", r"\$", _NO_VARIABLES),
    _Cure(r"(?P<clause>[\w.]+)\s*", r"≤\s*(?P<value>\S+)", "write {clause}<={value}"),
    _Cure(r"(?P<clause>[\w.]+)\s*", r"≥\s*(?P<value>\S+)", "write {clause}>={value}"),
    _Cure(r"(?P<clause>[\w.]+)\s*=", r"<\s*(?P<value>\S+)", "write {clause}<={value}"),
    _Cure(r"(?P<clause>[\w.]+)\s*=", r">\s*(?P<value>\S+)", "write {clause}>={value}"),
    _Cure(r"=\s*(?P<name>\w+)\s*", r"\[(?P<inside>[^\]\n]*)\]", "write {name}({inside})"),
    _Cure(r"=\s*\w+\([^)\n]*?(?P<word>\w+)\s*", r":\s*(?P<value>[\w.%]+)", "write {word}={value}"),
    _Cure(r"[=(,\s]", r"'(?P<text>[^'\n]*)'?", 'quotes are double: write "{text}", or the word alone'),
    _Cure(r"\s(?P<word>and|where|with|using|such that|by|at|to|having)\s+", rf"\w+\s*(?:{_RELATION}|\d)",
          "leave out '{word}'"),
    _Cure(rf"\b{_CLAUSE}\s+", rf"[\w.]+\s*{_RELATION}", _without_value),
    _Cure(rf"\b{_CLAUSE}\s*", rf":?\s*{_VALUE}", _clause),
    _Cure(r"\b(?P<clause>\w+)\s*", rf":\s*{_VALUE}", _named_clause),
    _Cure(r"\s", rf"--?(?P<clause>[a-z]\w*)[\s=]+{_VALUE}", _named_clause),
    _Cure(r"\s", rf"[(\[]\s*\w+\s*{_RELATION}", "clauses stand without brackets, or in braces: {{ keep<=10% }}"),
)  # fmt: skip

# Words that begin a statement elsewhere, and the cure.
_STATEMENTS = {
    **dict.fromkeys(("import", "from", "use", "require", "load", "source"), 'write include "FILE.circuit"'),
    **dict.fromkeys(("prune", "find", "extract", "keep", "discover", "trace", "run", "explain", "isolate"), _PRESERVE),
    **dict.fromkeys(("cluster", "partition", "divide"), _SPLIT),
    **dict.fromkeys(("data", "dataset", "datasets", "image", "pictures", "photos"), "write images NAME = PATTERN"),
    **dict.fromkeys(("network", "net", "nn", "architecture", "backbone"), "write model NAME"),
    **dict.fromkeys(("assert", "check", "ensure", "require", "test"), "write expect CIRCUIT.pearson >= 0.9"),
    **dict.fromkeys(("feature", "neuron", "channel", "unit", "direction"), "write target NAME = LAYER:CHANNEL"),
    **dict.fromkeys(("default", "settings", "config", "options", "set"), "write defaults keep<=10%"),
    **dict.fromkeys(("let", "var", "const", "def", "define"), _NO_VARIABLES),
    **dict.fromkeys(("for", "foreach", "while", "each", "sweep"), _SWEEP),
    **dict.fromkeys(("remove", "ablate", "lesion", "knockout", "delete", "intervene", "patch", "scale"), _EDIT),
    **dict.fromkeys(("diff", "overlap"), "write compare CIRCUIT, CIRCUIT"),
}
_CURES_OF_STATEMENTS = (
    (r"(?P<name>\w+)\s*[:=]\s*(?P<verb>preserve|split)\b", "write circuit {name} = {verb} ..."),
    (r"(?P<name>\w+)\s*=\s*(?P<target>[\w.]+:\S+)", "write target {name} = {target}"),
    (r"(?P<name>\w+)\s*=\s*(?P<path>[^\s]*[/*][^\s]*)", "write images {name} = {path}"),
    (r"//|/\*|--|%|'", "a comment begins with #"),
)


@cache
def _compiled() -> Sequence[tuple[re.Pattern[str], re.Pattern[str], str | Callable[[Mapping[str, str]], str]]]:
    """Return the cures with their patterns compiled, which takes longer than reading a spec without mistakes."""
    return tuple((re.compile(f"(?:{before})$"), re.compile(rest), text) for before, rest, text in _CURES)


def statement_cure(word: str, text: str) -> str:
    """Return the help line for a statement that begins with an unknown word; `text` begins with it."""
    for pattern, cure in _CURES_OF_STATEMENTS:
        if match := re.match(pattern, text[:_REACH]):
            return cure.format(**match.groupdict())
    if word in CLAUSES and re.match(rf"\w+\s*{_RELATION}", text):
        return "clauses belong to a statement: write them before the ';' or the end of the line, or in braces"
    return _STATEMENTS.get(word.lower(), "")


def syntax_cure(text: str, start: int, at: int, stop: int) -> str:
    """Return the help line for a statement, `text[start:stop]`, that can't be read from `at` on; empty if unknown."""
    return _cure(text, start, at, stop)[0]


def syntax_edit(text: str, start: int, at: int, stop: int) -> tuple[int, int, str] | None:
    """Return the edit that the help line asks for: the ends of what is replaced, and the text to write there.

    It is that of a line `write TEXT` whose text is complete. What the cure takes up of the statement is replaced.
    """
    cure, first, end = _cure(text, start, at, stop)
    written = cure.removeprefix("write ")
    return None if written == cure or _INCOMPLETE.search(written) else (first, end, written)


def _cure(text: str, start: int, at: int, stop: int) -> tuple[str, int, int]:
    """Return the help line, and the ends of the part of the statement that it takes up."""
    origin = max(start, at - _REACH)
    before, rest = text[origin:at], text[at : min(stop, at + _REACH)]
    for pattern, following, cure in _compiled():
        if (first := pattern.search(before)) and (second := following.match(rest)):
            groups = first.groupdict() | second.groupdict()
            beginning = min((origin + first.start(name) for name in first.groupdict()), default=at)
            end = max((second.end(name) for name in second.groupdict()), default=second.end())
            # A closing bracket belongs to what is replaced, a word behind it doesn't.
            end = second.end() if re.fullmatch(r"[])}\"'\s]*", second[0][end:]) else end
            return (cure.format(**groups) if isinstance(cure, str) else cure(groups)), beginning, at + end
    return "", at, at
