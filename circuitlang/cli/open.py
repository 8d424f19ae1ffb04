"""`circuitlang open`: the diagram of a circuit, or the page of another result, in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from circuitlang.cli.console import echo, exit_on_findings
from circuitlang.cli.parameters import PATH

# Pages of a result, the first that is there is opened.
_PAGES = ("diagram.html", "report.html", "index.html", "diagram.svg", "overlay.svg", "report.txt")


@click.command()
@click.argument("name")
@click.option("--out", default="runs", show_default=True, type=PATH, help="Folder that has the results.")
def open(name: str, out: Path) -> None:
    """Open the diagram of a circuit in the browser.

    NAME is that of a circuit, split, comparison or run, or its folder. Without a diagram another page is opened. The
    path of the page is printed.
    """
    with exit_on_findings():
        page = _page(_place(name, out))
        echo(str(page))
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


def _place(name: str, out: Path) -> Path:
    """Return the folder of a name. Raises InputError unless it is one."""
    from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
    from circuitlang.base.source import unfit
    from circuitlang.results.run_folders import result_names, results_named

    if not unfit(name) and Path(name).is_dir():
        return Path(name)
    places = results_named(name, out)
    if len(places) == 1:
        return places[0]
    if places:
        cure = f"name its folder: {listing([str(place) for place in places], 'or')}"
        raise InputError(Finding("E312", f"several results are named {name}", None, "", cure))
    cure = did_you_mean(name, result_names(out), f"`circuitlang show {out}` lists runs")
    raise InputError(Finding("E312", f"no result in {out} is named {name}", None, "", cure))


def _page(folder: Path) -> Path:
    """Return the page of a result. Raises InputError if it has none."""
    from circuitlang.base.diagnostics import Finding, InputError

    for name in _PAGES:
        if (folder / name).is_file():
            return folder / name
    cure = "`circuitlang run` makes pages, unless --render leaves them out"
    raise InputError(Finding("E312", f"{folder} has no page", None, "", cure))
