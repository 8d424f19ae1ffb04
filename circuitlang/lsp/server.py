"""The language server: requests of an editor, answered by the functions of this package.

Requests are answered in order, from what is in memory and in small files. Diagnostics follow when typing pauses.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Generator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInternalError, JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method

from circuitlang.base.diagnostics import CircuitError, reason
from circuitlang.lsp import commands, navigation
from circuitlang.lsp.actions import LOOK, code_actions
from circuitlang.lsp.completion import TRIGGERS, complete, warm_up
from circuitlang.lsp.diagnostics import diagnostics
from circuitlang.lsp.documents import Analysis, Documents, to_path
from circuitlang.lsp.formatting import folding_ranges, format_edits
from circuitlang.lsp.hover import hover
from circuitlang.lsp.lenses import OPEN, PLAN, RUN, hints, lenses
from circuitlang.lsp.positions import offset
from circuitlang.lsp.semantic_tokens import LEGEND, semantic_tokens

if TYPE_CHECKING:
    from pygls.server import ServerErrors

# Seconds without a keystroke after which mistakes are shown.
_PAUSE = 0.1


# Requests about a place.
_Placed = (
    types.CompletionParams
    | types.DefinitionParams
    | types.HoverParams
    | types.PrepareRenameParams
    | types.ReferenceParams
    | types.RenameParams
)


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

        for name, command in COMMANDS.items():
            self.command(name)(command)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that the editor has open."""
        paths = (to_path(folder.uri) for folder in self.workspace.folders.values())
        return tuple(path for path in paths if path is not None)

    def at(self, params: _Placed) -> tuple[Analysis, int]:
        """Return the analysis of the buffer of a request, and the place in it. Raises InputError."""
        analysis = self.documents.analysis(params.text_document.uri)
        return analysis, offset(analysis.source, params.position)

    def show(self, success: bool, text: str) -> None:
        """Show a message."""
        kind = types.MessageType.Info if success else types.MessageType.Error
        self.window_show_message(types.ShowMessageParams(kind, text))

    def report_server_error(self, error: Exception, source: ServerErrors) -> None:
        """Show an error to the editor, unless it is about a message that could not be sent, as a report can't be then.

        An editor may close the stream while something is still to be said to it.
        """
        if source is not JsonRpcInternalError:
            super().report_server_error(error, source)

    def renew(self, pause: float = _PAUSE) -> None:
        """Publish the diagnostics of all buffers once there was no other call for a while."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = asyncio.get_running_loop().call_later(pause, self.publish)

    def publish(self) -> None:
        """Publish the diagnostics of all buffers: one may include another."""
        for uri in self.documents.uris:
            with suppress(CircuitError):
                mistakes = diagnostics(self.documents.analysis(uri))
                self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, mistakes))


def started(_ls: Server, _params: types.InitializedParams) -> None:
    """Read what the first keystroke would wait for."""
    warm_up()


def opened(ls: Server, params: types.DidOpenTextDocumentParams) -> None:
    """Add a buffer."""
    ls.documents.open(params.text_document.uri, params.text_document.text)
    ls.renew(0)


def changed(ls: Server, params: types.DidChangeTextDocumentParams) -> None:
    """Apply what was typed."""
    ls.documents.change(params.text_document.uri, params.content_changes)
    ls.renew()


def saved(ls: Server, _params: types.DidSaveTextDocumentParams) -> None:
    """Renew the diagnostics, as other files may have changed too, and collect garbage, which waits until then."""
    ls.renew(0)
    gc.collect()


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
        return types.CompletionList(False, complete(*ls.at(params)))
    return None


def hovered(ls: Server, params: types.HoverParams) -> types.Hover | None:
    """Answer with what the word at the cursor stands for."""
    with suppress(CircuitError):
        return hover(*ls.at(params), ls.folders)
    return None


def formatted(ls: Server, params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
    """Answer with the edit that formats the buffer."""
    with suppress(CircuitError):
        return format_edits(ls.documents.source(params.text_document.uri))
    return None


def folded(ls: Server, params: types.FoldingRangeParams) -> list[types.FoldingRange] | None:
    """Answer with what can be folded."""
    with suppress(CircuitError):
        return folding_ranges(ls.documents.analysis(params.text_document.uri))
    return None


def symbols(ls: Server, params: types.DocumentSymbolParams) -> list[types.DocumentSymbol] | None:
    """Answer with the statements of the buffer."""
    with suppress(CircuitError):
        return navigation.symbols(ls.documents.analysis(params.text_document.uri))
    return None


def workspace_symbols(ls: Server, params: types.WorkspaceSymbolParams) -> list[types.WorkspaceSymbol]:
    """Answer with the names that are defined in the editor's folders."""
    return navigation.workspace_symbols(ls.documents, params.query, ls.folders)


def definition(ls: Server, params: types.DefinitionParams) -> types.Location | None:
    """Answer with the place where the name at the cursor is defined."""
    with suppress(CircuitError):
        return navigation.definition(ls.documents, params.text_document.uri, ls.at(params)[1])
    return None


def references(ls: Server, params: types.ReferenceParams) -> list[types.Location] | None:
    """Answer with the places where the name at the cursor is used."""
    with suppress(CircuitError):
        declared = params.context.include_declaration
        return navigation.references(ls.documents, params.text_document.uri, ls.at(params)[1], ls.folders, declared)
    return None


