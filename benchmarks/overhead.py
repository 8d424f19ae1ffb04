"""Time that a circuit takes beside its scores: `python benchmarks/overhead.py`.

The circuits of a sweep over a channel of the bundled network are computed again and again in one process, by one
thread, with scores from the cache: what is left is the processor time of building and measuring them, of the module, of
diagrams and of pages. The first run is not counted. The least of all rounds is printed, for it is disturbed least by
whatever else the machine does. Of a circuit without any files but its numbers most is passes over the images.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from pathlib import Path

import torch

import circuitlang
from circuitlang.results.run_listener import RunListener

# Sizes of the sweep; the last circuits are drawn with few connections, the first with as many as there may be.
SPEC = """images dogs = bundled.dogs
preserve conv5:[30..34] on dogs keep<=each(10%, 5%) criterion=snip
"""
CIRCUITS = 10
RENDERINGS = ("none", "diagram", "all")


class Collections:
    """Processor time that Python's garbage collector takes."""

    def __init__(self) -> None:
        self.seconds, self._begin = 0.0, 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._begin = time.process_time()
        else:
            self.seconds += time.process_time() - self._begin


def run(rendering: str, folder: Path) -> float:
    """Compute all circuits; return the processor time of one of them."""
    os.environ["CIRCUITLANG_RENDER"] = rendering
    begin = time.process_time()
    circuitlang.run(SPEC, out=folder / f"{rendering}-{time.monotonic_ns()}", progress=RunListener())
    return (time.process_time() - begin) / CIRCUITS


def main() -> None:
    """Print the processor time of a circuit for each rendering."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    collected = Collections()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["CIRCUITLANG_CACHE"] = str(folder / "cache")
        run("all", folder)
        times: dict[str, list[tuple[float, float]]] = {rendering: [] for rendering in RENDERINGS}
        for _ in range(rounds):
            for rendering, taken in times.items():
                collected.seconds = 0.0
                spent = run(rendering, folder)
                taken.append((spent, collected.seconds / CIRCUITS))
    print("| files | processor time of a circuit, s | of it garbage collection |\n|---|---|---|")
    for rendering, taken in times.items():
        seconds, cleaning = min(taken)
        print(f"| `--render {rendering}` | {seconds:.2f} | {cleaning:.2f} |")


if __name__ == "__main__":
    main()
