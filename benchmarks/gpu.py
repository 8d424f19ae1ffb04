"""Circuits on a GPU against the CPU, and how fast they come: `python -m benchmarks.gpu`.

Takes at most 8 minutes. Printed are Markdown tables:

1. Agreement: the same specs on both devices. A kernel that one of the two circuits lacks must be a tie, a score within
   1e-4 of the last that is kept; metrics must be the same to 1e-4. Where they are not, the exit status is 1.
2. Times of criteria in FB, the time of one forward and backward pass of the images up to the target on the same device,
   with TF32 (`--fast`) beside full single precision, images per second and the most memory.
3. Circuits per hour of a layer, as in `benchmarks.atlas`.

`--device cpu --quick` runs all of it on a machine without a GPU: a small setting, whose figures say nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

import circuitlang
from benchmarks.speed import NETS, UNIT, Fixed, floor, network
from circuitlang.api.circuits import LoadedCircuit
from circuitlang.api.runs import Run
from circuitlang.base.diagnostics import CircuitError
from circuitlang.engine import device as devices
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace

# Metrics agree, and scores are ties, within this.
TOLERANCE = 1e-4
MINUTES = 8.0
AGREEMENT = """model {model}
images seen = bundled.dogs limit={images}
defaults keep<=each(5%, 20%)
preserve {target} on seen criterion={criterion}
"""
ATLAS = """model {model}
images seen = bundled.dogs limit=32
defaults criterion=gn keep<=5%
preserve {layer}:[0..{last}] on seen
"""


@dataclass(frozen=True)
class Setting:
    """Settings of the benchmark: networks of the agreement and of the times, sizes, and circuits of a layer."""

    model: str
    target: str
    layer: str
    criteria: tuple[str, ...]
    timed: tuple[str, ...]
    network: str
    side: int
    images: int
    circuits: int
    rounds: int


FULL = Setting(
    model="torchvision.resnet18(weights=none, resize=128, crop=128)",
    target="layer3.1.conv1:10",
    layer="layer3.0.conv1",
    # Of learned masks, a difference in the last bit grows with every step.
    criteria=("snip", "actgrad", "taylor", "gn", "greedy", "force"),
    timed=("snip", "actgrad", "taylor", "gn", "greedy", "path", "force"),
    network="resnet18",
    side=224,
    images=64,
    circuits=256,
    rounds=5,
)
QUICK = Setting(
    model="bundled.doodle",
    target="conv4:8",
    layer="conv4",
    criteria=("gn", "greedy"),
    timed=("gn",),
    network="resnet18",
    side=64,
    images=2,
    circuits=2,
    rounds=1,
)


@dataclass(frozen=True)
class Agreement:
    """Two circuits of one request, found on two devices: kernels that only one has, those of them that are no tie, the
    largest difference of a metric and of a score relative to the largest."""

    name: str
    kernels: int
    different: int
    no_tie: int
    metric: float
    score: float

    @property
    def holds(self) -> bool:
        """Whether the circuits are the same but for ties and rounding; a tie may change metrics."""
        return self.no_tie == 0 and (self.different > 0 or self.metric <= TOLERANCE)


def agreement(one: LoadedCircuit, other: LoadedCircuit) -> Agreement:
    """Compare two circuits of one request."""
    mine, theirs = (dict(_scores(circuit)) for circuit in (one, other))
    apart = mine.keys() ^ theirs.keys()
    last = min(*mine.values(), *theirs.values())
    no_tie = sum(abs({**mine, **theirs}[kernel] - last) > TOLERANCE * abs(last) for kernel in apart)
    largest = max(map(abs, mine.values()))
    shared = [abs(mine[kernel] - theirs[kernel]) / largest for kernel in mine.keys() & theirs.keys()]
    metrics = [abs(one.metrics[name] - other.metrics[name]) for name in one.metrics]
    return Agreement(one.summary.plan.id, len(mine), len(apart), no_tie, max(metrics), max(shared, default=0.0))


def _scores(circuit: LoadedCircuit) -> Iterator[tuple[tuple[int, int, int], float]]:
    """Yield the kept kernels (layer, output, input channel) with their scores."""
    for layer, kernels in enumerate(circuit.circuit.kernels):
        columns = (np.asarray(column).tolist() for column in (kernels.target, kernels.source, kernels.score))
        yield from (((layer, target, source), value) for target, source, value in zip(*columns, strict=True))


def agreements(setting: Setting, device: str, out: Path) -> Iterator[Agreement]:
    """Yield the agreement of each criterion and size between the CPU and a device."""
    for criterion in setting.criteria:
        spec = AGREEMENT.format(
            model=setting.model, images=max(setting.images // 2, 4), target=setting.target, criterion=criterion
        )
        runs: list[Run] = []
        for name in ("cpu", device):
            # What one has left in the cache must not be what the other gives.
            os.environ["CIRCUITLANG_CACHE"] = str(out / f"cache-{name}-{len(runs)}")
            runs.append(circuitlang.run(spec, out=out / f"{criterion}-{len(runs)}", device=name, render="none"))
        for one, other in zip(*runs, strict=True):
            yield agreement(one, other)


class Clock:
    """Times functions on a device, whose work goes on after a call returns, and the most memory that they take."""

    def __init__(self, device: torch.device, rounds: int) -> None:
        self._device, self._rounds, self._cuda = device, rounds, device.type == "cuda"

    def seconds(self, function: Callable[[], object]) -> float:
        """Return the median time of a function, which is called once before: to choose algorithms takes time."""
        function()
        taken = []
        for _ in range(self._rounds):
            self._wait()
            begin = time.perf_counter()
            function()
            self._wait()
            taken.append(time.perf_counter() - begin)
        return median(taken)

    def memory(self, function: Callable[[], object]) -> str:
        """Return the most memory that a function takes, in MB; nothing is known of it but on a GPU."""
        if not self._cuda:
            return "–"
        torch.cuda.reset_peak_memory_stats(self._device)
        function()
        return f"{torch.cuda.max_memory_allocated(self._device) / 1e6:,.0f}"

    def _wait(self) -> None:
        if self._cuda:
            torch.cuda.synchronize(self._device)


def scored(graph: Graph, name: str, word: str, images: Tensor, fast: bool) -> None:
    """Score the kernels up to a channel by one criterion, exactly or in TF32."""
    with devices.arithmetic(images.device), devices.arithmetic(images.device, fast):
        builder = Builder(TargetSubnetwork(graph, Target(graph.find(NETS[name]), (UNIT,))), Fixed(images))
        score(builder, word, {}, sum(int(mask.sum()) for mask in builder.relevant.values()) // 10, 0)


def times(setting: Setting, device: torch.device) -> Iterator[str]:
    """Yield the rows of the times of criteria, FB first."""
    model: nn.Module = network(setting.network).to(device)
    shape = setting.images, 3, setting.side, setting.side
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    graph = trace(model, (setting.side, setting.side))
    clock, fast = Clock(device, setting.rounds), device.type == "cuda"
    pass_of_all = partial(floor, model, NETS[setting.network], images, together=setting.images)
    unit = clock.seconds(pass_of_all)
    yield f"| a pass (FB) | 1.00 | {setting.images / unit:,.0f} | {clock.memory(pass_of_all)} | |"
    for word in setting.timed:
        exact = partial(scored, graph, setting.network, word, images, False)
        seconds = clock.seconds(exact)
        ratio = (
            f"{clock.seconds(partial(scored, graph, setting.network, word, images, True)) / unit:.2f}" if fast else ""
        )
        yield f"| `{word}` | {seconds / unit:.2f} | {setting.images / seconds:,.0f} | {clock.memory(exact)} | {ratio} |"


def per_hour(setting: Setting, device: str, out: Path) -> float:
    """Return the number of circuits of a layer that are found in an hour."""
    os.environ["CIRCUITLANG_CACHE"] = str(out / "cache-atlas")
    spec = ATLAS.format(model=setting.model, layer=setting.layer, last=setting.circuits - 1)
    begin = time.perf_counter()
    circuitlang.run(spec, out=out / "atlas", device=device, packed=True)
    return 3600 * setting.circuits / (time.perf_counter() - begin)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Circuits on a GPU: agreement with the CPU, times and memory.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="a small setting, to try the benchmark itself")
    options = parser.parse_args(arguments)
    try:
        device = devices.find(options.device)
    except CircuitError as error:
        sys.exit(f"{error.findings[0].message}; `--device cpu --quick` tries the benchmark on the CPU")
    setting, end = QUICK if options.quick else FULL, time.monotonic() + 60 * MINUTES
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    print(f"{name}, torch {torch.__version__}; {setting.images} images of {setting.side} pixels, {setting.network}\n")
    fails = False
    with tempfile.TemporaryDirectory() as temporary:
        print(
            "| circuit | kernels | other | no tie | metrics differ by | scores differ by |\n|---|---|---|---|---|---|"
        )
        for row in agreements(setting, options.device, Path(temporary)):
            fails |= not row.holds
            differences = f"{row.different} | {row.no_tie} | {row.metric:.1e} | {row.score:.1e}"
            print(f"| {row.name} | {row.kernels:,} | {differences} |")
            if time.monotonic() > end - 60 * MINUTES / 2:
                print("| stopped: half of the time is over | | | | | |")
                break
        print("\n| | time in FB | images per second | memory, MB | with `--fast` |\n|---|---|---|---|---|")
        for line in times(setting, device):
            print(line)
            if time.monotonic() > end - 60:
                break
        if time.monotonic() < end - 60:
            rate = per_hour(setting, options.device, Path(temporary))
            print(f"\n{setting.circuits} circuits of {setting.layer} by `gn`: {rate:,.0f} circuits per hour")
    sys.exit("circuits differ between the devices by more than ties" if fails else 0)


if __name__ == "__main__":
    main()
