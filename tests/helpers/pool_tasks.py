"""What the processes of some tests do; light to import, as each of them does that."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path


def start() -> Callable[[Sequence[str]], list[str]]:
    return do


def do(items: Sequence[str]) -> list[str]:
    (item,) = items
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if item.startswith("sleep"):
        # As a number, it is closed by nothing but the end of the process.
        os.write(os.open(item.split()[1], os.O_WRONLY), f"{os.getpid()}\n".encode())
        signal.pause()
    seen = Path(os.environ.get("SEEN", os.devnull))
    with seen.open("a") as file:
        file.write(f"{item}\n")
    return [item.upper()]
