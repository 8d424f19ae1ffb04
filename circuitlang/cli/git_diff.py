"""Changes of specs as git shows them: differences in meaning, or in lines where a side has mistakes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from circuitlang.base.diagnostics import CircuitError
from circuitlang.base.source import Source
from circuitlang.cli.console import echo, stdout
from circuitlang.cli.fmt import print_diff
from circuitlang.compiler.sources import open_source
from circuitlang.pipeline import compile_source
from circuitlang.plan.diff import Side
from circuitlang.reporting.terminal.diff_report import DiffInput, compare, render


def git_diff(arguments: Sequence[Path]) -> None:
    """Print a change of a spec, by the arguments that git calls an external diff driver with.

    They are the path, a file of the old content with its hash and mode, and the same of the new one; after a rename
    also the new path. Of an unmerged file it is the path alone. Both contents are read as if they were at the path, so
    that paths in them have the same meaning.

    Raises:
        InputError: If a content can't be read.

    Reference:
        https://git-scm.com/docs/git#Documentation/git.txt-codeGITEXTERNALDIFFcode
    """
    if len(arguments) < 7:
        echo(f"unmerged {' '.join(map(str, arguments))}")
        return
    path, old, _, _, new, *_ = arguments
    sides = [_source(path, old), _source(arguments[7] if len(arguments) > 7 else path, new)]
    echo(" ".join(["circuitlang diff", *dict.fromkeys(source.name for source in sides)]))
    try:
        before, after = (_side(source) for source in sides)
    except CircuitError:
        # A spec that was added, deleted or has mistakes has nothing to compare.
        print_diff(sides[1].name, *(source.text for source in sides))
        return
    console = stdout()
    console.print(render(compare(before, after)), soft_wrap=not console.is_terminal)


def _source(path: Path, content: Path) -> Source:
    text = "" if str(content) == os.devnull else open_source(content).text
    return Source(str(path), text, path.parent)


def _side(source: Source) -> DiffInput:
    compiled = compile_source(source)
    return DiffInput(Side(compiled.plan, compiled.origins, compiled.folder))
