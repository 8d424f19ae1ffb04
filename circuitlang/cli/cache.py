"""`circuitlang cache`: the cache of scores and responses."""

from __future__ import annotations

import click

from circuitlang.cli.console import echo, exit_on_findings


@click.command()
@click.option("--clear", is_flag=True, help="Remove the cache; the layers of known models are kept.")
def cache(clear: bool) -> None:
    """Show the size of the cache of scores and responses.

    Runs reuse what is in it. CIRCUITLANG_CACHE names another folder for it.
    """
    with exit_on_findings():
        from circuitlang.engine.cache import cache_files

        files, size = cache_files.held()
        if clear:
            cache_files.clear()
        content = f"{files:,} file{'' if files == 1 else 's'} of scores and responses, {size / 1e6:,.1f} MB"
        echo(f"{'removed ' if clear else ''}{content} in {cache_files.folder().parent}")
