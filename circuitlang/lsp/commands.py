"""Commands that need torch or take long, in a process of their own: a run, its forecast, a look at a model."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

# Lines of a command's output that a message of an editor shows.
_LINES = 8


async def run(spec: str, *ids: str) -> tuple[bool, str]:
    """Run circuits of a spec, into `runs` beside it; return whether it succeeded and the end of what it says."""
    only = [word for name in ids for word in ("--only", name)]
    return await _call(Path(spec), "run", Path(spec).name, *only)


async def plan(spec: str) -> tuple[bool, str]:
    """Forecast the run of a spec; return whether it can be run and the end of what is said."""
    return await _call(Path(spec), "plan", Path(spec).name)


async def look_at(spec: str, model: str) -> tuple[bool, str]:
    """Load a model once, so that its layers are known; return whether it could be, and the end of what is said."""
    return await _call(Path(spec), "layers", model)


async def _call(spec: Path, *arguments: str) -> tuple[bool, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "circuitlang",
        *arguments,
        cwd=spec.parent,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        raise
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return process.returncode == 0, "\n".join(lines[-_LINES:])
