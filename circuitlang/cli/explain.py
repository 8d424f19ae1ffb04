"""The page of a code, or of whatever has a name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.text import Text

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean
from circuitlang.base.error_codes import Page, codes, page
from circuitlang.compiler.clauses import ALIASES
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, METRICS, MODELS
from circuitlang.plugins.registry import Declaration
from circuitlang.reporting.terminal.tables import Listing
from circuitlang.results.outputs import COMPARISON_FORMATS, EXPORTS, FORMATS, SPLIT_FORMATS

_REGISTRIES = (CRITERIA, ABLATIONS, METRICS, MODELS, FORMATS, SPLIT_FORMATS, COMPARISON_FORMATS, EXPORTS)


@dataclass(frozen=True)
class Entry:
    """An extension and what kind it is."""

    kind: str
    declaration: Declaration


def explain(word: str) -> Page | list[Entry]:
    """The page of a code, or every extension of a name. Raises InputError with a guess where there is neither."""
    about = page(word.upper())
    if about is not None:
        return about
    word = ALIASES.get(word, word)
    named = [
        Entry(registry.kind, registry.declarations[word]) for registry in _REGISTRIES if word in registry.declarations
    ]
    if not named:
        known = [*codes(), *(name for registry in _REGISTRIES for name in registry.declarations)]
        cure = did_you_mean(word, known, "`circuitlang criteria` and `circuitlang models` list the names")
        raise InputError(Finding("E124", f"nothing is called '{word}'", None, "", cure))
    return named


def render(found: Page | list[Entry], terminal: bool) -> RenderableType:
    """What was found, set for a terminal or as plain text."""
    if isinstance(found, Page):
        return Markdown(found.text) if terminal else Text(found.text.rstrip("\n"))
    return Group(*(part for number, entry in enumerate(found) for part in _entry(entry, terminal, number)))


def _entry(entry: Entry, terminal: bool, number: int) -> list[RenderableType]:
    about = entry.declaration
    title = Text("\n" if number else "").append(about.name, "bold").append(f", {_a(entry.kind)} of {about.module}\n")
    doc = about.doc or "There is no description."
    # A terminal breaks lines where it must; in a pipe they stay as they were written.
    parts: list[RenderableType] = [title, Text(re.sub(r"(?<=\S)\n(?=\S)", " ", doc) if terminal else doc)]
    if about.parameters:
        rows = [(each.name, each.type, repr(each.default)) for each in about.parameters]
        parts += [Text(), Listing(("parameter", "type", "default"), rows).render(terminal)]
    return parts


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
