"""The nodes of a syntax tree at a place."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from circuitlang.compiler import syntax


def nodes_at(file: syntax.File, offset: int) -> list[syntax.Node]:
    """Return the nodes around a place, from the statement to the innermost; none between statements."""
    nodes: list[syntax.Node] = []
    inside: list[syntax.Node] = list(file.statements)
    while (node := next((node for node in inside if node.span.start <= offset <= node.span.end), None)) is not None:
        nodes.append(node)
        touching = [child for child in children(node) if child.span.start <= offset <= child.span.end]
        # If two touch at the place, the one that begins there counts.
        inside = touching[-1:]
    return nodes


def children(node: syntax.Node) -> Iterator[syntax.Node]:
    """Yield the nodes directly in a node, in the order of the text."""
    for field in msgspec.structs.fields(type(node)):
        value = getattr(node, field.name)
        if isinstance(value, syntax.Node):
            yield value
        elif isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, syntax.Node))


def walk(node: syntax.Node) -> Iterator[syntax.Node]:
    """Yield a node and all nodes in it."""
    yield node
    for child in children(node):
        yield from walk(child)
