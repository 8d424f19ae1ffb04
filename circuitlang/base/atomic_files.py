"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# The prefix of a file's name until the file is whole.
PARTIAL = ".partial-"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file in one step, also where two processes write it at once. Makes its folder; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
