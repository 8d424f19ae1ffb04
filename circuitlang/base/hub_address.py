"""Addresses on the Hugging Face Hub: `hf://user/repo@revision`, as that Hub's own file system writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from circuitlang.base.diagnostics import Finding, InputError

SCHEME = "hf://"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
# Revisions of pull requests and of conversions have a slash.
_REVISION = r"refs/(?:pr|convert)/[\w.-]+|[\w.-]+"
_ADDRESS = re.compile(
    rf"hf://(?P<datasets>datasets/)?(?P<repo>{_PART}/{_PART})(?:@(?P<revision>{_REVISION}))?", re.ASCII
)
# The Hub's own limits of names.
_LONGEST = 96
_NEVER = ("--", "..")


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

    def at(self, commit: str) -> HubAddress:
        """The same repository at a commit."""
        return HubAddress(self.repo, self.kind, commit)


def hub_address(text: str) -> HubAddress:
    """Parse an address. Raises InputError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or len(match["repo"]) > _LONGEST or any(sign in match["repo"] for sign in _NEVER):
        label = "an address is hf://user/repo, hf://user/repo@revision or hf://datasets/user/repo"
        raise InputError(Finding("E380", f"'{text}' is not a repository of the Hub", None, label))
    return HubAddress(match["repo"], "dataset" if match["datasets"] else "model", match["revision"])
