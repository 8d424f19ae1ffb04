"""What a sweep really costs beside what `plan` says of it: `python -m benchmarks.sweep`.

A sweep of criteria by sizes by features is run into a temporary folder with an empty cache. Every picture that goes
forward through the network up to the target is counted, and every one that goes backward, by watching the first layer
that has kernels; and pictures that go through a circuit's module. Beside it stand the numbers that `plan` predicts.

The processor time of the run is compared with what the predicted pictures take by themselves: those that go backward as
long as a pass of `actgrad`, the others as long as a forward pass. What is above is the work that no picture does: to
select, to draw resamples, to export the module, to draw diagrams and pages, to write.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.fidelity import PHOTOGRAPHS, ROOT
from circuitlang import pipeline
from circuitlang.base.source import Source
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.masked_layer import MaskedLayer
from circuitlang.engine.evaluation.fidelity import responses
from circuitlang.engine.runtime import artifacts, circuit_finder
from circuitlang.engine.runtime.jobs import prepare
from circuitlang.engine.runtime.options import Options

# Model, pictures, and channels that aren't constant on them.
NETS = {
    "bundled": ("", f"{ROOT}/examples/images/*/*", "conv5:[{}]", (0, 1, 12, 22, 34, 38, 40, 44)),
    "squeezenet": (
        f'model squeezenet1_0(weights="{PHOTOGRAPHS}/squeezenet1_0.safetensors", resize=128, crop=128)\n',
        f"{PHOTOGRAPHS}/images/*/*",
        "features.10.expand3x3:[{}]",
        (20, 84, 148, 155, 180, 200, 220, 248),
    ),
}
SIZES = "1%, 2%, 5%, 10%, 20%, 50%"


@dataclass
class Count:
    """Pictures that went forward, of these the ones through modules, and backward."""

    forward: int = 0
    modules: int = 0
    backward: int = 0


@contextmanager
def counted() -> Iterator[Count]:
    """Count within the block, whoever runs a network."""
    count = Count()
    layer, verify = MaskedLayer.forward, artifacts.verify

    def forward(self: Any, x: Tensor) -> Tensor:
        y = layer(self, x)
        # The first layer is the one whose input no gradient is wanted of, unless it is of the picture itself.
        if self.layer.in_channels == 3:
            count.forward += len(x)
            if y.requires_grad:
                y.register_hook(lambda gradient: _add(count, len(gradient)))
        return y

    def checked(subnetwork: Any, edits: Any, module: Any, images: Any) -> float:
        count.modules += len(images)
        return verify(subnetwork, edits, module, images)

    def sparse_runner(found: Any) -> Any:
        runner = compute.func(found)
        if runner is not None:
            runner.register_forward_pre_hook(lambda _, given: _through(count, len(given[0])))
        return runner

    compute = circuit_finder.BuiltCircuit.sparse_runner
    quickly = cached_property(sparse_runner)
    quickly.__set_name__(circuit_finder.BuiltCircuit, "sparse_runner")
    with (
        patch.object(MaskedLayer, "forward", forward),
        patch.object(artifacts, "verify", checked),
        patch.object(circuit_finder.BuiltCircuit, "sparse_runner", quickly),
    ):
        yield count
    count.forward += count.modules


def _through(count: Count, pictures: int) -> None:
    count.modules += pictures


def _add(count: Count, pictures: int) -> None:
    count.backward += pictures


def spec(net: str, features: int, criteria: str, limit: int) -> str:
    """The sweep as a spec."""
    model, pictures, target, channels = NETS[net]
    chosen = target.format(", ".join(map(str, channels[:features])))
    sweep = f"circuit sweep = preserve {chosen} on sample sparsity<=each({SIZES}) criterion=each({criteria})\n"
    return f"{model}images sample = {pictures} limit={limit} seed=0\n{sweep}"


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """The shortest of a few times."""
    found = []
    for _ in range(times):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return min(found)


def main() -> None:
    """Plan, run, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--net", choices=NETS, default="bundled")
    parser.add_argument("--features", type=int, default=8)
    parser.add_argument("--criteria", default="actgrad, snip, force(steps=5)")
    parser.add_argument("--images", type=int, default=100, help="images, a fifth of them held out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CIRCUITLANG_CACHE"] = f"{folder}/cache"
        compiled = pipeline.compile_source(Source("sweep.circuit", spec(options.net, options.features, options.criteria,
                                                                        options.images)))  # fmt: skip
        total = pipeline.forecast(compiled, Path(folder) / "runs").total
        job = prepare(compiled.plan, compiled.folder, compiled.origins, Options()).jobs[0]
        builder, number = Builder(job.subnetwork, job.train), len(job.train)
        one_pass = seconds(lambda: score(builder, "actgrad", {}, 1, 0)) / number
        one_forward = seconds(lambda: responses(job.subnetwork, job.train, "")) / number
        begin = time.process_time()
        with counted() as count:
            # Images of channels are made in the network once for all circuits, which the plan leaves out.
            pipeline.run_compiled(compiled, Path(folder) / "runs", Options(visualise=False))
        took = time.process_time() - begin
    expected = total.returned * one_pass + (total.forwarded - total.returned) * one_forward
    circuits = len(compiled.plan.circuits)
    print(f"{options.net}: {circuits} circuits, found on {number} images; plan: {total.passes:g} passes", end="")
    print(f" and {total.forwards:,} forwards\n")
    print("| | run | plan | run / plan |\n|---|---|---|---|")
    rows = (("images forward", count.forward, total.forwarded), ("images backward", count.backward, total.returned))
    for name, real, said in rows:
        print(f"| {name} | {real:,} | {said:,.0f} | {real / said:.2f} |")
    print(f"| seconds of processor time | {took:.1f} | {expected:.1f} | {took / expected:.2f} |")
    print(f"\nOne image: {1e3 * one_pass:.2f} ms in a pass, {1e3 * one_forward:.2f} ms forward")


if __name__ == "__main__":
    main()
