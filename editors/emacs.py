"""Write the keywords of the language for the mode of Emacs: `python editors/emacs.py`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from circuitlang.compiler.keywords import keywords

FILE = Path(__file__).parent / "emacs" / "circuit-keywords.el"
_ABOUT = {
    "statements": "Words that begin statements.",
    "words": "Other words of the grammar.",
    "calls": "Words of the language that take arguments.",
    "clauses": "Names of clauses and metrics.",
    "constants": "Values, and names of built-in extensions.",
}


def lists() -> str:
    """Return the lists of keywords as Emacs Lisp."""
    parts = [
        ";;; circuit-keywords.el --- Keywords of circuit specs  -*- lexical-binding: t; -*-",
        ";;; Commentary:\n\n;; Made by `python editors/emacs.py'; do not edit.",
        ";;; Code:",
    ]
    for name, words in asdict(keywords()).items():
        quoted = "\n    ".join(f'"{word}"' for word in words)
        parts.append(f'(defconst circuit-{name}\n  \'({quoted})\n  "{_ABOUT[name]}")')
    return "\n\n".join([*parts, "(provide 'circuit-keywords)\n;;; circuit-keywords.el ends here\n"])


if __name__ == "__main__":
    FILE.write_text(lists(), encoding="utf-8")
