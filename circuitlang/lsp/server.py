"""The language server: requests of an editor, answered by the functions of this package.

Requests are answered in order, from what is in memory and in small files. Diagnostics follow when typing pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method

from circuitlang.base.diagnostics import CircuitError
from circuitlang.lsp.completion import TRIGGERS, complete
from circuitlang.lsp.diagnostics import diagnostics
from circuitlang.lsp.documents import Documents, to_path
from circuitlang.lsp.hover import hover
from circuitlang.lsp.positions import offset

# Seconds without a keystroke after which mistakes are shown.
_PAUSE = 0.1


class _Protocol(LanguageServerProtocol):
    """The protocol with columns in UTF-16, which every editor has."""

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(self, params: types.InitializeParams) -> Generator[Any, Any, types.InitializeResult]:
        if params.capabilities.general is not None:
            params.capabilities.general.position_encodings = None
        return (yield from super().lsp_initialize(params))


class Server(LanguageServer):
    """A server and the buffers of its editor."""

    def __init__(self) -> None:
        super().__init__("circuitlang", version("circuitlang"), protocol_cls=_Protocol)
        self.documents = Documents()
        self._waiting: asyncio.TimerHandle | None = None
        for method, (handler, options) in HANDLERS.items():
            self.feature(method, options)(self.thread()(handler) if handler in _SLOW else handler)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that the editor has open."""
        paths = (to_path(folder.uri) for folder in self.workspace.folders.values())
        return tuple(path for path in paths if path is not None)

    def renew(self, pause: float = _PAUSE) -> None:
        """Publish the diagnostics of all buffers once there was no other call for a while."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = asyncio.get_running_loop().call_later(pause, self.publish)

    def publish(self) -> None:
        """Publish the diagnostics of all buffers: one may include another."""
        for uri in self.documents.uris:
            with suppress(CircuitError):
                found = diagnostics(self.documents.analysis(uri))
                self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found))


def opened(ls: Server, params: types.DidOpenTextDocumentParams) -> None:
    """Add a buffer."""
    ls.documents.open(params.text_document.uri, params.text_document.text)
    ls.renew(0)


def changed(ls: Server, params: types.DidChangeTextDocumentParams) -> None:
    """Apply what was typed."""
    ls.documents.change(params.text_document.uri, params.content_changes)
    ls.renew()


def saved(ls: Server, _params: types.DidSaveTextDocumentParams) -> None:
    """Renew the diagnostics: other files may have changed as well."""
    ls.renew(0)


def closed(ls: Server, params: types.DidCloseTextDocumentParams) -> None:
    """Drop a buffer and its diagnostics."""
    uri = params.text_document.uri
    ls.documents.close(uri)
    ls.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))
    ls.renew(0)


def files_changed(ls: Server, _params: types.DidChangeWatchedFilesParams) -> None:
    """Renew the diagnostics of buffers that include files which changed on the disk."""
    ls.renew(0)


def completion(ls: Server, params: types.CompletionParams) -> types.CompletionList | None:
    """Answer with the words that may stand at the cursor."""
    with suppress(CircuitError):
        analysis = ls.documents.analysis(params.text_document.uri)
        return types.CompletionList(False, complete(analysis, offset(analysis.source, params.position)))
    return None


def hovered(ls: Server, params: types.HoverParams) -> types.Hover | None:
    """Answer with what the word at the cursor stands for. In a thread of its own: image sets may be large."""
    with suppress(CircuitError):
        analysis = ls.documents.analysis(params.text_document.uri)
        return hover(analysis, offset(analysis.source, params.position), ls.folders)
    return None


# The functions that answer, and the options of their features.
HANDLERS: dict[str, tuple[Callable[..., Any], Any]] = {
    types.TEXT_DOCUMENT_DID_OPEN: (opened, None),
    types.TEXT_DOCUMENT_DID_CHANGE: (changed, None),
    types.TEXT_DOCUMENT_DID_SAVE: (saved, None),
    types.TEXT_DOCUMENT_DID_CLOSE: (closed, None),
    types.WORKSPACE_DID_CHANGE_WATCHED_FILES: (files_changed, None),
    types.TEXT_DOCUMENT_HOVER: (hovered, None),
    types.TEXT_DOCUMENT_COMPLETION: (completion, types.CompletionOptions(trigger_characters=list(TRIGGERS))),
}
# Those that may take long, and run beside the others.
_SLOW = (hovered,)
