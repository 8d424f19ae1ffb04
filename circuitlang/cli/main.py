"""The command line `circuitlang`: the group of its commands, each in the file of its name.

A command's file is imported when the command is called, and torch by those that compute. Exit codes: 0 success,
1 findings, 2 usage, 70 an internal error, 130 interrupted.
"""

from __future__ import annotations

import signal
from importlib import import_module
from types import FrameType
from typing import Any

import click

from circuitlang.cli.console import exit_on_findings
from circuitlang.cli.process_setup import boundary

# The first sentence of each command's help. `circuitlang --help` prints these without importing any command.
COMMANDS = {
    "atlas": "Write a site about all channels of a RUN.",
    "cache": "Show the size of the cache of scores and responses.",
    "check": "Report the mistakes in each SPEC without loading a model.",
    "compare": "Measure what finished circuits have in common.",
    "criteria": "List the criteria, ablations, metrics, tests and transforms.",
    "diff": "Show what differs in meaning between A and B.",
    "explain": "Explain the CODE of a finding, or a NAME.",
    "export": "Export a finished CIRCUIT to a FILE.",
    "fmt": "Format each SPEC without changing its meaning.",
    "index": "Write a page with the circuits of several runs.",
    "init": "Write a first spec with its images into a FOLDER.",
    "layers": "List what a target may name in a MODEL.",
    "lock": "Record the content that the results of a SPEC depend on.",
    "lsp": "Serve an editor with mistakes, completion and more.",
    "models": "List the model sources and the names of known models.",
    "open": "Open the diagram of a circuit in the browser.",
    "plan": "Show what a SPEC would compute, what is finished, and the cost.",
    "pull": "Copy results from the Hugging Face Hub into a new FOLDER.",
    "push": "Put a finished RUN into a repository of the Hugging Face Hub.",
    "run": "Compute the circuits of a SPEC or plan.yaml.",
    "show": "Print the report of a result.",
    "status": "Show how far a RUN is, and who computes what of it.",
}


class LazyCommand(click.Command):
    """A command whose file is imported when it is called."""

    def __init__(self, name: str, summary: str) -> None:
        super().__init__(name, short_help=summary)

    def load(self) -> click.Command:
        """Import the command from the file of its name."""
        with exit_on_findings():
            module = import_module(f"circuitlang.cli.{self.name}")
        command = getattr(module, str(self.name))
        assert isinstance(command, click.Command)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        return self.load().make_context(info_name, args, parent, **extra)


class Program(click.Group):
    """The group of all commands; `boundary` turns unexpected errors into messages and exit codes."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        with boundary():
            return super().main(*arguments, **options)


@click.group(
    cls=Program,
    commands=[LazyCommand(name, summary) for name, summary in COMMANDS.items()],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="circuitlang")
def main() -> None:
    """Feature-preserving circuits in CNNs: say what must be preserved, get the circuit.

    \b
    circuitlang run -e 'preserve conv5:34 on bundled.dogs keep<=10%'
    """
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Handle SIGTERM like Ctrl-C, so that unfinished work is cleaned up."""
    raise KeyboardInterrupt
