"""Write the TextMate grammar of the language, which VS Code, GitHub and other editors highlight with.

`python editors/textmate.py` makes it from the rules that the lexer of Pygments has too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from circuitlang.compiler.keywords import Kind, rules

GRAMMAR = Path(__file__).parent / "vscode" / "syntaxes" / "circuit.tmLanguage.json"
SCOPES: Mapping[Kind, str] = {
    "argument": "variable.parameter",
    "call": "entity.name.function",
    "clause": "support.type.property-name",
    "comment": "comment.line.number-sign",
    "constant": "constant.language",
    "definition": "entity.name.type",
    "layer": "entity.name.class",
    "name": "variable.other",
    "number": "constant.numeric",
    "operator": "keyword.operator",
    "punctuation": "punctuation",
    "statement": "keyword.control",
    "string": "string.unquoted",
    "word": "keyword.other",
}


def grammar() -> str:
    """The grammar as JSON."""
    patterns = []
    for rule in rules():
        scopes = {
            str(group): {"name": f"{SCOPES[kind]}.circuit"}
            for group, kind in enumerate(rule.kinds, 1)
            if kind in SCOPES  # spaces have none
        }
        patterns.append({"match": rule.pattern, "captures": scopes})
    about = "Made by `python editors/textmate.py`; do not edit."
    content = {
        "information_for_contributors": [about],
        "name": "circuitlang",
        "scopeName": "source.circuit",
        "fileTypes": ["circuit"],
        "patterns": patterns,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    GRAMMAR.write_text(grammar(), encoding="utf-8")
