"""An editor for tests: it speaks the Language Server Protocol to `circuitlang lsp` over pipes."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

# Seconds after which a server that says nothing is taken to hang.
_PATIENCE = 120


class LanguageClient:
    """A server in a process of its own, and the messages to and from it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "circuitlang", "lsp"],
            cwd=folder,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
        self.notifications: list[dict] = []
        self._number = 0
        capabilities = {"general": {"positionEncodings": ["utf-32", "utf-16"]}}
        parameters = {"processId": None, "rootUri": folder.as_uri(), "capabilities": capabilities}
        self.capabilities = self.request("initialize", parameters)["capabilities"]
        self.notify("initialized", {})

    def __enter__(self) -> LanguageClient:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.request("shutdown", None)
            self.notify("exit", None)
        assert self._process.wait(60) == 0
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            stream.close()

    def request(self, method: str, parameters: object) -> Any:
        """Return the answer to a request; other messages are kept."""
        answer = self._answer(method, parameters)
        assert "error" not in answer, answer
        return answer["result"]

    def error(self, method: str, parameters: object) -> str:
        """Return the error that a request is answered with."""
        return self._answer(method, parameters)["error"]["message"]

    def _answer(self, method: str, parameters: object) -> dict:
        self._number += 1
        self._write({"id": self._number, "method": method, "params": parameters})
        while True:
            message = self._read()
            if message.get("id") == self._number and "method" not in message:
                return message
            self.notifications.append(message)

    def notify(self, method: str, parameters: object) -> None:
        """Send a message that has no answer."""
        self._write({"method": method, "params": parameters})

    def open(self, uri: str, text: str) -> None:
        """Open a buffer."""
        document = {"uri": uri, "languageId": "circuit", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, uri: str, *changes: dict) -> None:
        """Change a buffer."""
        document = {"uri": uri, "version": 2}
        self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})

    def diagnostics(self, uri: str) -> list[dict]:
        """Return the next diagnostics of a buffer that the server publishes."""
        while True:
            message = self.notifications.pop(0) if self.notifications else self._read()
            if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == uri:
                return message["params"]["diagnostics"]

    def execute(self, command: dict) -> None:
        """Execute a command of the server."""
        self.request("workspace/executeCommand", {name: command[name] for name in ("command", "arguments")})

    def message(self) -> str:
        """Return the next message that the server shows."""
        while True:
            message = self.notifications.pop(0) if self.notifications else self._read()
            if message.get("method") == "window/showMessage":
                return message["params"]["message"]

    def _write(self, message: dict) -> None:
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        self._process.stdin.flush()

    def _read(self) -> dict:
        readable, _, _ = select.select([self._process.stdout], [], [], _PATIENCE)
        assert readable, "the server doesn't answer"
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        assert length, self._process.stderr.read().decode()
        content = b""
        while len(content) < length:
            content += self._process.stdout.read(length - len(content))
        return json.loads(content)
