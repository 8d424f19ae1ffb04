"""Addresses on the Hugging Face Hub, as that Hub's own file system writes them.

A repository is `hf://user/repo@revision`, and files of it are `hf://user/repo@revision/weights/net.safetensors`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from circuitlang.base.diagnostics import Finding, InputError

SCHEME = "hf://"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
# Revisions of pull requests and of conversions have a slash.
_REVISION = r"refs/(?:pr|convert)/[\w.-]+|[\w.-]+"
_ADDRESS = re.compile(
    rf"hf://(?P<datasets>datasets/)?(?P<repo>{_PART}/{_PART})(?:@(?P<revision>{_REVISION}))?", re.ASCII
)
_FILE = re.compile(rf"(?P<address>{_ADDRESS.pattern})/(?P<path>.*)", re.ASCII | re.DOTALL)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# The Hub's own limits of names.
_LONGEST = 96
_NEVER = ("--", "..")
# The Hub's other kinds of repositories.
_OTHERS = ("spaces", "buckets")
_FORM = "a file is hf://user/repo/FILE or hf://datasets/user/repo/FILE, with @REVISION behind repo"


@dataclass(frozen=True)
class HubAddress:
    """A repository of the Hub, and a branch, tag or commit of it; without one, its main branch."""

    repo: str
    kind: Literal["model", "dataset"] = "model"
    revision: str | None = None

    def __str__(self) -> str:
        datasets = "datasets/" if self.kind == "dataset" else ""
        return f"{SCHEME}{datasets}{self.repo}" + (f"@{self.revision}" if self.revision else "")

    @property
    def name(self) -> str:
        """The name of the repository, without that of its owner."""
        return self.repo.partition("/")[2]

    @property
    def is_pinned(self) -> bool:
        """True if the revision is a commit, which never changes."""
        return bool(self.revision and _COMMIT.fullmatch(self.revision))

    def at(self, commit: str | None) -> HubAddress:
        """The same repository at a commit, or without a revision."""
        return HubAddress(self.repo, self.kind, commit)


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, or a pattern of files."""

    address: HubAddress
    path: str

    def __str__(self) -> str:
        return f"{self.address}/{self.path}"

    @property
    def parts(self) -> tuple[str, ...]:
        """The names that the path is made of; the last one is empty if it names a folder."""
        return tuple(self.path.split("/"))

    def at(self, commit: str | None) -> HubFile:
        """The same at a commit, or without a revision."""
        return replace(self, address=self.address.at(commit))


def hub_address(text: str) -> HubAddress:
    """Parse an address. Raises InputError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or len(match["repo"]) > _LONGEST or any(sign in match["repo"] for sign in _NEVER):
        label = "an address is hf://user/repo, hf://user/repo@revision or hf://datasets/user/repo"
        raise InputError(Finding("E380", f"'{text}' is not a repository of the Hub", None, label))
    return HubAddress(match["repo"], "dataset" if match["datasets"] else "model", match["revision"])


def is_on_hub(text: object) -> bool:
    """Return whether a path of a spec is meant as an address on the Hub."""
    return isinstance(text, str) and text.startswith(SCHEME)


def hub_file(text: str) -> HubFile:
    """Parse the address of a file, or of a pattern of files. Raises InputError."""
    match = _FILE.fullmatch(text)
    owner = match["repo"].partition("/")[0] if match and not match["datasets"] else ""
    if owner in _OTHERS:
        raise _no_file(text, "weights are in repositories of models, images in those of data sets")
    # The regular expression takes the word for the name of a user where no third name follows.
    if match is None or owner == "datasets":
        whole = _ADDRESS.fullmatch(text)
        raise _no_file(text, "this is a repository", f"write {text}/FILE") if whole else _no_file(text, _FORM)
    try:
        file = HubFile(hub_address(match["address"]), match["path"])
    except InputError:
        raise _no_file(text, _FORM) from None
    if not file.parts[-1]:
        raise _no_file(text, "it ends in '/', and a folder is no file", f"write {text}* for the files in it")
    if {"", ".", ".."} & {*file.parts} or not text.isprintable() or "\\" in text:
        raise _no_file(text, "the path of a file begins at the repository, and is made of plain names")
    return file


def is_pinned(text: str) -> bool:
    """Return whether a text is the address of a file at a commit."""
    try:
        return is_on_hub(text) and hub_file(text).address.is_pinned
    except InputError:
        return False


def without_revision(text: str) -> str:
    """Return the address of a file without its revision; other texts as they are."""
    try:
        return str(hub_file(text).at(None)) if is_on_hub(text) else text
    except InputError:
        return text


def _no_file(text: str, label: str, cure: str = "") -> InputError:
    return InputError(Finding("E386", f"'{text}' is not a file on the Hub", None, label, cure))
