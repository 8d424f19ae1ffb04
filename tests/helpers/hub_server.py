"""A server that speaks as much of the Hugging Face Hub's protocol as circuitlang needs, on this machine.

Its answers can be wrong: see `Repository.faults`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import pytest

# Files that the Hub keeps as objects of Git LFS.
LARGE = (".safetensors", ".parquet", ".pt2")
_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_API = rf"/api/(?P<kind>models|datasets)/{_REPO}"


@dataclass
class Repository:
    """The commits of a repository, oldest first: a hash and the files by path.

    `refuses` is an answer's status, `token` one without which there seems to be no such repository, and `faults` are
    files that come with other bytes, or whose transfer ends too early.
    """

    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    private: bool = False
    refuses: int = 0
    token: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Literal["other", "short"]] = field(default_factory=dict)

    def put(self, files: dict[str, bytes]) -> str:
        """Commit files beside those that are there."""
        whole = {**(self.commits[-1][1] if self.commits else {}), **files}
        commit = hashlib.sha1(repr((len(self.commits), sorted(whole.items()))).encode()).hexdigest()
        self.commits.append((commit, whole))
        return commit

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        revision = self.tags.get(revision, revision)
        return next((commit for commit in self.commits if commit[0] == revision), None)


@dataclass
class Hub:
    """The repositories of a server by kind and name, the large objects, and the requests that it got."""

    endpoint: str
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    @property
    def fetched(self) -> list[str]:
        """The files that were asked for, by their paths."""
        paths = [request.removeprefix("GET ") for request in self.requests if request.startswith("GET ")]
        return [path.partition("/resolve/")[2].partition("/")[2] for path in paths if "/resolve/" in path]

    def repository(self, repo: str, kind: str = "models") -> Repository:
        return self.repositories.setdefault((kind, repo), Repository())


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Serve an empty Hub for the length of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    server.hub = hub  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def talk_to(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process talk to a Hub, with a folder for the cache of its files."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    files = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined, no-any-return]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        self.hub.requests.append(f"{self.command} {path}")
        for pattern, method in _ROUTES:
            if match := re.fullmatch(pattern, path):
                method(self, body, **match.groupdict())
                return
        self._json({"error": f"no route for {path}"}, 404)

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: object, status: int = 200, code: str = "") -> None:
        headers = {"Content-Type": "application/json"}
        self._send(json.dumps(value).encode(), status, {**headers, **({"X-Error-Code": code} if code else {})})

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        kind = f"{asked.get('type', 'model')}s"
        repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        if (kind, repo) in self.hub.repositories:
            refuses = self.hub.repository(repo, kind).refuses
            self._json({"error": "no", "url": f"{self.hub.endpoint}/{repo}"}, refuses or 409)
            return
        self.hub.repository(repo, kind).private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self._json({"url": f"{self.hub.endpoint}/{repo}"})

    def _valid(self, _body: bytes) -> None:
        self._json({"errors": [], "warnings": []})

    def _preupload(self, body: bytes, kind: str, repo: str, revision: str) -> None:
        files = json.loads(body)["files"]
        modes = ["lfs" if file["path"].endswith(LARGE) else "regular" for file in files]
        self._json({"files": [
            {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
            for file, mode in zip(files, modes, strict=True)
        ]})  # fmt: skip

    def _batch(self, body: bytes, repo: str) -> None:
        objects = json.loads(body)["objects"]
        self._json({"transfer": "basic", "objects": [
            {**each, "actions": {"upload": {"href": f"{self.hub.endpoint}/objects/{each['oid']}", "header": {}}}}
            for each in objects
        ]})  # fmt: skip

    def _object(self, body: bytes, oid: str) -> None:
        self.hub.objects[oid] = body
        self._send(b"", 200 if hashlib.sha256(body).hexdigest() == oid else 422)

    def _commit(self, body: bytes, kind: str, repo: str, revision: str) -> None:
        files = {}
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.hub.objects[entry["value"]["oid"]]
        commit = self.hub.repository(repo, kind).put(files)
        self._json({"success": True, "commitOid": commit, "commitUrl": f"{self.hub.endpoint}/{repo}/commit/{commit}"})

    def _found(self, kind: str, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return a commit; where there is none the request is answered."""
        repository = self.hub.repositories.get((kind, repo))
        if repository and repository.token and repository.token not in self.headers.get("Authorization", ""):
            # So the Hub answers, whether or not there is such a repository.
            self._json({"error": "Invalid username or password."}, 401, "RepoNotFound")
        elif repository is None or not repository.commits:
            self._json({"error": "Repository not found"}, 404, "RepoNotFound")
        elif repository.refuses:
            self._json({"error": "not yours"}, repository.refuses)
        elif (commit := repository.at(revision)) is None:
            self._json({"error": f"Invalid rev id: {revision}"}, 404, "RevisionNotFound")
        else:
            return commit
        return None

    def _info(self, _body: bytes, kind: str, repo: str, revision: str = "main") -> None:
        if commit := self._found(kind, repo, revision):
            siblings = [{"rfilename": name} for name in commit[1]]
            self._json({"id": repo, "sha": commit[0], "siblings": siblings, "private": False, "tags": []})

    def _tree(self, _body: bytes, kind: str, repo: str, revision: str) -> None:
        if commit := self._found(kind, repo, revision):
            self._json([_entry(name, content) for name, content in commit[1].items()])

    def _resolve(self, _body: bytes, repo: str, revision: str, path: str, datasets: str | None = None) -> None:
        if not (commit := self._found("datasets" if datasets else "models", repo, revision)):
            return
        if path not in commit[1]:
            self._json({"error": "no such file"}, 404, "EntryNotFound")
            return
        content = commit[1][path]
        entry = _entry(path, content)
        headers = {"X-Repo-Commit": commit[0], "ETag": f'"{entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]}"'}
        headers["Accept-Ranges"] = "none"
        fault = self.hub.repository(repo, "datasets" if datasets else "models").faults.get(path)
        if fault == "other":
            content = bytes(byte ^ 1 for byte in content)
        if fault == "short" and self.command == "GET":
            self._send(content[:-9], 200, {**headers, "Content-Length": str(len(content))})
            self.close_connection = True
            return
        self._send(content, 200, headers)


def _entry(path: str, content: bytes) -> dict[str, Any]:
    """Return what the Hub tells of a file."""
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    large = {"lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}}
    return {"type": "file", "path": path, "size": len(content), "oid": blob, **(large if path.endswith(LARGE) else {})}


_ROUTES = (
    (r"/api/repos/create", _Handler._create),
    (r"/api/validate-yaml", _Handler._valid),
    (rf"{_API}/preupload/(?P<revision>.+)", _Handler._preupload),
    (rf"{_API}/commit/(?P<revision>.+)", _Handler._commit),
    (rf"{_API}/tree/(?P<revision>[^/]+)", _Handler._tree),
    (rf"{_API}/revision/(?P<revision>.+)", _Handler._info),
    (_API, _Handler._info),
    (rf"/(?:datasets/)?{_REPO}\.git/info/lfs/objects/batch", _Handler._batch),
    (r"/objects/(?P<oid>[0-9a-f]{64})", _Handler._object),
    (rf"/(?P<datasets>datasets/)?{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler._resolve),
)
