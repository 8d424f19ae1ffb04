"""Docstrings and comments are plain: no opening that makes a sentence hard to read, and no old words.

Tests use public names alone: what is private can change without one of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

OPENINGS = ("What", "Of", "How", "Whether", "Where", "By", "That", "Within", "Who", "When")
# Names of classes and functions that were replaced, in code and documentation.
OLD_WORDS = ("Shelf", "Passage", "Heads", "Observation", "Removable", "witness", "rival", "rivals", "visions")
# Words that people no longer read, in pages and in the sentences of reports: the glossary has the ones instead of them.
OLD_PHRASES = ("pictures?", "as large, chosen so", "less the circuit", "live path", "can't be handled is refused")

# Private names of PyTorch and timm that the project has too, or sets.
OTHERS = {"_builder", "_reversed_padding_repeated_twice", "_version"}
PROSE = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "examples/*.md", "examples/*.circuit", "specs/**/*.md",
         "specs/**/*.circuit", "circuitlang/base/error_codes/*.md", "circuitlang/bundled/*.md")  # fmt: skip


def docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield text


def comments(path: Path) -> Iterator[str]:
    """Yield comments that stand on lines of their own, those of several lines as one."""
    block: list[str] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        if line.lstrip().startswith("# "):
            block.append(line.strip().removeprefix("# "))
        elif block:
            yield " ".join(block)
            block = []


def riddles(path: Path) -> int:
    return sum(text.split(maxsplit=1)[0].rstrip(",.:") in OPENINGS for text in docstrings(path))


FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.joinpath("circuitlang").rglob("*.py"))


@pytest.mark.parametrize("name", FILES)
def test_docstrings_open_plainly(name: str) -> None:
    assert riddles(ROOT / name) == 0, f"docstrings open with one of {', '.join(OPENINGS)}"


@pytest.mark.parametrize("name", FILES)
def test_comments_open_plainly(name: str) -> None:
    """A comment may begin with when something holds."""
    openings = set(OPENINGS) - {"When"}
    assert [text for text in comments(ROOT / name) if text.split(maxsplit=1)[0].rstrip(",.:") in openings] == []


@pytest.mark.parametrize("name", FILES)
def test_variables_are_called_by_nouns(name: str) -> None:
    tree = ast.parse(ROOT.joinpath(name).read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    assert not names & {"each", "told", "found", "given"}


@pytest.mark.parametrize("word", OLD_WORDS)
def test_old_words_do_not_come_back(word: str) -> None:
    pattern = re.compile(rf"(?<![\w]){re.escape(word)}(?![\w])")
    assert [name for name in FILES if pattern.search(ROOT.joinpath(name).read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("phrase", OLD_PHRASES)
def test_old_phrases_do_not_come_back_in_pages(phrase: str) -> None:
    pages = {path: path.read_text(encoding="utf-8") for name in PROSE for path in ROOT.glob(name)}
    assert [str(path) for path, text in pages.items() if old(phrase, text)] == []


@pytest.mark.slow
@pytest.mark.parametrize("phrase", OLD_PHRASES)
def test_old_phrases_do_not_come_back_in_messages(phrase: str) -> None:
    """Checks texts of more than a word, as what is one word may be a key of a file."""
    messages = {name: texts(ROOT / name) for name in FILES}
    assert [name for name, found in messages.items() if any(old(phrase, text) for text in found if " " in text)] == []


def old(phrase: str, text: str) -> bool:
    return re.search(rf"\b{phrase}\b", text, re.IGNORECASE) is not None


def texts(path: Path) -> list[str]:
    """Return the texts of a module that aren't docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose
    ]


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("_")


def names(path: Path) -> Iterator[str]:
    """Yield the names that a module defines: of functions, classes, variables and attributes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name
            case ast.Name(ctx=ast.Store()):
                yield node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr


def private_uses(path: Path) -> Iterator[str]:
    """Yield the private names that a module of tests imports, reads of something else than `self`, or replaces."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module=str(module), names=aliases) if module.split(".")[0] == "circuitlang":
                yield from (each.name for each in aliases)
            case ast.Attribute(value=value, attr=name) if not (isinstance(value, ast.Name) and value.id == "self"):
                yield name
            case ast.Call(func=ast.Attribute(attr="setattr"), args=[ast.Constant(value=str(place)), *_]):
                yield place.rpartition(".")[2]
            case ast.Call(func=ast.Attribute(attr="setattr"), args=[_, ast.Constant(value=str(name)), *_]):
                yield name


@pytest.mark.slow
def test_tests_use_no_private_names() -> None:
    """Private names of other packages are their own affair, unless the project has one that is called the same."""
    own = {name for path in FILES for name in names(ROOT / path) if private(name)} - OTHERS
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in ROOT.joinpath("tests").rglob("*.py")
        for name in {name for name in private_uses(path) if private(name)} & own - set(names(path))
    }
    assert sorted(found) == []


def test_a_private_name_is_noticed(tmp_path: Path) -> None:
    tmp_path.joinpath("a.py").write_text(
        "from circuitlang.base import _one\nx._two()\npatch.setattr('a.b._three', 1)\npatch.setattr(a, '_four', 1)\n"
        "self._five()\nx._repr_html_()\n"
    )
    found = {name for name in private_uses(tmp_path / "a.py") if private(name)}
    assert found == {"_one", "_two", "_three", "_four"}


def test_an_old_phrase_is_noticed(tmp_path: Path) -> None:
    tmp_path.joinpath("a.py").write_text('def f():\n    """Of pictures."""\n    return "no pictures here"\n')
    assert [old("pictures?", text) for text in texts(tmp_path / "a.py")] == [True]
    assert not old("live path", "alive paths")


def test_an_opening_is_noticed(tmp_path: Path) -> None:
    tmp_path.joinpath("a.py").write_text(
        '"""Of this."""\ndef f():\n    """Whether it is so."""\n\ndef g():\n    """Return it."""\n'
    )
    assert riddles(tmp_path / "a.py") == 2
