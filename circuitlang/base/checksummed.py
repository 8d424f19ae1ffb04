"""Content of the cache that carries its own hash: what a disk or a copy has changed is as good as not there.

The hash stands in the content itself, as the value of `sha256`, which is all zeros while it is taken. So a sealed JSON
file is JSON still, and a sealed safetensors file is a safetensors file.
"""

from __future__ import annotations

import hashlib
import logging
import re
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

# The placeholder for the hash until it is known.
BLANK = "0" * 64
S = TypeVar("S", bound=msgspec.Struct)
_HASH = re.compile(rb'"sha256" ?: ?"([0-9a-f]{64})"')


def seal(content: bytes, key: str) -> bytes:
    """Content with its hash in place of the first `BLANK`; `key` tells it from what is kept for something else."""
    return content.replace(BLANK.encode(), _digest(key, content), 1)


def intact(content: bytes, key: str) -> bool:
    """Return whether content is as it was sealed for this key."""
    match = _HASH.search(content)
    if match is None:
        return False
    blank = b"".join((content[: match.start(1)], BLANK.encode(), content[match.end(1) :]))
    return _digest(key, blank) == match[1]


def read_sealed(path: Path, key: str, kind: type[S]) -> S | None:
    """Return what a JSON file has for a key; None if there is no file or it is damaged, which is reported."""
    with suppress(OSError, ValueError, RecursionError):
        content = path.read_bytes()
        with suppress(msgspec.MsgspecError):
            if intact(content, key):
                return msgspec.json.decode(content, type=kind)
        report(path)
    return None


def report(path: object) -> None:
    """Tell who asks for it, by Python's logging, that something was dropped."""
    logging.getLogger("circuitlang").info("damaged, and dropped from the cache: %s", path)


def _digest(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).hexdigest().encode()
