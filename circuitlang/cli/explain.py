"""`circuitlang explain`: the page of an error code, or the documentation of an extension."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click
from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.text import Text

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean
from circuitlang.base.error_codes import Page, codes, page
from circuitlang.cli import completion
from circuitlang.cli.console import exit_on_findings, stdout
from circuitlang.compiler.clauses import ALIASES
from circuitlang.compiler.words import Word, words
from circuitlang.plugins.hypothesis_tests import TESTS
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, METRICS, MODELS
from circuitlang.plugins.registry import Declaration
from circuitlang.plugins.transforms import TRANSFORMS
from circuitlang.reporting.terminal.tables import Listing
from circuitlang.results.outputs import COMPARISON_FORMATS, EXPORTS, FORMATS, SPLIT_FORMATS

_REGISTRIES = (
    CRITERIA, ABLATIONS, METRICS, TESTS, TRANSFORMS, MODELS, FORMATS, SPLIT_FORMATS, COMPARISON_FORMATS, EXPORTS,
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """An extension and its kind, such as criterion."""

    kind: str
    declaration: Declaration


@dataclass(frozen=True)
class Meaning:
    """A word of the language, and one of its meanings."""

    name: str
    word: Word


@click.command()
@click.argument("word", metavar="CODE|NAME", shell_complete=completion.words)
def explain(word: str) -> None:
    """Explain the CODE of a finding, or a NAME.

    The name is a word of the language, a criterion, an ablation, a metric, a test, a model source or an output format.
    """
    with exit_on_findings():
        console = stdout()
        console.print(_render(_look_up(word), console.is_terminal), soft_wrap=not console.is_terminal)


def _look_up(word: str) -> Page | list[Entry | Meaning]:
    """Return the page of a code, or all that has a name. Raises InputError with a suggestion if there is none."""
    if (code_page := page(word.upper())) is not None:
        return code_page
    entries: list[Entry | Meaning] = [Meaning(word, meaning) for meaning in words().get(word, ())]
    word = ALIASES.get(word, word)
    entries += [
        Entry(registry.kind, registry.declarations[word]) for registry in _REGISTRIES if word in registry.declarations
    ]
    if not entries:
        known = [*codes(), *words(), *(name for registry in _REGISTRIES for name in registry.declarations)]
        cure = did_you_mean(word, known, "`circuitlang criteria` and `circuitlang models` list the names")
        raise InputError(Finding("E124", f"nothing is called '{word}'", None, "", cure))
    return entries


def _render(explanation: Page | list[Entry | Meaning], terminal: bool) -> RenderableType:
    """Lay out an explanation for a terminal or as plain text."""
    if isinstance(explanation, Page):
        return Markdown(explanation.text) if terminal else Text(explanation.text.rstrip("\n"))
    return Group(*(part for number, entry in enumerate(explanation) for part in _entry(entry, terminal, number)))


def _entry(entry: Entry | Meaning, terminal: bool, number: int) -> list[RenderableType]:
    if isinstance(entry, Meaning):
        title = Text("\n" if number else "").append(entry.name, "bold").append(f", {_with_article(entry.word.kind)}\n")
        return [title, Text(entry.word.meaning), Text(f"\n    {entry.word.example}")]
    declaration = entry.declaration
    title = Text("\n" if number else "").append(declaration.name, "bold")
    title.append(f", {_with_article(entry.kind)} of {declaration.module}\n")
    doc = declaration.doc or "There is no description."
    # A terminal wraps lines to its width; in a pipe they stay as they were written.
    parts: list[RenderableType] = [title, Text(re.sub(r"(?<=\S)\n(?=\S)", " ", doc) if terminal else doc)]
    if declaration.parameters:
        rows = [(parameter.name, parameter.type, repr(parameter.default)) for parameter in declaration.parameters]
        parts += [Text(), Listing(("parameter", "type", "default"), rows).render(terminal)]
    return parts


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
