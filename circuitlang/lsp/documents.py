"""Open buffers, the files that they include, and their analysis."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lsprotocol import types
from pygls.uris import from_fs_path, to_fs_path

from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.base.source import Source, resolved
from circuitlang.compiler import syntax
from circuitlang.compiler.checker import check
from circuitlang.compiler.includes import include
from circuitlang.compiler.parser import Trees, parse
from circuitlang.compiler.sources import open_included
from circuitlang.lsp.positions import offset
from circuitlang.pipeline import vocabulary
from circuitlang.plan.compiled import CompiledPlan

# Statements that are kept to be read faster.
_TREES = 20_000
# Modification time and size of a file; None for one that can't be looked at.
_Stamp = tuple[int, int] | None


@dataclass(frozen=True)
class Analysis:
    """A text, its syntax with the files that it includes, and on request its plan or its mistakes."""

    source: Source
    file: syntax.File

    @cached_property
    def compiled(self) -> CompiledPlan | SpecError:
        """The plan, or the error with all mistakes."""
        try:
            return check(self.file, vocabulary())
        except SpecError as error:
            return error

    @property
    def findings(self) -> Sequence[Finding]:
        """The mistakes and warnings of the text and of what it includes."""
        compiled = self.compiled
        return compiled.findings if isinstance(compiled, SpecError) else compiled.warnings


@dataclass
class Documents:
    """The buffers of an editor by URI; a file that isn't open is read from the disk."""

    _texts: dict[str, str] = field(default_factory=dict)
    _trees: Trees = field(default_factory=dict)
    _analyses: dict[str, tuple[Analysis, dict[Path, str | _Stamp]]] = field(default_factory=dict)

    @property
    def uris(self) -> list[str]:
        """The open buffers."""
        return list(self._texts)

    def open(self, uri: str, text: str) -> None:
        """Add a buffer, or replace its text."""
        self._texts[uri] = _normal(text)

    def change(self, uri: str, changes: Sequence[types.TextDocumentContentChangeEvent]) -> None:
        """Apply changes to a buffer, one after the other."""
        for change in changes:
            text = self._texts.get(uri, "")
            if isinstance(change, types.TextDocumentContentChangePartial):
                source = Source(uri, text)
                start, end = offset(source, change.range.start), offset(source, change.range.end)
                self._texts[uri] = f"{text[:start]}{_normal(change.text)}{text[max(start, end) :]}"
            else:
                self._texts[uri] = _normal(change.text)

    def close(self, uri: str) -> None:
        """Drop a buffer: its file counts again."""
        self._texts.pop(uri, None)
        self._analyses.pop(uri, None)

    def forget(self) -> None:
        """Drop what was derived from texts, as what it depends on has changed."""
        self._analyses.clear()

    def source(self, uri: str) -> Source:
        """Return the text of a buffer, or of a file that isn't open. Raises InputError if that can't be read."""
        path = to_path(uri)
        if uri in self._texts:
            return Source(uri if path is None else str(path), self._texts[uri], path.parent if path else Path())
        return open_included(path or Path(uri))

    def read(self, path: Path) -> Source:
        """Return a file as it is open, or as it is on the disk. Raises InputError."""
        uri = self.uri(path)
        return self.source(uri) if uri in self._texts else open_included(path)

    def uri(self, path: Path) -> str:
        """Return the URI of a file, as the editor writes it if it is open."""
        place = resolved(path)
        for uri in self._texts:
            known = to_path(uri)
            if known is not None and resolved(known) == place:
                return uri
        return from_fs_path(str(path.absolute())) or path.as_posix()

    def analysis(self, uri: str) -> Analysis:
        """Return the analysis of a buffer or file; that of an unchanged text is kept. Raises InputError."""
        source = self.source(uri)
        known = self._analyses.get(uri)
        if known is not None and known[0].source.text == source.text:
            analysis, included = known
            if all(self._state(path) == state for path, state in included.items()):
                return analysis
        states: dict[Path, str | _Stamp] = {}

        def opened(path: Path) -> Source:
            states[path] = self._state(path)
            return self.read(path)

        if len(self._trees) > _TREES:
            self._trees.clear()
        analysis = Analysis(source, include(parse(source, self._trees), opened))
        self._analyses[uri] = analysis, states
        return analysis

    def findings(self, source: Source) -> Sequence[Finding]:
        """Return the findings of a text that is in no buffer, with the files that it includes as they are open."""
        return Analysis(source, include(parse(source, self._trees), self.read)).findings

    def _state(self, path: Path) -> str | _Stamp:
        """Return what changes when an included file does."""
        uri = self.uri(path)
        if uri in self._texts:
            return self._texts[uri]
        with suppress(OSError, ValueError):
            status = path.stat()
            return status.st_mtime_ns, status.st_size
        return None


def to_path(uri: str) -> Path | None:
    """Return the path of a URI; None for a buffer that is no file."""
    path = to_fs_path(uri) if uri.startswith("file:") else None
    return Path(path) if path else None


def _normal(text: str) -> str:
    """Return a text whose lines end in a newline, as the compiler reads them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
