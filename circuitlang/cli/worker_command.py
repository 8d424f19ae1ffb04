"""The command of a process that takes a share of a run that was begun by another command."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

# Options about the terminal of one process and about where circuits are computed, and those that are written anew.
_OWN = {"specs", "text", "out", "on", "workers", "on_set", "shared", "jobs", "progress", "detail", "junit", "summary"}


def worker_command(context: click.Context, spec: Path | None, out: Path) -> tuple[str, ...]:
    """Return the command with which a process shares the run of a spec; empty for text that is in no file."""
    if spec is None or str(spec) == "-":
        return ()
    own = ["--out", str(out.absolute()), "--shared", "--progress", "plain"]
    return (sys.executable, "-m", "circuitlang", "run", str(spec.absolute()), *own, *_options(context))


def _options(context: click.Context) -> list[str]:
    """Return the other options of the command, as they were written."""
    words: list[str] = []
    for parameter in context.command.params:
        if not isinstance(parameter, click.Option) or parameter.name is None or parameter.name in _OWN:
            continue
        if context.get_parameter_source(parameter.name) is ParameterSource.DEFAULT:
            continue
        value = context.params[parameter.name]
        if parameter.is_flag:
            words += [parameter.opts[0]] if value else []
            continue
        for one in value if parameter.multiple else [value]:
            words += [parameter.opts[0], str(one)]
    return words
