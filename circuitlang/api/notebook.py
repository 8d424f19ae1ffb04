"""Cell magic `%%circuit`: a cell with a spec, run with objects of the notebook.

IPython is only used by way of the shell that loads the extension.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from circuitlang.api.running import ObjectArguments, run_source
from circuitlang.api.runs import Run
from circuitlang.base.source import Source

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class _Parser(argparse.ArgumentParser):
    """Parser of a magic's line; mistakes are errors of the cell, and don't end the process."""

    def error(self, message: str) -> NoReturn:
        from IPython.core.error import UsageError

        raise UsageError(f"%%circuit: {message}\n{self.format_usage().rstrip()}")


def register(shell: InteractiveShell) -> None:
    """Add the cell magic `%%circuit` to a shell."""

    def circuit(line: str, cell: str) -> Run:
        return _run(shell, shlex.split(line), cell)

    circuit.__doc__ = f"Run the spec in this cell.\n\n{_parser().format_help()}"
    # IPython types the function as a method of its own.
    shell.register_magic_function(circuit, "cell", "circuit")  # type: ignore[arg-type]


def _parser() -> _Parser:
    parser = _Parser(prog="%%circuit", add_help=False, allow_abbrev=False)
    parser.add_argument("name", nargs="?", default="", help="variable for the circuits, and name of their folder")
    parser.add_argument("--model", metavar="VARIABLE", help="a module in place of the model of the spec")
    parser.add_argument("--images", metavar="SET[=VARIABLE]", nargs="+", default=[], help="image sets of the notebook")
    parser.add_argument(
        "--preprocess", metavar="VARIABLE", help="the preparation of images, as `circuitlang.run` takes it"
    )
    parser.add_argument("--out", default="runs", metavar="FOLDER", help="folder for the results (default: runs)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N, mps or auto")
    return parser


def _run(shell: InteractiveShell, arguments: Sequence[str], cell: str) -> Run:
    """Run the spec of a cell with progress, assign the run to its variable, and return it. Raises CircuitError."""
    from circuitlang.engine.runtime.options import Options
    from circuitlang.engine.runtime.work_selection import WorkSelection

    parser = _parser()
    options = parser.parse_args(arguments)
    name: str = options.name
    if name and not name.isidentifier():
        parser.error(f"'{name}' can't be the name of a variable")

    def variable(title: str) -> object:
        if title not in shell.user_ns:
            parser.error(f"there is no variable '{title}'")
        value: object = shell.user_ns[title]
        return value

    pairs = [(left, right or left) for left, _, right in (entry.partition("=") for entry in options.images)]
    objects = ObjectArguments(
        model=variable(options.model) if options.model else None,
        images={title: variable(source) for title, source in pairs} or None,
        preprocess=variable(options.preprocess) if options.preprocess else None,
    )
    source = Source(f"{name}.circuit" if name else "<cell>", cell)
    run = run_source(source, Path(options.out), Options(device=options.device), WorkSelection(), objects, progress=True)
    if name:
        shell.user_ns[name] = run
    return run
