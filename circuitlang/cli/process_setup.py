"""The process around a command: standard streams, environment, and unexpected errors."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from circuitlang.base.diagnostics import Finding
from circuitlang.cli.console import FINDINGS, INTERNAL

# If this variable is set, unexpected errors end in a traceback.
DEBUG = "CIRCUITLANG_DEBUG"
# Columns and lines of the largest terminal. Time and memory of the layout grow with the width.
_LARGEST_TERMINAL = 10_000


@contextmanager
def boundary() -> Iterator[None]:
    """Run a command inside: turn each unexpected error into one message and an exit code."""
    _repair_streams()
    _limit_terminal_size()
    silence()
    try:
        try:
            yield
        finally:
            _flush()
    except OSError as error:
        if os.environ.get(DEBUG):
            raise
        _exit_with(_system_finding(error), FINDINGS)
    except MemoryError:
        _exit_with(Finding("E399", "memory ran out", None, "", "free some, or ask for less at a time"), FINDINGS)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        _exit_with(_internal_finding(error), INTERNAL)


def silence() -> None:
    """Hide the warnings of libraries from users, unless `python -W` or PYTHONWARNINGS asks for them."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _exit_with(finding: Finding, code: int) -> None:
    """Print a finding on stderr, if that can be written, and exit."""
    with suppress(OSError, ValueError):
        from circuitlang.reporting.diagnostics import render

        if sys.stderr is not None:
            sys.stderr.write(f"{render([finding]).plain}\n")
            sys.stderr.flush()
    sys.exit(code)


def _system_finding(error: OSError) -> Finding:
    """Return a finding about an error of the operating system that no code expected."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG, errno.EDQUOT):
        return Finding("E390", "can't write the output", None, reason, "send it to another place")
    where = f" {os.fsdecode(error.filename)}" if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
    return Finding("E399", f"the system refused{where or ' something'}", None, reason)


def _internal_finding(error: Exception) -> Finding:
    """Return a finding about a defect in circuitlang, with the place of the last frame."""
    description = f"{type(error).__name__}: {error}".strip(": ")
    frames = traceback.extract_tb(error.__traceback__)
    place = f"in {os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}" if frames else ""  # noqa: PTH119
    cure = f"please report this: the mistake is not yours. {DEBUG}=1 prints the traceback"
    return Finding("E399", f"circuitlang failed: {description[:500]}", None, place, cure)


def _repair_streams() -> None:
    """Replace closed standard streams, and escape characters that the encoding of a stream lacks."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            # Otherwise the next file to be opened would get the descriptor of the stream.
            with suppress(OSError):
                descriptor = os.open(os.devnull, os.O_RDWR)
                if number > 0:
                    setattr(sys, name, os.fdopen(descriptor, "w", encoding="utf-8", closefd=False))
        elif number > 0 and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _limit_terminal_size() -> None:
    """Remove invalid COLUMNS and LINES from the environment and limit large ones; rich does not check them."""
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name)
        if value is None:
            continue
        if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) == 0:
            del os.environ[name]
        elif int(value) > _LARGEST_TERMINAL:
            os.environ[name] = str(_LARGEST_TERMINAL)


def _flush() -> None:
    """Flush stdout while an error can still be reported."""
    if sys.stdout is None or sys.stdout.closed:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            # Python would try again at exit and print a message of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
