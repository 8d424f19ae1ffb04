"""Hover: what the word at the cursor stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from lsprotocol import types

from circuitlang.base.diagnostics import CircuitError, InputError, SpecError, reason
from circuitlang.base.source import Span
from circuitlang.compiler import syntax
from circuitlang.compiler.clauses import ALIASES
from circuitlang.compiler.words import words
from circuitlang.lsp.documents import Analysis
from circuitlang.lsp.last_results import last_results
from circuitlang.lsp.names import definition, layers, measured_of, model
from circuitlang.lsp.positions import span_range
from circuitlang.lsp.tree import nodes_at
from circuitlang.pipeline import vocabulary
from circuitlang.plan.edits import FOLDER
from circuitlang.plan.layers import NamedModule
from circuitlang.plan.model import Circuit, Images
from circuitlang.plugins.hypothesis_tests import TESTS
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, METRICS, MODELS
from circuitlang.plugins.registry import Declaration
from circuitlang.plugins.transforms import TRANSFORMS

_REGISTRIES = (CRITERIA, ABLATIONS, METRICS, TESTS, TRANSFORMS, MODELS)
_WORD = re.compile(r"[^\W\d]\w*")
# Names of images, and members of a sweep, that are listed.
_MOST = 5


def hover(analysis: Analysis, offset: int, folders: tuple[Path, ...] = ()) -> types.Hover | None:
    """Return what there is to say of a place; `folders` may have results in `runs`, as the spec's own may."""
    nodes = nodes_at(analysis.file, offset)
    for depth, node in reversed([*enumerate(nodes)]):
        parent = nodes[depth - 1] if depth else None
        text = _about(analysis, node, parent, folders)
        if text:
            return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, text), span_range(node.span))
    source = analysis.source
    start, end = source.start(source.position(offset)[0]), offset
    for match in _WORD.finditer(source.text, start):
        if match.start() > end:
            break
        commented = "#" in source.text[start : match.start()]
        if match.end() >= end and not commented and (text := "\n\n---\n\n".join(explanations(match[0]))):
            place = span_range(Span(source, match.start(), match.end()))
            return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, text), place)
    return None


def explanations(name: str) -> Iterator[str]:
    """Yield what `circuitlang explain` says of a word, in Markdown."""
    for word in words().get(name, ()):
        yield f"**{name}**, {_with_article(word.kind)}\n\n{word.meaning}\n\n```circuit\n{word.example}\n```"
    name = ALIASES.get(name, name)
    for registry in _REGISTRIES:
        if name in registry.declarations:
            yield _declaration(registry.kind, registry.declarations[name])


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _declaration(kind: str, declaration: Declaration) -> str:
    rows = [f"| `{part.name}` | {part.type} | `{part.default}` |" for part in declaration.parameters]
    table = "\n".join(["", "", "| parameter | type | default |", "|---|---|---|", *rows]) if rows else ""
    return f"**{declaration.name}**, {_with_article(kind)}\n\n{declaration.doc or 'There is no description.'}{table}"


def _about(analysis: Analysis, node: syntax.Node, parent: syntax.Node | None, folders: tuple[Path, ...]) -> str:
    """Return what a node stands for; empty if it is for its parent, or for a dictionary, to say."""
    match node, parent:
        case _, syntax.Target() if node is not parent.position:
            return _layer(analysis, parent)
        case syntax.Name() | syntax.String(), syntax.Located():
            return _layer(analysis, parent)
        case syntax.Name(text=name), syntax.Circuit() | syntax.Member():
            return _circuit(analysis, name, folders)
        case syntax.Name(text=name), syntax.Measure():
            kind, part = measured_of(analysis.file, name)
            return _edit(analysis, part, folders) if kind == "edit" else _circuit(analysis, part, folders)
        case syntax.Name(text=name), syntax.Edit():
            return _edit(analysis, name, folders)
        case (syntax.Path() | syntax.String(), syntax.Selection() | syntax.List() | syntax.Clause()):
            return _matches(Images([node.text]), analysis.source.folder)
        case syntax.Name(), syntax.Clause() if node is parent.name:
            return ""
        case syntax.Name(text=name), syntax.Selection() | syntax.List() | syntax.Clause() | syntax.Images():
            return _image_set(analysis, name)
        case syntax.Name(text=name), syntax.Term():
            known = definition(analysis.file, "target", name)
            return f"```circuit\n{known.node.span.text}\n```" if known else ""
    return ""


