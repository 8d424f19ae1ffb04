"""The Hugging Face Hub: what it has at a commit, files from it, and commits to it.

Package `huggingface_hub` does the talking: it has the user's token, the cache of files and HF_ENDPOINT. It is imported
when it is needed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.base.hub_address import HubAddress, HubFile

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

# The kinds of repositories by the beginnings of their folders in the Hub's cache.
_FOLDERS: Mapping[str, Literal["model", "dataset"]] = {"models": "model", "datasets": "dataset"}
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Packages in which connections fail, by the version of huggingface_hub.
_TRANSPORTS = ("httpcore", "httpcore2", "httpx", "httpx2", "requests", "urllib3")
# The message of a RuntimeError of the client.
_CLOSED = "client has been closed"
_UNAUTHORISED = (401, 403)
_MISSING = 404


@dataclass(frozen=True)
class HubFiles:
    """The files of a repository at a commit, as the Hub says. Paths are the repository's, unchecked.

    Attributes:
        address: The repository at that commit.
        sizes: Bytes, by path.
        hashes: Hexadecimal hashes by path: of large files the SHA-256 of the content, of others Git's SHA-1.
    """

    address: HubAddress
    sizes: Mapping[str, int]
    hashes: Mapping[str, str]


def hub_commit(address: HubAddress) -> HubAddress:
    """Return a repository at the commit that its revision is now. Raises InputError."""
    with _errors(address):
        commit = _api().repo_info(address.repo, repo_type=address.kind, revision=address.revision).sha or ""
        if not _COMMIT.fullmatch(commit):
            raise InputError(Finding("E383", f"{address} has no commit", None, "the repository is empty"))
        return address.at(commit)


def hub_files(address: HubAddress) -> HubFiles:
    """List a repository; the result is at a commit, whatever the revision was. Raises InputError."""
    there = address if address.is_pinned else hub_commit(address)
    with _errors(address):
        tree = _api().list_repo_tree(there.repo, repo_type=there.kind, revision=there.revision, recursive=True)
        entries = [entry for entry in tree if isinstance(entry, _file_type())]
        hashes = {entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in entries}
        return HubFiles(there, {entry.path: entry.size for entry in entries}, hashes)


def cached(address: HubAddress, path: str) -> Path | None:
    """Return the place of a file of a repository at a commit in the Hub's cache; None if it isn't there.

    Raises InputError if the Hub's package is not installed.
    """
    _api()
    import huggingface_hub
    from huggingface_hub import constants

    place = huggingface_hub.try_to_load_from_cache(
        address.repo, path, cache_dir=constants.HF_HUB_CACHE, revision=address.revision, repo_type=address.kind
    )
    return Path(place) if isinstance(place, str) else None


def snapshot_place(file: HubFile) -> Path:
    """Return the place that a file of a repository at a commit has in the Hub's cache once it is fetched."""
    from huggingface_hub import constants

    address = file.address
    folder = f"{address.kind}s--{address.repo.replace('/', '--')}"
    return Path(constants.HF_HUB_CACHE, folder, "snapshots", address.revision or "", *file.parts)


def snapshot_file(place: Path) -> HubFile | None:
    """Return the file, at its commit, that has a place in the Hub's cache; None for other places."""
    for number, part in enumerate(place.parts):
        kind, _, repo = part.partition("--")
        rest = place.parts[number + 1 :]
        if kind in _FOLDERS and rest[:1] == ("snapshots",) and len(rest) > 2:
            return HubFile(HubAddress(repo.replace("--", "/"), _FOLDERS[kind], rest[1]), "/".join(rest[2:]))
    return None


def fetch(address: HubAddress, path: str) -> Path:
    """Return the place of a file of a repository in the Hub's cache, where it is put if it isn't there.

    Raises InputError.
    """
    with _errors(address):
        get = partial(_api().hf_hub_download, address.repo, path, repo_type=address.kind, revision=address.revision)
        try:
            return Path(get())
        except RuntimeError as error:
            # After a failure in another thread, which closes the connections of all.
            if _CLOSED not in str(error):
                raise
            return Path(get())


