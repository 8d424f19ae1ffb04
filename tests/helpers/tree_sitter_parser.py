"""The tree-sitter grammar as a parser of Python, compiled from its C files."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

from tree_sitter import Language, Node

from tests.conftest import ROOT

FOLDER = ROOT / "editors" / "tree-sitter-circuit"


def build(compiler: str, folder: Path) -> Language:
    """Compile the parser into a folder and load it."""
    sources = [str(FOLDER / "src" / name) for name in ("parser.c", "scanner.c")]
    library = folder / "circuit.so"
    strict = ["-Wall", "-Wextra", "-Werror"]
    command = [compiler, "-shared", "-fPIC", "-O0", *strict, f"-I{FOLDER / 'src'}", "-o", str(library), *sources]
    subprocess.run(command, check=True)
    function = ctypes.CDLL(str(library)).tree_sitter_circuit
    function.restype = ctypes.c_void_p
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype = ctypes.py_object
    capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return Language(capsule(function(), b"tree_sitter.Language", None))


def expression(node: Node) -> str:
    """Return the tree of a node as tree-sitter prints it, without comments."""
    children = [expression(child) for child in node.named_children if child.type != "comment"]
    return f"({' '.join((node.type, *children))})"
