"""Syntax nodes of the trees that the parser gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from lark import Token, Tree

from circuitlang.base.source import Source, Span
from circuitlang.compiler import syntax


def syntax_node(source: Source, tree: Tree[Token], shift: int = 0) -> Any:
    """Build the node of a tree from the nodes in it, or from its word where its rule is one word.

    `shift` is the distance to the place at which the tree was read.
    """
    children = tree.children
    if word := _WORDS.get(tree.data):
        token: Any = children[0]
        return word(Span(source, token.start_pos + shift, token.end_pos + shift), token)
    first: Any = None
    last: Any = None
    # Tokens are keywords or punctuation, which no node has.
    parts = []
    for child in children:
        last = child
        if isinstance(child, Tree):
            last = syntax_node(source, child, shift)
            parts.append(last)
        first = first or last
    return _NODES[tree.data](Span(source, _start(first, shift), _end(last, shift)), *parts)


def _start(node: syntax.Node | Token, shift: int) -> int:
    return (node.start_pos or 0) + shift if isinstance(node, Token) else node.span.start


def _end(node: syntax.Node | Token, shift: int) -> int:
    return (node.end_pos or 0) + shift if isinstance(node, Token) else node.span.end


def _feature(span: Span, *nodes: syntax.Term | Token) -> syntax.Feature:
    signed = [(before, node) for before, node in pairwise((None, *nodes)) if isinstance(node, syntax.Term)]
    terms = (syntax.Term(term.span, before == "-", term.coefficient, term.of) for before, term in signed)
    return syntax.Feature(span, tuple(terms))


def _selection(span: Span, value: syntax.Value, *rest: Any) -> syntax.Selection:
    excluded = next((part for part in rest if not isinstance(part, syntax.Transform)), None)
    return syntax.Selection(span, value, excluded, tuple(part for part in rest if isinstance(part, syntax.Transform)))


def _model(span: Span, called: syntax.Call | syntax.Name) -> syntax.Model:
    return syntax.Model(span, called if isinstance(called, syntax.Call) else syntax.Call(called.span, called, ()))


def _measure(span: Span, name: syntax.Name, *parts: Any) -> syntax.Measure:
    *inside, suffix = parts or ("",)
    feature = next((part for part in inside if isinstance(part, syntax.Feature)), None)
    return syntax.Measure(span, name, () if feature else tuple(inside), str(suffix), feature)


def _edit(span: Span, name: syntax.Name, of: Any, *parts: Any) -> syntax.Edit:
    images = next(part for part in parts if isinstance(part, syntax.Selection))
    clauses = tuple(part for part in parts if isinstance(part, syntax.Clause))
    measured = tuple(part for part in parts if isinstance(part, syntax.Feature))
    return syntax.Edit(span, name, of, images, clauses, measured)


# Nodes of rules with one word. Some are no nodes and stay tokens, which have a place.
_WORDS: Mapping[str, Callable[[Span, Token], syntax.Node | Token]] = {
    "name": lambda span, word: syntax.Name(span, str(word)),
    "layers": lambda span, word: syntax.Name(span, str(word)),
    "number": lambda span, word: syntax.Number(span, str(word)),
    "string": lambda span, word: syntax.String(span, str(word)[1:-1]),
    "path": lambda span, word: syntax.Path(span, str(word)),
    "every": lambda span, _: syntax.Every(span),
    "sign": lambda _, word: word,
    "relation": lambda _, word: word,
    "suffix": lambda _, word: word,
}
# Nodes of all other rules, from the nodes in them; optional ones are last, except a coefficient.
_NODES: Mapping[str, Callable[..., syntax.Node]] = {
    "range": syntax.Range,
    "list": lambda span, *items: syntax.List(span, items),
    "keyword": syntax.Keyword,
    "call": lambda span, name, *arguments: syntax.Call(span, name, arguments),
    "position": lambda span, *at: syntax.Position(span, *at, None) if len(at) == 1 else syntax.Position(span, None, at),
    "target": lambda span, layer, unit, position=None: syntax.Target(span, layer, unit, position),
    "contrasted": syntax.Contrasted,
    "concept": lambda span, name, sets, *words: syntax.Concept(span, name, sets, words),
    "located": lambda span, call, layer, position=None: syntax.Located(span, call, layer, position),
    "term": lambda span, *parts: syntax.Term(span, False, parts[0] if len(parts) == 2 else None, parts[-1]),
    "feature": _feature,
    "selection": _selection,
    "transform": syntax.Transform,
    "clause": lambda span, name, relation, value: syntax.Clause(span, name, str(relation), value),
    "model": _model,
    "images": lambda span, name, images, *clauses: syntax.Images(span, name, images, clauses),
    "direction": syntax.Direction,
    "defaults": lambda span, *clauses: syntax.Defaults(span, clauses),
    "preserve": lambda span, feature, images, *clauses: syntax.Preserve(span, feature, images, clauses),
    "split": lambda span, feature, images, into, *clauses: syntax.Split(span, feature, images, into, clauses),
    "circuit": syntax.Circuit,
    "kernel": syntax.Kernel,
    "edit": _edit,
    "member": lambda span, name, *values: syntax.Member(span, name, values),
    "measure": _measure,
    "compare": lambda span, *members: syntax.Compare(span, members),
    "expect": lambda span, measure, relation, value: syntax.Expect(span, measure, str(relation), value),
    "include": lambda span, path, namespace=None: syntax.Include(span, path, namespace),
    "label": syntax.Label,
    "group": syntax.Group,
}
