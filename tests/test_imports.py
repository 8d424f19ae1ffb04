"""No file of the package needs, by whatever ways, one that needs it; imports for types and within functions count."""

import ast
from pathlib import Path

import networkx as nx

PACKAGE = Path(__file__).parents[1] / "circuitlang"


def module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, known: set[str]) -> set[str]:
    """The modules that a file takes names from; a package stands for its own file alone."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & known or {node.module}
    return found & known


def test_no_files_need_each_other():
    files = {module(path): path for path in PACKAGE.rglob("*.py")}
    needs = nx.DiGraph()
    for name, path in files.items():
        needs.add_edges_from((name, other) for other in imported(ast.parse(path.read_text()), {*files}) - {name})
    # The package itself is what its users import; its own files import it for its version, at most.
    needs.remove_node("circuitlang")
    assert [sorted(circle) for circle in nx.strongly_connected_components(needs) if len(circle) > 1] == []
