"""What the processes of some tests do; light to import, as each of them does that."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


def start() -> Callable[[str], str]:
    return do


def do(item: str) -> str:
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if item.startswith("sleep"):
        Path(item.split()[1]).write_text(str(os.getpid()))
        time.sleep(600)
    seen = Path(os.environ.get("SEEN", os.devnull))
    with seen.open("a") as file:
        file.write(f"{item}\n")
    return item.upper()
