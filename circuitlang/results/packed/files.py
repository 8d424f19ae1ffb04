"""Files of a packed run: `circuits.parquet`, and the shards of circuits that are not merged yet."""

from __future__ import annotations

import os
from pathlib import Path

from circuitlang.base.plain_files import inside
from circuitlang.results.ownership import PACKED

ENDING = ".parquet"
SHARDS = ".shards"


def is_packed_run(folder: Path) -> bool:
    """Return whether a folder is that of a packed run."""
    return bool(files(folder))


def files(folder: Path) -> list[Path]:
    """Return the files of a packed run, those that count more last."""
    merged = [folder / PACKED] if os.path.lexists(folder / PACKED) else []
    return [*merged, *sorted(inside(folder / SHARDS, f"[0-9]*{ENDING}"))]
