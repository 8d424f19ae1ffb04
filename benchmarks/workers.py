"""How much sooner several processes end a run: `python -m benchmarks.workers --workers 2`.

A packed run finds circuits of a layer of ResNet-18 (128 pixels, 32 images, random weights) by `gn`, with nothing in the
cache: by one process of one thread, then by several, and so again. Printed are the elapsed seconds, everything
included, and their ratio. It says something only of a machine with so many idle cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPEC = """model torchvision.resnet18(weights=none, resize=128, crop=128)
images seen = bundled.dogs limit=32
preserve layer3.0.conv1:[0..{last}] on seen criterion=gn keep<=5%
"""


def elapsed(circuits: int, workers: int) -> float:
    """Return the seconds that a run takes by so many processes."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "layer.circuit").write_text(SPEC.format(last=circuits - 1), encoding="utf-8")
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "CIRCUITLANG_CACHE": str(folder / "cache")}
        command = [sys.executable, "-m", "circuitlang", "run", "layer.circuit", "--packed", "--quiet"]
        begin = time.monotonic()
        subprocess.run([*command, "--jobs", str(workers)], cwd=folder, env=variables, check=True)
        return time.monotonic() - begin


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Elapsed time of a run by one process and by several.")
    parser.add_argument("--circuits", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parsed = parser.parse_args()
    pairs = [(elapsed(parsed.circuits, 1), elapsed(parsed.circuits, parsed.workers)) for _ in range(parsed.rounds)]
    print(f"| {parsed.circuits} circuits | one process, s | {parsed.workers} processes, s | ratio |\n|---|---|---|---|")
    for number, (one, several) in enumerate(pairs, 1):
        print(f"| round {number} | {one:.1f} | {several:.1f} | {one / several:.2f} |")
    print(f"| median | | | {statistics.median(one / several for one, several in pairs):.2f} |")


if __name__ == "__main__":
    main()
