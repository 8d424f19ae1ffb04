"""Arguments and options that several commands share."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import click

from circuitlang.base.source import Source, unfit
from circuitlang.compiler.sources import open_source

# The values of --visualise.
_COUNT = re.compile(r"none|all|\d+")


class SafePath(click.Path):
    """A path; text that can't be one, such as text with a null byte, is a usage error."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and (problem := unfit(value)):
            self.fail(problem, param, ctx)
        return super().convert(value, param, ctx)


class VisualisingCommand(click.Command):
    """A command in which `--visualise` without a value stands for all."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        pairs = itertools.zip_longest(args, args[1:], fillvalue="")
        bare = [word == "--visualise" and not _COUNT.fullmatch(following) for word, following in pairs]
        return super().parse_args(
            ctx, [f"{word}=all" if alone else word for word, alone in zip(args, bare, strict=True)]
        )


PATH = SafePath(path_type=Path)
FILE = SafePath(path_type=Path, dir_okay=False)

allow_code = click.option("--allow-code", is_flag=True, help="Run the Python file that a model statement names.")
visualise = click.option(
    "--visualise",
    metavar="[none|all|N]",
    help="Visualise every channel, N of those of the strongest paths, or nothing; by default as many as take seconds.",
)
skip_unreadable = click.option("--skip-unreadable", is_flag=True, help="Skip unreadable images.")


def read_source(spec: Path | None, text: str | None) -> Source:
    """Return the source that a command was given as a file or, with -e, as text.

    Raises click.UsageError unless exactly one is given, InputError if the file can't be read.
    """
    if (spec is None) == (text is None):
        there = next(iter(sorted(Path().glob("*.circuit"))), None)
        example = f" such as {there}," if there and spec is None else ""
        raise click.UsageError(f"give a SPEC file,{example} or text with -e")
    if text is not None:
        return Source("<-e>", text)
    assert spec is not None
    return open_source(spec)


def require_file(spec: Path | None) -> Path:
    """Return the path of a spec that must be a file because a lock file lies beside it. Raises click.UsageError."""
    if spec is None or str(spec) == "-":
        raise click.UsageError("only a file can be locked")
    return spec
