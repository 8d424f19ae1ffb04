"""Completion: the words that may stand at the cursor, by the statement before it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from lsprotocol import types

from circuitlang.compiler import syntax
from circuitlang.compiler.edits import CLASSES
from circuitlang.compiler.parser import STATEMENTS
from circuitlang.compiler.references import CHANGE, CLASS_MEASURES, COUNTS, ENDS, IMAGES, MEANS, PROBED, SAMPLES
from circuitlang.compiler.words import words
from circuitlang.lsp.context import Context, context
from circuitlang.lsp.documents import Analysis
from circuitlang.lsp.file_completion import files
from circuitlang.lsp.names import definitions, layers
from circuitlang.lsp.positions import position
from circuitlang.pipeline import vocabulary
from circuitlang.plan import clauses
from circuitlang.plan.layers import Layers
from circuitlang.plugins.registry import Declaration

TRIGGERS = (" ", "=", ":", ".", "/", "(", "[", ",", "@", '"')

_VALUE = r'(?:\[[^\]]*\]|"[^"]*"|[^\s\["]+)'
_ASK = r"(?:circuit\s+\w+\s*=\s*)?(?:preserve|split)\s"
_TARGET_PART = re.compile(r'(?P<layer>[\w.]+|"[^"]*"):(?:(?:joint\(|\[)[^)\]]*)?\w*$')
_ARGUMENT = re.compile(
    r"(?P<clause>criterion|ablation|tests)=(?:(?:each\(|\[)(?:[^()\]]|\([^()]*\))*)?\b(?P<name>\w+)\([^()]*$"
)
_EXTENSION = re.compile(r"(?P<clause>criterion|ablation|tests)=(?:(?:each\(|\[)(?:[^()\]]|\([^()]*\))*)?\w*$")
_OF_IMAGES = "|".join(
    clause.name for clause in (*clauses.PRESERVE.values(), *clauses.EDIT.values()) if clause.of_images
)
_EDIT = r"edit\s+\w+\s*=\s*"
# Images of a concept, and what follows them.
_CONCEPT = re.compile(rf"\bconcept\(\s*(?:{_VALUE}\s+against\s+)?(?:\[[^\]]*|[^\s\[(),]*)$")
_CONTRASTED = re.compile(rf"\bconcept\(\s*{_VALUE}\s+\w*$")
_PENALTY = re.compile(rf"\bconcept\(\s*{_VALUE}\s+against\s+{_VALUE}\s*,\s*\w*$")
_CHANNELS = 512


@dataclass(frozen=True)
class Word:
    """A word to offer: its kind, a few words beside it, and a sentence or more below."""

    text: str
    kind: types.CompletionItemKind = types.CompletionItemKind.Keyword
    detail: str = ""
    doc: str = ""


def complete(analysis: Analysis, offset: int) -> list[types.CompletionItem]:
    """Return the words that may stand at a position; the editor filters them by what is typed already."""
    here = context(analysis.source.text, offset)
    if here.comment:
        return []
    if here.string is not None:
        ending = ("circuit",) if here.head.startswith("include") else None
        written, offered = here.string, files(analysis.source.folder, here.string, ending)
        return _items([Word(name, types.CompletionItemKind.File) for name in offered], analysis, offset, written)
    written = here.token(r'[^\s"#;,\[\](){}<>=]') if _wants_images(here) else here.token(r"\w")
    return _items(_words(analysis, here, written), analysis, offset, written)


def warm_up() -> None:
    """Read the declarations of all extensions, so that no keystroke waits for them."""
    known = vocabulary()
    for declarations in (known.criteria, known.ablations, known.metrics, known.models, known.tests, known.transforms):
        list(declarations.values())


def _items(offered: Iterable[Word], analysis: Analysis, offset: int, written: str) -> list[types.CompletionItem]:
    source = analysis.source
    place = types.Range(position(source, offset - len(written)), position(source, offset))
    return [
        types.CompletionItem(
            label=word.text,
            kind=word.kind,
            detail=word.detail or None,
            documentation=types.MarkupContent(types.MarkupKind.Markdown, word.doc) if word.doc else None,
            text_edit=types.TextEdit(place, word.text),
            filter_text=word.text.removeprefix("./"),
            sort_text=f"{number:04}",
        )
        for number, word in enumerate({word.text: word for word in offered}.values())
    ]


def _words(analysis: Analysis, here: Context, written: str) -> Iterator[Word]:
    head = here.head
    statement = re.match(r"\w*", head)
    if re.fullmatch(r"\w*", head):
        yield from _explained(STATEMENTS)
    elif re.fullmatch(r"circuit\s+\w+\s*=\s*\w*", head):
        yield from _explained(("preserve", "split"))
    elif statement and statement[0] == "model":
        yield from _models(head)
    elif re.match(_EDIT, head) and not _wants_images(here):
        yield from _edit(analysis, head)
    elif statement and statement[0] in ("compare", "expect"):
        yield from _circuits(analysis, head)
    elif (inside := _ARGUMENT.search(head)) is not None:
        yield from _arguments(inside["clause"], inside["name"], head)
    elif (extension := _EXTENSION.search(head)) is not None:
        yield from _extensions(extension["clause"])
    elif (clause := re.search(r"\b(\w+)=(?:each\([^()]*)?\w*$", head)) and clause[1] in clauses.PRESERVE:
        if clauses.PRESERVE[clause[1]].of_images:
            yield from _images(analysis, written)
        elif clauses.PRESERVE[clause[1]].kind == "circuit":
            yield from _named_circuits(analysis)
        else:
            yield from _explained(clauses.PRESERVE[clause[1]].words)
    elif re.match(r"(?!include\b).*\sas\s+\w*$", head, re.DOTALL):
        yield from (_extension(declaration) for declaration in vocabulary().transforms.values())
    elif _wants_images(here):
        yield from _images(analysis, written)
    elif _CONTRASTED.search(head):
        yield from _explained(["against", "except", "as"])
    elif _PENALTY.search(head):
        yield from (replace(word, text=f"{word.text}=") for word in _explained(["penalty"]))
    elif _wants_target(head):
        yield from _targets(analysis, head)
    elif re.match(r"(?:images|defaults|preserve|split|circuit)\b", head) and re.search(r"[\s{)\]]\w*$", head):
        yield from _clauses(head)


def _wants_images(here: Context) -> bool:
    """Return whether images come next: behind `on`, `except`, `images NAME =`, or in a list of them."""
    head = here.head
    if _CONCEPT.search(head):
        return True
    if re.search(rf"\b(?:{_OF_IMAGES})=(?:\[[^\]]*)?[^\s\[\]]*$", head):
        return True
    start = r"(?:images\s+\w+\s*=|(?:" + _ASK + "|" + _EDIT + r").*?\son\b)"
    return re.match(rf"{start}\s*(?:{_VALUE}\s+except\s+)?(?:\[[^\]]*|[^\s\[]*)$", head) is not None and (
        re.search(r"\bon$", head) is None
    )


def _wants_target(head: str) -> bool:
    begins = rf'(?:{_ASK}|target\s+\w+\s*=|label\s|group\s+"[^"]*"\s*=)'
    return re.match(begins, head) is not None and not re.search(r"\son\s", head)


def _explained(
    names: Iterable[str], kind: types.CompletionItemKind = types.CompletionItemKind.Keyword
) -> Iterator[Word]:
    known = words()
    for name in names:
        meaning = known.get(name)
        yield Word(name, kind, "", f"{meaning[0].meaning}\n\n    {meaning[0].example}" if meaning else "")


def _models(head: str) -> Iterator[Word]:
    from circuitlang.engine.models.catalog import known_models

    if "(" in head:
        yield from (Word(f"{name}=", types.CompletionItemKind.Property) for name in ("weights", "output", "state"))
        return
    kind = types.CompletionItemKind.Module
    yield from (Word(known.name, kind, "has attention" if known.attention else "") for known in known_models())
    sources = vocabulary().models
    yield from (Word(name, kind, "source of models", sources[name].summary) for name in sorted(sources))


def _circuits(analysis: Analysis, head: str) -> Iterator[Word]:
    kinds = ("circuit", "edit") if head.startswith("expect") else ("circuit",)
    named = {known.name: known for known in definitions(analysis.file) if known.kind in kinds}
    kind = types.CompletionItemKind.Variable
    about = re.search(r"(\w+)(?:\[[^\]]*\])?\.[\w.]*$", head)
    if about and about[1] in named and named[about[1]].kind == "edit":
        metrics = vocabulary().metrics
        numbers = (*MEANS, CHANGE, *CLASS_MEASURES, *sorted(metrics), *ENDS)
        yield from (Word(name, types.CompletionItemKind.Property) for name in numbers)
        return
    if member := re.search(r"(\w+)\[[^\]]*$", head):
        asked = named[member[1]].node if member[1] in named else None
        if isinstance(asked, syntax.Circuit):
            own = [clause.name.text for clause in asked.asked.clauses if "each(" in clause.value.span.text]
            yield from (Word(f"{name}=", kind) for name in [*own, "unit"])
        elif isinstance(asked, syntax.Edit):
            yield from (Word(feature.span.text, kind) for feature in asked.measured if feature.span.text != CLASSES)
    elif re.search(r"[\w\]]\.[\w.]*$", head):
        metrics = vocabulary().metrics
        yield from (_extension(metrics[name]) for name in sorted(metrics))
        probed = PROBED if re.search(r"\bconcept\s*\(", analysis.source.text) else ()
        numbers = (*COUNTS, *probed, *SAMPLES, IMAGES, *ENDS)
        yield from (Word(name, types.CompletionItemKind.Property) for name in numbers)
    elif re.search(r"(?:compare|expect|,)\s*\w*$", head):
        yield from (Word(name, kind, _line(named[name].node)) for name in named)


def _named_circuits(analysis: Analysis) -> Iterator[Word]:
    own = (known for known in definitions(analysis.file) if known.kind == "circuit")
    yield from (Word(known.name, types.CompletionItemKind.Variable, _line(known.node)) for known in own)


def _edit(analysis: Analysis, head: str) -> Iterator[Word]:
    """Offer what an edit may say next: its part, its change, the images and the targets."""
    measured = re.search(r"\bmeasure\s+(?:.*,)?\s*[\w.:\[@]*$", head)
    if measured:
        # The last of the targets, whose list of channels may have commas.
        last = re.search(r"(?:\bmeasure|,)\s*(?P<part>(?:[^,\[\]\s]|\[[^\]]*\]?)*\s*)$", head)
        yield from _targets(analysis, last["part"] if last else "")
        yield from _explained([CLASSES])
    elif re.match(_EDIT + r'[\w.:\["]*$', head) or re.search(r"<-\s*[\w.:]*$", head):
        yield from _targets(analysis, head)
        yield from _named_circuits(analysis)
        groups = (node for node in analysis.file.statements if isinstance(node, syntax.Group))
        yield from (Word(f'"{node.text.text}"', types.CompletionItemKind.Variable, _line(node)) for node in groups)
    else:
        meanings, changed = words(), re.search(r"\b(?:scale|patch)=", head)
        for clause in () if changed else clauses.EDIT.values():
            kind = types.CompletionItemKind.Property
            yield Word(f"{clause.name}=", kind, clause.example, meanings[clause.name][0].meaning)
        yield from _explained(["measure", "as"] if re.search(r"\son\s", head) else ["on"])


def _line(node: syntax.Node) -> str:
    return node.span.text.partition("\n")[0]


def _declared(clause: str) -> Mapping[str, Declaration]:
    known = vocabulary()
    return {"criterion": known.criteria, "tests": known.tests}.get(clause, known.ablations)


def _extension(declaration: Declaration) -> Word:
    default = ", ".join(f"{parameter.name}={parameter.default}" for parameter in declaration.parameters)
    return Word(declaration.name, types.CompletionItemKind.Function, f"({default})" if default else "", declaration.doc)


def _extensions(clause: str) -> Iterator[Word]:
    declared = _declared(clause)
    yield from (_extension(declared[name]) for name in sorted(declared))
    yield from _explained(["each", *(["all", "none"] if clause == "tests" else [])])


def _arguments(clause: str, name: str, head: str) -> Iterator[Word]:
    declared = _declared(clause)
    if name == "each" or name not in declared:
        yield from _extensions(clause)
    elif value := re.search(r"(\w+)=\w*$", head):
        parameter = declared[name].parameter(value[1])
        if parameter is not None and parameter.type == "bool":
            yield from (Word(word, types.CompletionItemKind.Value) for word in ("true", "false"))
        elif parameter is not None and parameter.type == "CriterionName":
            yield from (_extension(declared[known]) for known in sorted(declared))
        elif parameter is not None:
            yield Word(str(parameter.default), types.CompletionItemKind.Value, "default")
    else:
        for parameter in declared[name].parameters:
            yield Word(
                f"{parameter.name}=", types.CompletionItemKind.Property, f"{parameter.type}, {parameter.default}"
            )


def _images(analysis: Analysis, written: str) -> Iterator[Word]:
    kind = types.CompletionItemKind.Variable
    if "/" not in written:
        own = (known for known in definitions(analysis.file) if known.kind == "images")
        yield from (Word(known.name, kind, _line(known.node)) for known in own)
    for name in files(analysis.source.folder, written):
        yield Word(name, types.CompletionItemKind.Folder if name[-1] in "/*" else types.CompletionItemKind.File)
    if "/" not in written:
        yield from (Word(name, kind, "bundled drawings") for name in vocabulary().images)


def _targets(analysis: Analysis, head: str) -> Iterator[Word]:
    known = layers(analysis.file)
    unit = _TARGET_PART.search(head)
    if unit is not None:
        yield from _units((known.widths if known else {}).get(unit["layer"].strip('"'), 0), head)
    elif re.search(r"@\w*$", head):
        yield from _explained(("center", "max"), types.CompletionItemKind.Value)
    elif re.search(r"\b(?:concept|vector)\((?:[^()]|\([^()]*\))*\)\s+\w*$", head):
        yield from _explained(["in"])
    elif re.search(r":\S+\s+\w*$|\)\s+\w*$|\sin\s+\S+\s+\w*$", head) and not re.search(r"[-+]\s*$", head):
        yield from _explained(["on"])
    elif re.search(r"\)\s+in\s+\w*$", head):
        yield from _layers(known)
    else:
        yield from _layers(known, ":")
        own = (target for target in definitions(analysis.file) if target.kind == "target")
        yield from (Word(target.name, types.CompletionItemKind.Variable, _line(target.node)) for target in own)
        yield from _explained(["class", "concept", "vector"], types.CompletionItemKind.Function)


def _layers(known: Layers | None, ending: str = "") -> Iterator[Word]:
    for name in known.short if known else ():
        width = known.widths.get(name) if known else None
        yield Word(f"{name}{ending}", types.CompletionItemKind.Field, f"{width:,} channels" if width else "")


def _units(width: int, head: str) -> Iterator[Word]:
    """Offer the channels of a layer: all, a range, and each by its number."""
    kind = types.CompletionItemKind.Value
    if not re.search(r":(?:joint\(|\[)[^:]*$", head):
        yield Word("*", kind, f"all {width:,} channels" if width else "all channels")
        if width:
            yield Word(f"[0..{width - 1}]", kind, "one circuit for each")
        yield from _explained(["joint"], types.CompletionItemKind.Function)
    yield from (Word(str(number), kind) for number in range(min(width, _CHANNELS)))


def _clauses(head: str) -> Iterator[Word]:
    """Offer the clauses that a statement doesn't have, and metrics as bounds."""
    kind = types.CompletionItemKind.Property
    of_images = head.startswith("images")
    table = clauses.IMAGES if of_images else clauses.PRESERVE
    if not head.startswith("defaults"):
        yield from _explained(["except", "as", *(["into"] if re.match(r".*?\bsplit\b", head) else [])])
    meanings = words()
    for clause in table.values():
        name = clause.alias or clause.name
        if not re.search(rf"\b(?:{clause.name}|{name})\s*[<=]", head):
            meaning = next(word for word in meanings[name] if word.kind == "clause")
            yield Word(f"{name}{clause.relation}", kind, clause.example, meaning.meaning)
    if not of_images:
        metrics = vocabulary().metrics
        for name in sorted(metrics):
            sign = "<=" if "lower" in metrics[name].options else ">="
            yield Word(f"{name}{sign}", kind, "", metrics[name].doc)
