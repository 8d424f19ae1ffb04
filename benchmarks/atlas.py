"""Circuits per hour of a whole layer, and the time that is no pass: `python -m benchmarks.atlas --weights FILE`.

A packed run finds a circuit for each channel of a layer of ResNet-18 (128 pixels, 32 images) by `gn`, in one process
and by one thread, with nothing in the cache. Processor time is told apart as in `benchmarks.overhead`: what networks
take on images, forward and backward, and all else. Then the atlas is written. Without a file of weights
they are random ones, which take the same time. `--profile` prints the functions that take most.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from pathlib import Path

import torch

import circuitlang
from benchmarks.overhead import Circuits, Passes
from circuitlang.api.atlas import write_atlas
from circuitlang.engine.attribution.criteria import gn
from circuitlang.plugins.protocols import LayerSignals

SPEC = """model torchvision.{network}({arguments}resize=128, crop=128)
images seen = bundled.dogs limit=32
defaults criterion=gn keep<=5%
preserve {layer}:[0..{last}] on seen
"""


class AllPasses(Passes):
    """Processor time of passes, those of scores included: their gradients are taken by functions."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("grad", "backward"):
            self._watch(torch.autograd, name, counts=True)


class KernelScores:
    """Processor time of the scores of kernels, which the backward pass computes from activations and gradients."""

    def __init__(self) -> None:
        self.seconds, original = 0.0, gn.centred_moments

        def watched(kernels: LayerSignals) -> torch.Tensor:
            begin = time.process_time()
            try:
                return original(kernels)
            finally:
                self.seconds += time.process_time() - begin

        gn.centred_moments = watched


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Time of the circuits of a layer, in passes and beside them.")
    parser.add_argument("--circuits", type=int, default=256)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--layer", default="layer3.0.conv1")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--profile", action="store_true")
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    weights = f'weights="{parsed.weights.resolve()}", ' if parsed.weights else "weights=none, "
    spec = SPEC.format(network=parsed.network, arguments=weights, layer=parsed.layer, last=parsed.circuits - 1)
    passes, scores = AllPasses(), KernelScores()
    circuits = Circuits(passes)
    profiler = cProfile.Profile()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["CIRCUITLANG_CACHE"] = str(folder / "cache")
        if parsed.profile:
            profiler.enable()
        begin, clock = time.process_time(), time.monotonic()
        circuitlang.run(spec, out=folder, packed=True, progress=circuits)
        whole, elapsed = time.process_time() - begin, time.monotonic() - clock
        profiler.disable()
        packed = (folder / "inline" / "circuits.parquet").stat().st_size
        begin = time.process_time()
        atlas = write_atlas(folder / "inline")
        writing = time.process_time() - begin
    count = parsed.circuits
    print(f"| {count} circuits of {parsed.network}, {parsed.layer} | a circuit |\n|---|---|")
    print(f"| forward and backward, s | {(passes.seconds - scores.seconds) / count:.3f} |")
    print(f"| scores of kernels in the backward pass, s | {scores.seconds / count:.3f} |")
    print(f"| all else, s | {(whole - passes.seconds) / count:.3f} |")
    print(f"| share of all else | {1 - passes.seconds / whole:.0%} |")
    print(f"| of it the run, once, s | {(whole - circuits.seconds) / count:.3f} |")
    print(f"| circuits per hour of one core | {3600 * count / whole:,.0f} |")
    print(f"| circuits per hour, elapsed | {3600 * count / elapsed:,.0f} |")
    print(f"| circuits.parquet, kB | {packed / count / 1e3:.1f} |")
    print(f"| atlas, kB | {atlas.size / count / 1e3:.1f} |")
    print(f"| atlas, s | {writing / count:.3f} |")
    if parsed.profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats("circuitlang", 60)


if __name__ == "__main__":
    main()
