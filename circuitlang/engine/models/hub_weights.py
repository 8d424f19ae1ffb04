"""Weights and programs on the Hugging Face Hub: one file of a repository, fetched at a commit and verified."""

from __future__ import annotations

from pathlib import Path

from circuitlang.base.diagnostics import InputError
from circuitlang.base.hub_address import hub_file
from circuitlang.base.hub_client import cached
from circuitlang.engine.cache.hub_snapshots import commit_of, files_at, local_files, no_such_file
from circuitlang.plugins.progress import TrackProgress


def weights_on_hub(text: str, track: TrackProgress) -> Path:
    """Return the place of a file in the Hub's cache, where it is put if it isn't there. Raises InputError."""
    asked = hub_file(text)
    file = asked.at(commit_of(asked)[0])
    try:
        there = files_at(file.address, file.path)
    except InputError:
        # A single file that is there needs no listing.
        place = cached(file.address, file.path)
        if place is None:
            raise
        return place
    if file.path not in there.sizes:
        raise InputError(no_such_file(file, there))
    return local_files(file.address, [file.path], track)[0]