def renameable(ls: Server, params: types.PrepareRenameParams) -> types.Range | None:
    """Answer with the extent of the name at the cursor."""
    with suppress(CircuitError):
        return navigation.renameable(*ls.at(params))
    return None


def rename(ls: Server, params: types.RenameParams) -> types.WorkspaceEdit | None:
    """Answer with the edits that rename what is at the cursor, or with the reason why it can't be."""
    try:
        uri = params.text_document.uri
        return navigation.rename(ls.documents, uri, ls.at(params)[1], params.new_name, ls.folders)
    except CircuitError as error:
        raise JsonRpcInvalidParams(reason(error)) from None


def links(ls: Server, params: types.DocumentLinkParams) -> list[types.DocumentLink] | None:
    """Answer with links to files."""
    with suppress(CircuitError):
        return navigation.links(ls.documents.analysis(params.text_document.uri), ls.documents, ls.folders)
    return None


def quick_fixes(ls: Server, params: types.CodeActionParams) -> list[types.CodeAction] | None:
    """Answer with the edits that correct mistakes in a stretch of the buffer."""
    with suppress(CircuitError):
        return code_actions(ls.documents, params.text_document.uri, params.range)
    return None


def code_lenses(ls: Server, params: types.CodeLensParams) -> list[types.CodeLens] | None:
    """Answer with the commands and results above circuits, to editors that know the commands."""
    with suppress(CircuitError):
        return lenses(ls.documents.analysis(params.text_document.uri), ls.folders)
    return None


def highlighted(ls: Server, params: types.SemanticTokensParams) -> types.SemanticTokens | None:
    """Answer with the tokens of the buffer, sound or not."""
    with suppress(CircuitError):
        return semantic_tokens(ls.documents.source(params.text_document.uri))
    return None


async def run(ls: Server, spec: str, *ids: str) -> None:
    """Run circuits of a saved spec, and show how it ended."""
    ls.show(*await commands.run(spec, *ids))
    workspace = ls.client_capabilities.workspace
    if workspace is not None and workspace.code_lens is not None and workspace.code_lens.refresh_support:
        ls.workspace_code_lens_refresh(None)


async def plan(ls: Server, spec: str) -> None:
    """Show what a saved spec would compute, and the cost."""
    ls.show(*await commands.plan(spec))


async def look_at(ls: Server, spec: str, model: str) -> None:
    """Load a model once, and renew what depends on its layers."""
    success, text = await commands.look_at(spec, model)
    ls.show(success, f"the layers of {model} are known" if success else text)
    ls.documents.forget()
    ls.renew(0)


def open_page(ls: Server, uri: str) -> None:
    """Open the diagram of a circuit in the browser."""
    ls.window_show_document(types.ShowDocumentParams(uri, external=True))


def inlay_hints(ls: Server, params: types.InlayHintParams) -> list[types.InlayHint] | None:
    """Answer with what defaults decide."""
    with suppress(CircuitError):
        analysis = ls.documents.analysis(params.text_document.uri)
        start, end = (offset(analysis.source, place) for place in (params.range.start, params.range.end))
        return hints(analysis, start, end)
    return None


# The functions that answer, and the options of their features.
HANDLERS: dict[str, tuple[Callable[..., Any], Any]] = {
    types.INITIALIZED: (started, None),
    types.TEXT_DOCUMENT_DID_OPEN: (opened, None),
    types.TEXT_DOCUMENT_DID_CHANGE: (changed, None),
    types.TEXT_DOCUMENT_DID_SAVE: (saved, None),
    types.TEXT_DOCUMENT_DID_CLOSE: (closed, None),
    types.WORKSPACE_DID_CHANGE_WATCHED_FILES: (files_changed, None),
    types.TEXT_DOCUMENT_HOVER: (hovered, None),
    types.TEXT_DOCUMENT_FORMATTING: (formatted, None),
    types.TEXT_DOCUMENT_FOLDING_RANGE: (folded, None),
    types.TEXT_DOCUMENT_DOCUMENT_SYMBOL: (symbols, None),
    types.WORKSPACE_SYMBOL: (workspace_symbols, None),
    types.TEXT_DOCUMENT_DEFINITION: (definition, None),
    types.TEXT_DOCUMENT_REFERENCES: (references, None),
    types.TEXT_DOCUMENT_PREPARE_RENAME: (renameable, None),
    types.TEXT_DOCUMENT_RENAME: (rename, types.RenameOptions(prepare_provider=True)),
    types.TEXT_DOCUMENT_DOCUMENT_LINK: (links, None),
    types.TEXT_DOCUMENT_CODE_LENS: (code_lenses, None),
    types.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL: (highlighted, LEGEND),
    types.TEXT_DOCUMENT_INLAY_HINT: (inlay_hints, None),
    types.TEXT_DOCUMENT_CODE_ACTION: (
        quick_fixes,
        types.CodeActionOptions([types.CodeActionKind.QuickFix, types.CodeActionKind.SourceFixAll]),
    ),
    types.TEXT_DOCUMENT_COMPLETION: (completion, types.CompletionOptions(trigger_characters=list(TRIGGERS))),
}
COMMANDS: dict[str, Callable[..., Any]] = {RUN: run, PLAN: plan, OPEN: open_page, LOOK: look_at}
# Those that may take long, and run beside the others.
_SLOW = (hovered, quick_fixes, references, rename, workspace_symbols)
