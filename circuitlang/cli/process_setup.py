"""How a command meets the machine: its streams, its environment, and what nobody foresaw."""

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

# What a command exits with where circuitlang itself is at fault, as sysexits.h has it.
INTERNAL = 70
# With this variable set, errors of circuitlang itself end in a traceback.
DEBUG = "CIRCUITLANG_DEBUG"
# Columns and lines of the largest terminal. What is laid out takes time and memory by its width.
_WIDEST = 10_000


@contextmanager
def boundary() -> Iterator[None]:
    """Within it a command runs: whatever it raises ends in one clear message and an exit code."""
    _streams()
    _environment()
    silence()
    try:
        try:
            yield
        finally:
            _flush()
    except OSError as error:
        if os.environ.get(DEBUG):
            raise
        _end(_of_the_system(error), 1)
    except MemoryError:
        _end(Finding("E399", "memory ran out", None, "", "free some, or ask for less at a time"), 1)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        _end(_internal(error), INTERNAL)


def silence() -> None:
    """Keep warnings of libraries off the terminal, which say nothing to somebody who reads a report. As Python's other
    tools do, leave them where `python -W` or PYTHONWARNINGS asks for them."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _end(finding: Finding, code: int) -> None:
    with suppress(OSError, ValueError):
        from circuitlang.reporting.diagnostics import render

        if sys.stderr is not None:
            sys.stderr.write(f"{render([finding]).plain}\n")
            sys.stderr.flush()
    sys.exit(code)


def _of_the_system(error: OSError) -> Finding:
    """What the operating system refused, where nobody asked it in particular."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG, errno.EDQUOT):
        return Finding("E390", "can't write the output", None, reason, "send it to another place")
    where = f" {os.fsdecode(error.filename)}" if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
    return Finding("E399", f"the system refused{where or ' something'}", None, reason)


def _internal(error: Exception) -> Finding:
    said = f"{type(error).__name__}: {error}".strip(": ")
    frames = traceback.extract_tb(error.__traceback__)
    place = f"in {os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}" if frames else ""  # noqa: PTH119
    cure = f"please report this: the mistake is not yours. {DEBUG}=1 prints the traceback"
    return Finding("E399", f"circuitlang failed: {said[:500]}", None, place, cure)


def _streams() -> None:
    """Streams that are there and take any text: a letter that the terminal hasn't is written by its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            # Closed from outside. The next file to be opened must not become what is printed to.
            with suppress(OSError):
                descriptor = os.open(os.devnull, os.O_RDWR)
                if number > 0:
                    setattr(sys, name, os.fdopen(descriptor, "w", encoding="utf-8", closefd=False))
        elif number > 0 and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _environment() -> None:
    """Sizes of terminals that can be: rich takes any number, and some that are none."""
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name)
        if value is None:
            continue
        if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) == 0:
            del os.environ[name]
        elif int(value) > _WIDEST:
            os.environ[name] = str(_WIDEST)


def _flush() -> None:
    """Write what is still to be written, while it can be said that it can't be."""
    if sys.stdout is None or sys.stdout.closed:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            # Python would try again at its end, and complain in its own way.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
