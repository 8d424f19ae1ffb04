"""`circuitlang open`: the diagram of a circuit, or the page of another result, in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from circuitlang.cli import completion
from circuitlang.cli.console import echo, exit_on_findings
from circuitlang.cli.parameters import PATH
from circuitlang.cli.result_folder import result_folder

# Pages of a result, the first that is there is opened.
_PAGES = ("diagram.html", "report.html", "index.html", "diagram.svg", "overlay.svg", "report.txt")


@click.command()
@click.argument("name", shell_complete=completion.results)
@click.option("--out", default="runs", show_default=True, type=PATH, help="Folder that has the results.")
def open(name: str, out: Path) -> None:
    """Open the diagram of a circuit in the browser.

    NAME is that of a circuit, split, comparison or run, or its folder. Without a diagram another page is opened. The
    path of the page is printed.
    """
    with exit_on_findings():
        page = _page(result_folder(name, out))
        echo(str(page))
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


def _page(folder: Path) -> Path:
    """Return the page of a result. Raises InputError if it has none."""
    from circuitlang.base.diagnostics import Finding, InputError

    for name in _PAGES:
        if (folder / name).is_file():
            return folder / name
    cure = "`circuitlang run` makes pages, unless --render leaves them out"
    raise InputError(Finding("E312", f"{folder} has no page", None, "", cure))