def commit(address: HubAddress, files: Mapping[str, Path | bytes], message: str, private: bool) -> HubAddress:
    """Put files, by their paths in it, into a repository in one commit, and return the address of that commit.

    The repository is made if it isn't there; files that it has beside these stay. Raises InputError.
    """
    with _errors(address):
        api = _api()
        from huggingface_hub import CommitOperationAdd

        # A repository that exists keeps its visibility.
        api.create_repo(address.repo, repo_type=address.kind, private=private or None, exist_ok=True)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        done = api.create_commit(
            address.repo, operations, commit_message=message, repo_type=address.kind, revision=address.revision
        )
        return address.at(done.oid)


def hub_page(address: HubAddress) -> str:
    """Return the address of a repository in a browser."""
    from huggingface_hub import constants

    datasets = "datasets/" if address.kind == "dataset" else ""
    return f"{constants.ENDPOINT}/{datasets}{address.repo}"


def hide_progress_bars() -> None:
    """Keep the client from drawing bars on a terminal, where a run shows its own progress."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()


def _file_type() -> type[RepoFile]:
    from huggingface_hub.hf_api import RepoFile

    return RepoFile


def _api() -> HfApi:
    """Return the client. Raises InputError if its package is not installed."""
    try:
        import huggingface_hub
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError:
        cure = "pip install 'circuitlang[hub]'"
        raise InputError(Finding("E361", "huggingface_hub is not installed", None, "hf:// needs it", cure)) from None
    if not sys.stderr.isatty():
        disable_progress_bars()
    return huggingface_hub.HfApi(library_name="circuitlang")


@contextmanager
def _errors(address: HubAddress) -> Iterator[None]:
    """Turn errors of the client into an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        finding = _finding(address, error)
        if finding is None:
            raise
        raise InputError(finding) from None


def _finding(address: HubAddress, error: Exception) -> Finding | None:
    """Return the finding of an error of the client, or None if it isn't about the Hub."""
    from huggingface_hub import constants, errors

    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    missing = isinstance(error, errors.LocalEntryNotFoundError)
    if isinstance(error, errors.OfflineModeIsEnabled) or (missing and constants.HF_HUB_OFFLINE):
        return Finding("E381", f"{address} can't be had offline", None, "HF_HUB_OFFLINE is set", "unset it")
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(address, error.response.status_code, error, reason)
    closed = isinstance(error, RuntimeError) and _CLOSED in str(error)
    if missing or closed or type(error).__module__.split(".")[0] in _TRANSPORTS:
        cure = "connect to the internet, or name another Hub by HF_ENDPOINT"
        # For a file that isn't in the cache the reason is behind advice on how to connect.
        label = str(error.__cause__ or reason) if missing else reason
        return Finding("E381", f"{constants.ENDPOINT} can't be reached", None, label, cure)
    # Errors about names that the Hub does not take, and about its cache.
    if isinstance(error, (OSError, ValueError)) or type(error).__module__.split(".")[0] == "huggingface_hub":
        return Finding("E383", f"{address} can't be used", None, reason)
    return None


def _refusal(address: HubAddress, status: int, error: Exception, reason: str) -> Finding:
    from huggingface_hub import errors

    login = "log in by `hf auth login`, or set HF_TOKEN, with a token that may use this repository"
    if isinstance(error, errors.RevisionNotFoundError):
        return Finding("E383", f"{address.repo} has no revision '{address.revision or 'main'}'", None, "", "")
    if status in _UNAUTHORISED or isinstance(error, errors.GatedRepoError):
        return Finding("E382", f"the Hub does not let you use {address}", None, reason, login)
    if status == _MISSING:
        label = f"there is no such {address.kind} repository, or it is private"
        return Finding("E383", f"{address} is not there", None, label, login)
    return Finding("E383", f"the Hub refuses {address}", None, reason)
