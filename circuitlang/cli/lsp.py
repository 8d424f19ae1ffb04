"""`circuitlang lsp`: the language server, which an editor starts."""

from __future__ import annotations

import gc

import click

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.cli.console import exit_on_findings


@click.command()
def lsp() -> None:
    """Serve an editor with mistakes, completion and more.

    The editor starts it, and speaks the Language Server Protocol over standard input and output. It needs
    `pip install 'circuitlang[lsp]'`.
    """
    with exit_on_findings():
        try:
            from circuitlang.lsp.server import Server
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in ("pygls", "lsprotocol"):
                raise
            cure = "pip install 'circuitlang[lsp]'"
            raise InputError(Finding("E361", "pygls is not installed", None, "the server needs it", cure)) from None
        # Looking for garbage among the trees of a large file takes longer than a keystroke; it is done on saving.
        gc.disable()
        Server().start_io()
