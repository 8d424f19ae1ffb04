"""Commands in a pseudo-terminal, and what a person sees there in the end: the scrollback and the screen."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyte

from tests.conftest import ROOT

SIZES = ((80, 24), (120, 40))


@dataclass(frozen=True)
class Session:
    """A command that has ended.

    Attributes:
        lines: All lines of the terminal, from the first of the scrollback to the last of the screen.
        code: Exit code.
        draws: Number of times that the last line was erased.
    """

    lines: list[str]
    code: int
    draws: int

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def _at_a_terminal() -> None:
    """Let the terminal on standard input send signals to this process, also where tests run in the background."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Terminal:
    """A terminal of a size, in which a command of the project's Python runs."""

    def __init__(self, columns: int, rows: int, arguments: Sequence[str]) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self._draws = 0
        self._master, slave = pty.openpty()
        self._resize(columns, rows)
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            arguments,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=_at_a_terminal,
        )
        os.close(slave)

    def _resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window, which the command is told by a signal."""
        screen = self._screen
        # As terminals do, and pyte does not: lines that have no room any more go to the scrollback.
        lost = max(0, screen.cursor.y + 1 - rows)
        screen.history.top.extend(screen.buffer[row] for row in range(lost))
        kept = {row - lost: screen.buffer[row] for row in range(lost, screen.lines)}
        screen.buffer.clear()
        screen.buffer.update(kept)
        screen.cursor.y -= lost
        y = screen.cursor.y
        screen.lines = min(screen.lines, rows)
        screen.resize(rows, columns)
        screen.cursor.y = y
        self._resize(columns, rows)
        os.killpg(self.process.pid, signal.SIGWINCH)

    def press_ctrl_c(self) -> None:
        self.type("\x03")

    def type(self, keys: str) -> None:
        """Press keys, one after the other."""
        os.write(self._master, keys.encode())

    @property
    def lines(self) -> list[str]:
        """All lines so far, without the empty ones at the end."""
        history = [_text(line, self._screen.columns) for line in self._screen.history.top]
        return "\n".join([*history, *(line.rstrip() for line in self._screen.display)]).rstrip().split("\n")

    def read_until(self, holds: Callable[[list[str]], bool]) -> None:
        """Read until the lines are as wanted; fails if the command ends before."""
        while not holds(self.lines):
            assert self._read(), "\n".join(self.lines)

    def wait(self) -> Session:
        """Read until the command ends."""
        while self._read():
            pass
        os.close(self._master)
        return Session(self.lines, self.process.wait(), self._draws)

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self._draws += data.count(b"\x1b[2K")
        self._stream.feed(data)
        return bool(data)


def _text(line: dict[int, pyte.screens.Char], columns: int) -> str:
    # Cells that were never written are missing.
    return "".join(line[column].data if column in line else " " for column in range(max(line, default=-1) + 1)).rstrip()
