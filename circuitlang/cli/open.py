"""`circuitlang open`: the diagram of a circuit, or the page of another result, in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from circuitlang.cli import completion
from circuitlang.cli.console import echo, exit_on_findings
from circuitlang.cli.parameters import PATH, allow_code
from circuitlang.cli.result_folder import made_folder, result_folder

if TYPE_CHECKING:
    from circuitlang.engine.runtime.options import Options

# Pages of a result, the first that is there is opened.
_PAGES = ("diagram.html", "report.html", "index.html", "diagram.svg", "overlay.svg", "report.txt")


@click.command()
@click.argument("name", shell_complete=completion.results)
@click.argument("circuit", required=False)
@click.option("--out", default="runs", show_default=True, type=PATH, help="Folder that has the results.")
@allow_code
def open(name: str, circuit: str | None, out: Path, allow_code: bool) -> None:
    """Open the diagram of a circuit in the browser.

    NAME is that of a circuit, split, comparison, edit or run, or its folder. CIRCUIT is one in a run, by its name or
    its target. The folder of a circuit in a packed run is made first. Without a diagram another page is opened. The
    path of the page is printed.
    """
    with exit_on_findings():
        page = _page(made_folder(result_folder(name, out, circuit), _options(allow_code)))
        echo(str(page))
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


def _options(allow_code: bool) -> Options:
    from circuitlang.engine.runtime.options import Options

    return Options(allow_code=allow_code)


def _page(folder: Path) -> Path:
    """Return the page of a result. Raises InputError if it has none."""
    from circuitlang.base.diagnostics import Finding, InputError

    for name in _PAGES:
        if (folder / name).is_file():
            return folder / name
    cure = "`circuitlang run` makes pages, unless --render leaves them out"
    raise InputError(Finding("E312", f"{folder} has no page", None, "", cure))
