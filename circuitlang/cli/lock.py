"""`circuitlang lock`: the lock files of specs."""

from __future__ import annotations

from pathlib import Path

import click

from circuitlang.base.plain_files import is_there
from circuitlang.cli import completion
from circuitlang.cli.console import display, echo, exit_on_findings
from circuitlang.cli.parameters import PATH, allow_code, read_source, require_file, skip_unreadable


@click.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...", type=PATH, shell_complete=completion.specs)
@click.option("--existing", is_flag=True, help="Leave out specs that have no lock file yet.")
@click.option("--check", is_flag=True, help="Write nothing; fail if anything differs, or a branch of the Hub moved.")
@skip_unreadable
@allow_code
def lock(specs: tuple[Path, ...], existing: bool, check: bool, skip_unreadable: bool, allow_code: bool) -> None:
    """Record the content that the results of a SPEC depend on.

    The lock file lies beside the SPEC and has its meaning and hashes of the weights and of every image.
    `circuitlang run SPEC --locked` fails if anything differs from it. Repositories of the Hugging Face Hub are locked
    at the commit that their branch is now, and every run of the SPEC uses that commit.
    """
    for spec in specs:
        require_file(spec)
    with exit_on_findings():
        from circuitlang.engine.runtime.lockfile import lock_path

        for spec in specs:
            if not existing or is_there(lock_path(spec)):
                _lock(spec, check, skip_unreadable, allow_code)


def _lock(spec: Path, check: bool, skip_unreadable: bool, allow_code: bool) -> None:
    from circuitlang import pipeline
    from circuitlang.cli.run_output import NotePrinter
    from circuitlang.engine.runtime.lockfile import drifted, outdated
    from circuitlang.engine.runtime.options import Options
    from circuitlang.results.run_listener import Listeners

    with display() as shown:
        listener = Listeners(shown.listener, NotePrinter(shown))
        options = Options(skip_unreadable=skip_unreadable, allow_code=allow_code, listener=listener)
        path, before, now = pipeline.lock(read_source(spec, None), options, write=not check)
    images = sum(map(len, now.images.values()))
    weights = now.model.name or now.model.weights[:12]
    echo(f"{path}: {images} image{'' if images == 1 else 's'}, weights {weights}")
    for drift in [*drifted(before, now), *outdated(before.versions, now.versions)] if before else []:
        echo(f"  {drift.message}" + (f": {drift.label}" if drift.label else ""))
