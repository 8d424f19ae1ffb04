"""The numbers of the leaderboard, and their file: docs/leaderboard.json."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from circuitlang.base.atomic_files import write_atomically

Numbers = dict[str, list[float]]


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One criterion, or one test of circuits, on one kind of data.

    `code` is a hash of the file that it is in, `module` that file's module if it is not circuitlang's own, and
    `version` the circuitlang that measured it. `numbers` has for each network, channel or claim the numbers that the
    section's `columns` name.
    """

    code: str
    version: str
    numbers: Numbers
    module: str = ""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rows on one kind of data, of which `data` is a hash: of the weights, the images, and how they are used."""

    about: str
    data: str
    columns: list[str]
    rows: dict[str, Row]


class Board(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All sections, by name."""

    sections: dict[str, Section]
    version: Literal[1] = 1


def read_board(path: Path) -> Board:
    """The board in a file; an empty one if there is none. Raises msgspec.ValidationError."""
    return msgspec.json.decode(path.read_bytes(), type=Board) if path.exists() else Board({})


def write_board(path: Path, board: Board) -> None:
    """Write a board, its rows by name, a line for each list of numbers: the same bytes for the same board."""
    sections = {
        name: msgspec.structs.replace(section, rows=dict(sorted(section.rows.items())))
        for name, section in sorted(board.sections.items())
    }
    encoded = msgspec.json.encode(msgspec.structs.replace(board, sections=sections))
    write_atomically(path, _rows_on_lines(msgspec.json.format(encoded, indent=1)) + b"\n", mode=0o644)


def _rows_on_lines(text: bytes) -> bytes:
    """Join the lines of each innermost list, so that a difference shows a row and not a number."""
    lines: list[bytes] = []
    inside = False
    for line in text.splitlines():
        if inside:
            lines[-1] += line.strip() if line.strip().startswith(b"]") else line.strip().replace(b",", b", ")
        else:
            lines.append(line)
        inside = line.endswith(b"[") or (inside and not line.strip().startswith(b"]"))
    return b"\n".join(lines)
