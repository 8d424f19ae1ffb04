"""Write what of the tree-sitter grammar follows from the language: the words that begin statements, the queries that
editors highlight with, and the corpus of its tests.

`python editors/treesitter.py` makes them. The parser itself, `src/parser.c`, is made by `tree-sitter generate
--no-bindings` in the folder, after a change to `grammar.js`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lark import Token, Tree

from circuitlang.base.source import Source
from circuitlang.compiler.grammar import parser
from circuitlang.compiler.keywords import keywords
from circuitlang.compiler.parser import STATEMENTS, parse

FOLDER = Path(__file__).parent / "tree-sitter-circuit"
CASES = Path(__file__).parent.parent / "tests" / "compiler" / "golden"
_MADE = "Made by `python editors/treesitter.py`; do not edit."
_WIDTH = 110
# A golden case is a spec and what is expected of it.
_EXPECTED = "\n=== expect ==="

_QUERIES = """\
; {made}

(comment) @comment
[(string) (path)] @string
(number) @number
[(relation) (sign) (every) "=" ".." "*" "<-"] @operator
["(" ")" "[" "]" "{{" "}}"] @punctuation.bracket
["," ":" "@"] @punctuation.delimiter
[{keywords}] @keyword

(name) @variable
(suffix) @variable
(call (name) @function)
([(call (name) @keyword) (concept (name) @keyword)]
 (#match? @keyword "^({calls})$"))
(model [(name) (call (name))] @type)
(target . [(name) (layers) (string)] @type)
(position (name) @constant.builtin)
(transform [(name) @constant.builtin (call (name) @constant.builtin)])
((clause (name) @property)
 (#match? @property "^((train|test|contrast)[.])?({clauses})$"))
(keyword (name) @variable.parameter)
(circuit (name) @type.definition)
(edit (name) @type.definition)
(images (name) @type.definition)
(direction (name) @type.definition)
([(clause (_) (relation) (name) @constant.builtin)
  (clause (_) (relation) (call (name) @constant.builtin))
  (clause (_) (relation) (list (name) @constant.builtin))
  (call (_) (name) @constant.builtin)
  (call (_) (call (name) @constant.builtin))
  (keyword (_) (name) @constant.builtin)
  (split (name) @constant.builtin)]
 (#match? @constant.builtin "^({constants})$"))
"""


def files() -> dict[Path, str]:
    """Return the texts of the files that are made."""
    return {
        FOLDER / "src" / "statements.h": statements(),
        FOLDER / "queries" / "highlights.scm": queries(),
        FOLDER / "test" / "corpus" / "golden.txt": corpus(),
    }


def statements() -> str:
    """Return the words that begin statements, for the scanner."""
    words = ", ".join(f'"{word}"' for word in STATEMENTS)
    longest = max(map(len, STATEMENTS))
    lines = [f"// {_MADE}", "", "// clang-format off"]
    return "\n".join([*lines, f"static const char *const STATEMENTS[] = {{{words}}};",
                      f"enum {{ LONGEST_STATEMENT = {longest} }};", ""])  # fmt: skip


def queries() -> str:
    """Return the queries by which editors highlight."""
    known = keywords()
    words = " ".join(f'"{word}"' for word in sorted({*known.statements, *known.words}))
    return _QUERIES.format(
        made=_MADE,
        keywords=words,
        calls="|".join(known.calls),
        clauses="|".join(known.clauses),
        constants="|".join(known.constants),
    )


def corpus() -> str:
    """Return tests as `tree-sitter test` reads them: the statements of each golden case, and their trees by Lark."""
    cases = []
    for path in sorted(CASES.glob("*/*.case")):
        text = path.read_text(encoding="utf-8").partition(_EXPECTED)[0]
        sound = [span for span in spans(text) if "#" not in span]
        if sound:
            tree = f"(source_file {' '.join(map(expression, sound))})"
            rule = "=" * 80
            cases.append(
                f"{rule}\n{path.parent.name}/{path.stem}\n{rule}\n\n" + "\n".join(sound) + f"\n\n{'-' * 80}\n\n{tree}\n"
            )
    return "\n".join(cases)


def spans(text: str) -> Iterator[str]:
    """Yield the statements of a spec that can be read."""
    for statement in parse(Source("spec", text)).statements:
        yield statement.span.text


def expression(text: str) -> str:
    """Return the tree of a statement by Lark, as tree-sitter prints trees."""
    return _expression(parser().parse(text))


def _expression(tree: Tree[Token]) -> str:
    children = (_expression(child) for child in tree.children if isinstance(child, Tree))
    return f"({' '.join((str(tree.data), *children))})"


if __name__ == "__main__":
    written: Mapping[Path, str] = files()
    for file, content in written.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
