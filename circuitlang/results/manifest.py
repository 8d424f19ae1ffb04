"""The hashes of the files that were written into a folder: `SHA256SUMS`, which `sha256sum --check` reads too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from circuitlang.base.plain_files import read_plain
from circuitlang.plan.model import digest

SUMS = "SHA256SUMS"
# More than the hashes of any folder take, in bytes.
_MOST = 1 << 20
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\\0\n]+)\n")


def manifest(files: Mapping[str, bytes]) -> bytes:
    """The hashes of files by name."""
    return _written({name: digest(content) for name, content in files.items()}).encode()


def _written(hashes: Mapping[str, str]) -> str:
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))


def written(folder: Path) -> dict[str, str]:
    """Return the hashes of the files that were written into a folder, by name, as far as it tells."""
    with suppress(OSError, ValueError):
        content = read_plain(folder / SUMS, _MOST).decode()
        hashes = {name: digest for digest, name in _LINE.findall(content)}
        # A file that is damaged in one place is not trusted in others.
        return hashes if _written(hashes).encode() == content.encode() else {}
    return {}


def damage(folder: Path) -> list[str]:
    """Describe the damage to the files that were written into a folder, a problem for each."""
    hashes = written(folder)
    if not hashes:
        return [f"{SUMS} is missing or damaged"]
    return [problem for name, expected in hashes.items() if (problem := _damaged(folder / name, expected))]


def _damaged(path: Path, expected: str) -> str:
    try:
        return "" if digest(read_plain(path)) == expected else f"{path.name} was changed"
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} can't be read: {error.strerror}"
