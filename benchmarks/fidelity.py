"""How well circuits keep their features, by criterion and size: `python benchmarks/fidelity.py`.

Channels are drawn at random, by the seed, from the layers behind the first third of the network; one that is constant
on the pictures is not drawn. Kernels are scored on one half of the pictures, and the circuit's map is compared with the
network's on the other. Printed are medians over the channels of r, of r with each position's mean removed, of r2, and
of r on the images that kernels are scored on, with quartiles, as Markdown tables; then what a variant costs, in passes
and in seconds of this machine. Progress is on stderr; Ctrl-C prints the tables of the channels so far.

A variant is a name and the clauses of a spec; those that are refitted have other weights than the network and are to be
compared with one another. The row `paper` is the best of the paper's criteria, feature by feature.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from circuitlang import pipeline
from circuitlang.base.diagnostics import CircuitError
from circuitlang.base.source import Source
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import budget, count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.fidelity import measure, responses
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.images.file_patterns import find
from circuitlang.engine.images.image_set import ImageSet, load
from circuitlang.engine.runtime.model_loading import load_model
from circuitlang.engine.runtime.plan_checks import refusals
from circuitlang.plan.clauses import EndToEnd
from circuitlang.plan.model import Circuit, Images, Model, Sparsity
from circuitlang.plugins.protocols import CRITERIA, Schedule, Scores, passes_of

ROOT = Path(__file__).resolve().parents[1]
PHOTOGRAPHS = ROOT.parent / "shared" / "real"
PAPER = ("snip", "actgrad", "force")
# As the paper has them: dead kernels are not replaced.
# The best that can be had.
LONG = "criterion=annealed(passes=60, augment=true)"
VARIANTS = {
    **{name: f"criterion={name}" for name in ("random", "magnitude")},
    **{name: f"criterion={name} refill=none" for name in PAPER},
    **{name: f"criterion={name}" for name in ("taylor", "gn", "greedy", "path", "learned", "annealed")},
    "annealed, long": LONG,
    **{
        f"{name}, refitted": f"criterion={name} calibrate=kernels"
        for name in ("actgrad", "gn", "greedy", "path", "annealed")
    },
    **{
        f"{name}, end to end": f"criterion={name} calibrate=kernels(method=end_to_end)"
        for name in ("gn", "greedy", "annealed")
    },
    "annealed, long, end to end": f"{LONG} calibrate=kernels(method=end_to_end)",
}
SIZES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
MEASURES = {
    "pearson": "r",
    "pearson_demeaned": "r, each position's mean removed",
    "r2": "r2",
    "train": "r on training images",
}

# For a channel and a variant, at each size: the metrics by name, the share of the kept kernels that is connected, and
# the seconds that its scores and its refit took.
Curve = list[dict[str, float]]


@dataclass(frozen=True)
class Ground:
    """A network and its pictures: those that kernels are scored on, and those that are held out."""

    graph: Graph
    train: ImageSet
    test: ImageSet


def squeezenet(pixels: int, limit: int | None, seed: int) -> Ground:
    """SqueezeNet 1.0 as it was trained on ImageNet, and photographs of dogs and of other things."""
    arguments = {"weights": "squeezenet1_0.safetensors", "resize": pixels, "crop": pixels}
    return _ground(Model(source="torchvision", name="squeezenet1_0", arguments=arguments), PHOTOGRAPHS, limit, seed)


def bundled(_pixels: int, limit: int | None, seed: int) -> Ground:
    """The bundled network and its drawings, at their own size."""
    return _ground(Model(source="bundled", name="doodle"), ROOT / "examples", limit, seed)


def resnet18(pixels: int, limit: int | None, seed: int) -> Ground:
    """ResNet-18 as it was trained on ImageNet, and the same photographs."""
    arguments = {"weights": "resnet18.safetensors", "resize": pixels, "crop": pixels}
    return _ground(Model(source="torchvision", name="resnet18", arguments=arguments), PHOTOGRAPHS, limit, seed)


NETS = {"squeezenet": squeezenet, "resnet18": resnet18, "bundled": bundled}


def _ground(model: Model, folder: Path, limit: int | None, seed: int) -> Ground:
    loaded = load_model(model, folder)
    paths = find(Images(include=["images/*/*"], limit=limit, seed=seed), folder)
    pictures, _ = load(paths, loaded.preprocess)
    train, test = pictures.split(0.5, seed)
    assert test is not None, "two images at least"
    return Ground(trace(loaded.module, (loaded.preprocess.crop, loaded.preprocess.crop)), train, test)


def variant(clauses: str) -> Circuit:
    """A variant as the compiler understands it."""
    spec = f"images photos = photos/*\npreserve conv5:0 on photos sparsity<=0.1 {clauses}\n"
    try:
        circuit = pipeline.compile_source(Source("variant", spec)).plan.circuits[0]
    except CircuitError as error:
        sys.exit(f"{clauses}: {error}")
    if reasons := refusals(circuit):
        sys.exit(f"this version can't run {', '.join(reasons.values())}")
    return circuit


def target(text: str) -> tuple[str, int]:
    """A layer and a channel, as in `conv7:91`."""
    layer, _, unit = text.rpartition(":")
    return layer, int(unit)


def draw(ground: Ground, channels: int, seed: int, layers: Sequence[str] = ()) -> Iterator[tuple[str, int]]:
    """Channels, each of another layer while there are others; of the deep layers unless some are named."""
    random = Random(seed)
    deep = ground.graph.layers[len(ground.graph.layers) // 3 :]
    if layers:
        deep = [ground.graph.find(name).layer or sys.exit(f"'{name}' is no layer with kernels") for name in layers]
    order = random.sample(deep, len(deep))
    there = sum(layer.out_channels for layer in deep)
    drawn: set[tuple[str, int]] = set()
    dead: set[tuple[str, int]] = set()
    for layer in cycle(order):
        if len(drawn) == channels or len(drawn | dead) == there:
            break
        place = layer.name, random.randrange(layer.out_channels)
        if place in drawn | dead:
            continue
        subnetwork = TargetSubnetwork(ground.graph, Target(ground.graph.find(layer.name), (place[1],)))
        if any(_constant(responses(subnetwork, part, "")) for part in (ground.train, ground.test)):
            dead.add(place)
            continue
        drawn.add(place)
        yield place
    if dead:
        print(f"constant, and so passed over: {', '.join(f'{name}:{unit}' for name, unit in dead)}", file=sys.stderr)


def _constant(feature: Tensor) -> bool:
    return float((feature - feature.mean()).norm()) <= 1e-6 * float(feature.norm())


def curves(
    ground: Ground, layer: str, unit: int, plans: Mapping[str, Circuit], sizes: Sequence[float], about: str
) -> dict[str, Curve]:
    """Of one channel every variant's fidelities, told on stderr as they come."""
    subnetwork = TargetSubnetwork(ground.graph, Target(ground.graph.find(layer), (unit,)))
    original, trained = responses(subnetwork, ground.test, ""), responses(subnetwork, ground.train, "")
    found = {}
    for name, plan in plans.items():
        begin = time.perf_counter()
        found[name] = curve(ground, subnetwork, (original, trained), plan, sizes)
        shown = " ".join(f"{at['pearson']:.2f}" for at in found[name])
        print(f"{about} {name}  {shown}  {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    return found


def curve(
    ground: Ground, subnetwork: TargetSubnetwork, original: tuple[Tensor, Tensor], plan: Circuit, sizes: Sequence[float]
) -> Curve:
    """The fidelity of circuits of every size; `original` are the network's responses, held out and in-sample."""
    relevant = count(subnetwork.relevant)
    builder = Builder.of(plan, subnetwork, ground.train)
    budgets = [budget(Sparsity(at_most=size), relevant) for size in sizes]
    found = []
    for (asked, scores, seconds), taken in zip(
        _scores(builder, plan, budgets), passes(plan, relevant, budgets), strict=True
    ):
        masks = builder.select(scores, asked)
        alive = count(subnetwork.connected(masks))
        begin = time.perf_counter()
        edits = builder.build(masks)
        seconds += time.perf_counter() - begin
        held, seen = (
            measure(wanted, responses(subnetwork, images, "", edits) if alive else torch.zeros_like(wanted)).metrics
            for wanted, images in zip(original, (ground.test, ground.train), strict=True)
        )
        share = alive / max(count(masks), 1)
        found.append({"effective": share, "seconds": seconds, **taken, **held, "train": seen["pearson"]})
    return found


def _scores(builder: Builder, plan: Circuit, budgets: Sequence[int]) -> Iterator[tuple[int, Scores, float]]:
    """Each budget with its scores, which are taken again only where a schedule makes them depend on it, and the seconds
    that they took."""
    name, parameters = plan.criterion.name, plan.criterion.parameters
    again = not CRITERIA.load(name).nested
    scores: Scores = {}
    with TemporaryDirectory() as folder:
        # The sizes share what a sweep shares.
        cache = ScoreCache(Path(folder), "scores")
        for number, asked in enumerate(budgets):
            begin = time.perf_counter()
            if again or not number:
                scores = score(builder, name, parameters, asked, plan.seed, None, cache)
            yield asked, scores, time.perf_counter() - begin


def table(title: str, metric: str, found: Mapping[str, Sequence[Curve]], sizes: Sequence[float]) -> str:
    """Medians and quartiles over the channels, as Markdown."""
    escaped = title.replace("|", r"\|")
    lines = [f"| {escaped} | " + " | ".join(f"{size:g}" for size in sizes) + " |", "|---|" + "---|" * len(sizes)]
    for name, curves in found.items():
        low, middle, high = np.quantile([[at[metric] for at in curve] for curve in curves], (0.25, 0.5, 0.75), axis=0)
        cells = (f"**{m:.2f}** {a:.2f}–{b:.2f}" for a, m, b in zip(low, middle, high, strict=True))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def costs(found: Mapping[str, Sequence[Curve]], sizes: Sequence[float]) -> str:
    """Passes over the training images for a circuit of each size alone, those for all together, and the median of
    seconds that scores and refit took, each in addition to those before it, as Markdown."""
    columns = " | ".join(f"{size:g}" for size in sizes)
    lines = [f"| passes, seconds | all | {columns} |", "|---|---|" + "---|" * len(sizes)]
    for name, curves in found.items():
        alone, together, seconds = (
            np.median([[at[number] for at in curve] for curve in curves], axis=0)
            for number in ("passes", "together", "seconds")
        )
        cells = " | ".join(f"{number:g}, {taken:.1f}" for number, taken in zip(alone, seconds, strict=True))
        lines.append(f"| {name} | {together.sum():g}, {seconds.sum():.1f} | {cells} |")
    return "\n".join(lines)


def passes(plan: Circuit, relevant: int, budgets: Sequence[int]) -> Iterator[dict[str, float]]:
    """Yield the passes for a circuit of each budget, alone and after those of the budgets before it."""
    entry, parameters = CRITERIA.load(plan.criterion.name), plan.criterion.parameters
    refit = plan.calibrate.passes if isinstance(plan.calibrate, EndToEnd) else 0
    shared: set[int] = set()
    for number, asked in enumerate(budgets):
        if isinstance(entry, Schedule) and entry.stages:
            *first, last = entry.stages(relevant, asked, **parameters)
            new = [stage.passes for stage in first if stage.budget not in shared]
            shared |= {stage.budget for stage in first}
            own = last.passes + refit
            yield {"passes": sum(stage.passes for stage in first) + own, "together": sum(new) + own}
        else:
            alone = passes_of(plan.criterion.name, parameters)
            yield {"passes": alone + refit, "together": refit + (0 if entry.nested and number else alone)}


def best(found: Mapping[str, Sequence[Curve]]) -> list[Curve]:
    """Of several variants the best of each channel, size and metric."""
    return [
        [{name: max(curve[name] for curve in at) for name in MEASURES} for at in zip(*curves, strict=True)]
        for curves in zip(*found.values(), strict=True)
    ]


def main() -> None:
    """Draw channels, find and measure their circuits, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--net", choices=NETS, default="squeezenet")
    parser.add_argument("--channels", type=int, default=12)
    parser.add_argument("--layers", nargs="+", default=(), help="draw from these layers, not from all deep ones")
    parser.add_argument("--targets", nargs="+", type=target, metavar="LAYER:CHANNEL", help="these channels, none drawn")
    parser.add_argument("--sizes", type=float, nargs="+", default=SIZES)
    parser.add_argument("--pixels", type=int, default=227, help="side of a photograph (default 227)")
    parser.add_argument("--images", type=int, help="no more images than these, half of them held out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--variants",
        nargs="+",
        default=list(VARIANTS),
        metavar="NAME|CLAUSES",
        help="names of those below, or clauses of a spec: 'criterion=force(steps=5, base=gn)'; "
        f"without any: {', '.join(VARIANTS)}",
    )
    options = parser.parse_args()
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.default_int_handler)
    plans = {name: variant(VARIANTS.get(name, name)) for name in options.variants}
    ground = NETS[options.net](options.pixels, options.images, options.seed)
    measured: list[dict[str, Curve]] = []
    try:
        channels = options.targets or draw(ground, options.channels, options.seed, options.layers)
        for layer, unit in channels:
            about = f"{len(measured) + 1}/{len(options.targets or ()) or options.channels} {layer}:{unit}"
            measured.append(curves(ground, layer, unit, plans, options.sizes, about))
    except KeyboardInterrupt:
        print("interrupted: tables of the channels so far", file=sys.stderr)
    if not measured:
        sys.exit(130)
    found = {name: [channel[name] for channel in measured] for name in plans}
    if set(PAPER) <= found.keys():
        found["paper"] = best({name: found[name] for name in PAPER})
    print(f"{options.net}, {len(measured)} channels, {len(ground.train)} + {len(ground.test)} images", end="")
    print(f" of {ground.train.preprocess.crop} pixels, seed {options.seed}")
    for metric, title in MEASURES.items():
        print(f"\n{table(title, metric, found, options.sizes)}")
    print(f"\n{costs({name: found[name] for name in plans}, options.sizes)}")


if __name__ == "__main__":
    main()