def _layer(analysis: Analysis, target: syntax.Target | syntax.Located) -> str:
    """Describe the layer of a target by the index of known layers."""
    name = target.layer.text
    known, named = layers(analysis.file), model(analysis.file)
    if known is None or name not in known.widths:
        unknown = known is None and named is not None
        return f"`circuitlang layers '{named}'` looks at the model once, for its layers to be known" if unknown else ""
    lines = [f"**{name}** of {named}: {known.widths[name]:,} channels"]
    module = _module(known.modules, name)
    if module is not None:
        lines[0] += f", maps of {'x'.join(map(str, module.shape[1:]))}" if module.shape[1:] else ""
        lines.append(f"`{module.path}`, {module.kind}" + (f", {module.stage} the activation" if module.stage else ""))
        if module.kernels:
            lines.append(f"{module.kernels:,} kernels of {'x'.join(map(str, module.size)) or '1'}")
        if module.refused:
            lines.append(f"no target: {module.refused}")
    return "\n\n".join(lines)


def _module(modules: tuple[NamedModule, ...], name: str) -> NamedModule | None:
    return next((module for module in modules if name in (module.layer, module.path)), None)


def _image_set(analysis: Analysis, name: str) -> str:
    """Describe a set by its definition, and by its files if the spec compiles or comes with them."""
    known, bundled = definition(analysis.file, "images", name), vocabulary().images
    compiled = analysis.compiled
    sets: Mapping[str, Images] = bundled if isinstance(compiled, SpecError) else {**bundled, **compiled.plan.images}
    parts = [f"```circuit\n{known.node.span.text}\n```"] if known else []
    if name in sets:
        parts.append(_matches(sets[name], analysis.source.folder))
    elif known is not None and isinstance(known.node, syntax.Images):
        value = known.node.images.value
        if isinstance(value, (syntax.Path, syntax.String)):
            parts.append(_matches(Images([value.text]), known.file.source.folder))
    return "\n\n".join(parts)


def _matches(images: Images, folder: Path) -> str:
    """Return how many images a set has, with the first ones' names, or why there are none."""
    from circuitlang.engine.images.file_patterns import find

    if images.addresses:
        # An editor waits for no network.
        return "on the Hugging Face Hub: `circuitlang run` fetches them"
    try:
        files = find(images, folder)
    except (CircuitError, OSError) as error:
        return reason(error)
    names = ", ".join(f"`{file.name}`" for file in files[:_MOST])
    more = ", …" if len(files) > _MOST else ""
    return f"{len(files):,} image{'' if len(files) == 1 else 's'}: {names}{more}"


def _edit(analysis: Analysis, name: str, folders: tuple[Path, ...]) -> str:
    """Describe an edit by its definition, and by its last result."""
    from circuitlang.reporting.text.edit_sentences import claims
    from circuitlang.results.edits import read_edit

    known = definition(analysis.file, "edit", name)
    if known is None or not isinstance(known.node, syntax.Edit):
        return ""
    parts = [f"```circuit\n{known.node.span.text}\n```"]
    stem = Path(analysis.source.name).stem
    for folder in (analysis.source.folder, *folders):
        with suppress(InputError):
            parts += claims(read_edit(folder / "runs" / stem / f"{FOLDER}{name}"))
            return "\n\n".join(parts)
    return "\n\n".join([*parts, "no result in `runs`"])


def _circuit(analysis: Analysis, name: str, folders: tuple[Path, ...]) -> str:
    """Describe a circuit by its definition, and the last results of its members."""
    known = definition(analysis.file, "circuit", name)
    if known is None:
        return ""
    parts = [f"```circuit\n{known.node.span.text}\n```"]
    compiled = analysis.compiled
    members: list[Circuit] = []
    if not isinstance(compiled, SpecError):
        members = [circuit for circuit in compiled.plan.circuits if circuit.name == name]
    if len(members) > 1:
        parts.append(f"{len(members):,} circuits")
    results = last_results(analysis, folders)
    lines = [f"- {circuit.id}: {results[circuit.id]}" for circuit in members if circuit.id in results]
    parts += ["\n".join(lines[:_MOST])] if lines else ["no result in `runs`"]
    return "\n\n".join(parts)
