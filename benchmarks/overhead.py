"""Time that a circuit takes beside its passes: `python benchmarks/overhead.py`.

The circuits of a sweep over a channel of the bundled network are computed again and again in one process, by one
thread, with scores from the cache. Of the processor time, what networks take on images, forward and backward, is told
apart: measuring circuits and their baselines, the maps that pages show, and the images that are made. What is left is
the overhead: the building of circuit, module, diagrams and pages. The first run is not counted. The least of all rounds
is printed, for it is disturbed least by whatever else the machine does. What a run does once, from loading the network
to its own pages, has a column of its own.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import fx, nn

import circuitlang
from circuitlang.engine.runtime import circuit_finder
from circuitlang.results.run_listener import RunListener

# Sizes of the sweep; the last circuits are drawn with few connections, the first with as many as there may be.
SPEC = """images dogs = bundled.dogs
preserve conv5:[30..34] on dogs keep<=each(10%, 5%) criterion=snip
"""
CIRCUITS = 10
RENDERINGS = ("none", "diagram", "all")


class Passes:
    """Processor time that networks take on images, forward and backward.

    What runs while a module is traced, extracted or exported is no pass.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False
        for owner, name in ((nn.Module, "__call__"), (fx.Interpreter, "run"), (torch.Tensor, "backward")):
            self._watch(owner, name, counts=True)
        for owner, name in ((fx.Tracer, "trace"), (torch.export, "export"), (circuit_finder, "extract")):
            self._watch(owner, name, counts=False)

    def _watch(self, owner: type | ModuleType, name: str, counts: bool) -> None:
        """Replace a function by one that takes its time; what it calls is no pass of its own."""
        original = getattr(owner, name)

        def watched(*args: object, **options: object) -> object:
            if self._inside:
                return original(*args, **options)
            self._inside, begin = True, time.process_time()
            try:
                return original(*args, **options)
            finally:
                self._inside = False
                if counts:
                    self.seconds += time.process_time() - begin

        setattr(owner, name, watched)


class Circuits(RunListener):
    """Processor time of a run's circuits, from the beginning of each to its end, and of their passes."""

    def __init__(self, passes: Passes) -> None:
        self.seconds, self.passes = 0.0, 0.0
        self._watched, self._begin = passes, (0.0, 0.0)

    def circuit_begun(self, _circuit: str) -> None:
        self._begin = time.process_time(), self._watched.seconds

    def circuit_ended(self, _circuit: str) -> None:
        begin, passed = self._begin
        self.seconds += time.process_time() - begin
        self.passes += self._watched.seconds - passed


@dataclass(frozen=True, order=True)
class Spent:
    """Processor time in seconds: of a circuit beside its passes, of these, and of what a run does once."""

    overhead: float
    passes: float
    once: float


def run(rendering: str, folder: Path, passes: Passes) -> Spent:
    """Compute all circuits, and return what one of them took."""
    os.environ["CIRCUITLANG_RENDER"] = rendering
    circuits, begin = Circuits(passes), time.process_time()
    circuitlang.run(SPEC, out=folder / f"{rendering}-{time.monotonic_ns()}", progress=circuits)
    whole = time.process_time() - begin
    overhead = circuits.seconds - circuits.passes
    return Spent(overhead / CIRCUITS, circuits.passes / CIRCUITS, whole - circuits.seconds)


def main() -> None:
    """Print the processor time of a circuit for each rendering."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    passes = Passes()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["CIRCUITLANG_CACHE"] = str(folder / "cache")
        run("all", folder, passes)
        taken = [{rendering: run(rendering, folder, passes) for rendering in RENDERINGS} for _ in range(rounds)]
    print("| files | a circuit beside its passes, s | its passes, s | the run, once, s |\n|---|---|---|---|")
    for rendering in RENDERINGS:
        least = min(times[rendering] for times in taken)
        print(f"| `--render {rendering}` | {least.overhead:.3f} | {least.passes:.3f} | {least.once:.2f} |")


if __name__ == "__main__":
    main()
