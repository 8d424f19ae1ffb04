"""What scoring and measuring cost: `python benchmarks/speed.py`.

The unit FB is one forward and one backward pass of the network as it is, cut off behind the target's layer, with
gradients for weights alone: plain PyTorch, on the same images, in the same process, with the same threads. It is taken
with four images at a time, which on most networks is its fastest. F is its forward pass. The target is a channel of the
last convolution.

Rows are run in turn, round after round, so that whatever else the machine does slows all of them; a ratio is taken
within each round, and the median of the ratios is printed, as a Markdown table. With one thread it is the time that the
processor spent, else the time that passed. Memory is the most that tensors take beside the network and the images:
against that of an FB of a single image, and what 64 images take more than 16. `--plain` does without compiled loops,
`--peer` adds the code that the paper's authors published, where a checkout of it is given.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.profiler import ProfilerActivity, profile
from torchvision import models

from circuitlang.engine.attribution.scorer import score, score_all, score_together
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.extraction.extractor import extract
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.fidelity import measure, responses
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelNode
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.loops import backend
from circuitlang.engine.models.checkpoint_reader import read
from circuitlang.engine.models.state_dicts import fill
from circuitlang.plan.model import Choice
from circuitlang.plugins.protocols import CRITERIA, Schedule, Scores, passes_of

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "real"
# The last convolution of each, a deep and costly target.
NETS = {
    "alexnet": "features.10",
    "squeezenet1_0": "features.12.expand3x3",
    "resnet18": "layer4.1.conv2",
    "googlenet": "inception5b.branch2.1.conv",
    "vgg11": "features.18",
}
UNIT = 3
SIDE = 224
# Criteria that share a pass.
TOGETHER = ("snip+actgrad", "snip+taylor+actgrad", "snip+taylor+actgrad+gn")
# Channels of one layer that share a forward pass, and by which criteria.
TARGETS, MANY = 16, ["snip", "actgrad"]
# Layers, evenly spread up to the target's, of each of which a channel is scored.
LAYERS = 4
# The batches that are learned from, of four images each; fewer would be smaller.
LEARNED = 12
# Sizes of circuits that are run, and those of a sweep with its criteria.
SHARES = (0.1, 0.05, 0.01)
SWEPT = (0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5)
SWEPT_BY = ("snip", "actgrad", "taylor", "magnitude")


@dataclass(frozen=True)
class Fixed:
    """Images that are tensors already, as many at a time as a run takes."""

    tensor: Tensor

    def __len__(self) -> int:
        return len(self.tensor)

    def batches(self, _label: str) -> Iterator[Tensor]:
        return iter(torch.split(self.tensor, 16))


class _ReachedError(Exception):
    """The target's layer has run; nothing behind it need."""


def floor(model: nn.Module, path: str, images: Tensor, together: int = 4, backward: bool = True) -> None:
    """One forward pass up to a layer, and one backward pass from a channel of it."""
    found: list[Tensor] = []

    def reached(_module: nn.Module, _given: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(output)
        raise _ReachedError

    handle = model.get_submodule(path).register_forward_hook(reached)
    model.zero_grad()
    for some in torch.split(images, together):
        with torch.set_grad_enabled(backward), contextlib.suppress(_ReachedError):
            model(some)
        if backward:
            found.pop()[:, UNIT].abs().sum().backward()
    model.zero_grad()
    handle.remove()


def network(name: str) -> nn.Module:
    """A network of torchvision; with real weights where they lie beside the project, else random ones."""
    torch.manual_seed(0)
    extra = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    model: nn.Module = getattr(models, name)(weights=None, **extra)
    file = PHOTOGRAPHS / f"{name}.safetensors"
    if file.is_file():
        fill(model, read(file))
    return model.eval()


def jobs(
    name: str, criteria: list[str], many: list[str], refits: list[float], images: Tensor, peer: Path | None
) -> dict[str, Callable[[], object]]:
    """What is timed of a network, FB first: F, then each criterion, or several of one pass joined by `+`; channels of
    the target's layer together, by each of `many`; circuits of some sizes, refitted; and the authors' code."""
    model = network(name)
    graph = trace(model, (SIDE, SIDE))
    found: dict[str, Callable[[], object]] = {
        "FB": partial(floor, model, NETS[name], images),
        "F": partial(floor, model, NETS[name], images, backward=False),
    }
    for word in criteria:
        found[word] = partial(scored, graph, name, word, images)
    for word in many:
        channels = [Target(graph.find(NETS[name]), (unit,)) for unit in range(TARGETS)]
        found[f"{word} of {TARGETS} channels"] = partial(scored_together, graph, channels, word, images)
        depths = [Target(step, (UNIT,)) for step in steps(graph, name)]
        found[f"{word} in {LAYERS} layers, together"] = partial(scored_together, graph, depths, word, images)
        found[f"{word} in {LAYERS} layers, one by one"] = partial(scored_apart, graph, depths, word, images)
    for share in refits:
        found[f"{share:.0%} kept, kernels refitted"] = refitted(graph, name, images, share)
    if peer is not None:
        found |= theirs(model, name, images, peer)
    return found


def learned(graph: Graph, name: str, images: Tensor, share: float, passes: int) -> int:
    """Learn a mask of some of the kernels from batches of as many images; return the number of steps."""
    own = torch.randn(LEARNED * len(images), *images.shape[1:], generator=torch.Generator().manual_seed(1))
    builder = Builder(subnetwork(graph, name), Fixed(own), refill="live")
    relevant = sum(int(mask.sum()) for mask in builder.relevant.values())
    parameters = {"passes": passes, "batch": len(images), "base": "magnitude", "augment": False}
    size = max(int(share * relevant), 1)
    score(builder, "annealed", parameters, size, 0)
    entry = CRITERIA.load("annealed")
    assert isinstance(entry, Schedule)
    assert entry.stages is not None
    return LEARNED * round(sum(stage.passes for stage in entry.stages(relevant, size, images=len(own), **parameters)))


def learning(graph: Graph, name: str, images: Tensor, share: float, rounds: int) -> float:
    """Return the median time of a learning step in FB of its images.

    It is taken from what a longer course takes more than a short one: both begin with the network's maps, and end with
    those of two circuits.
    """
    floors = partial(floor, network(name), NETS[name], images)
    ratios = []
    for _ in range(rounds):
        unit = min(seconds(floors) for _ in range(5))
        times, steps = [], []
        for passes in (1, 9):
            begin = seconds_now()
            steps.append(learned(graph, name, images, share, passes))
            times.append(seconds_now() - begin)
        ratios.append((times[1] - times[0]) / (steps[1] - steps[0]) / unit)
    return median(ratios)


def shared_out(graph: Graph, name: str, images: Tensor, share: float, threads: int, rounds: int) -> float:
    """Return the median time that learning takes on so many threads, in that on one."""
    ratios = []
    for _ in range(rounds):
        times = []
        for number in (1, threads):
            torch.set_num_threads(number)
            begin = time.perf_counter()
            learned(graph, name, images, share, 2)
            times.append(time.perf_counter() - begin)
        ratios.append(times[1] / times[0])
    return median(ratios)


def refitted(graph: Graph, name: str, images: Tensor, share: float) -> Callable[[], object]:
    """What refits a circuit of some of the kernels, the best by `snip`."""
    builder = Builder(subnetwork(graph, name), Fixed(images), refill="live", calibrate="kernels")
    relevant = sum(int(mask.sum()) for mask in builder.relevant.values())
    masks = builder.select(score(builder, "snip", {}, 0, 0), max(int(share * relevant), 1))
    return partial(builder.build, masks)


def subnetwork(graph: Graph, name: str, unit: int = UNIT) -> TargetSubnetwork:
    """The network up to a channel of the target's layer."""
    return TargetSubnetwork(graph, Target(graph.find(NETS[name]), (unit,)))


def scored(graph: Graph, name: str, word: str, images: Tensor) -> None:
    """Score by one criterion, or by several at once, from the network on."""
    builder = Builder(subnetwork(graph, name), Fixed(images))
    size = sum(int(mask.sum()) for mask in builder.relevant.values()) // 10
    score_all(builder, [Choice(name) for name in word.split("+")], size, 0)


def steps(graph: Graph, name: str) -> list[ChannelNode]:
    """Those of some layers, the last of them the target's."""
    layers = [step for step in graph.ancestors(graph.find(NETS[name]).name) if step.layer]
    return [layers[len(layers) * number // LAYERS - 1] for number in range(1, LAYERS + 1)]


def scored_together(graph: Graph, targets: Sequence[Target], word: str, images: Tensor) -> None:
    """Score several channels by one criterion."""
    builders = [Builder(TargetSubnetwork(graph, target), Fixed(images)) for target in targets]
    score_together([(builder, Choice(word)) for builder in builders], 0)


def scored_apart(graph: Graph, targets: Sequence[Target], word: str, images: Tensor) -> None:
    """The same, each by itself."""
    for target in targets:
        scored_together(graph, [target], word, images)


def theirs(model: nn.Module, name: str, images: Tensor, checkout: Path) -> dict[str, Callable[[], object]]:
    """The authors' snip and actgrad, image by image as their memory wants it."""
    sys.path.insert(0, str(checkout))
    module = importlib.import_module("circuit_pruner.simple_api.score")
    pairs = [(image, torch.zeros(1)) for image in torch.split(images, 1)]
    taken = module.dissect_model(copy.deepcopy(model))

    def quietly(score: Callable[..., object], *given: object, **words: object) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            score(*given, pairs, NETS[name], UNIT, **words)

    return {
        "the authors' snip": partial(quietly, module.snip_score, copy.deepcopy(model)),
        "the authors' actgrad": partial(quietly, module.actgrad_kernel_score, taken, dissect_model=False),
    }


def circuits(graph: Graph, name: str, images: Tensor) -> dict[str, Callable[[], object]]:
    """The forward passes of circuits of some sizes, after that of the network: over their kernels, and as plain modules
    of torch's layers."""
    builder = Builder(subnetwork(graph, name), Fixed(images[:4]), refill="live")
    scores = score(builder, "actgrad", {}, 0, 0)
    relevant = sum(int(mask.sum()) for mask in builder.relevant.values())
    found: dict[str, Callable[[], object]] = {"F": partial(floor, graph_model(name), NETS[name], images, 8, False)}
    for share in SHARES:
        module = extract(builder.subnetwork, builder.build(builder.select(scores, int(share * relevant))))
        for word, runner in (("kernels", sparse(module)), ("a plain module", module)):
            if runner is not None:
                found[f"a circuit of {share:.0%}, {word}"] = partial(forward, runner, images)
    return found


@cache
def graph_model(name: str) -> nn.Module:
    """The network, once for all rows about its circuits."""
    return network(name)


def sparse(module: fx.GraphModule, known: Any = None) -> nn.Module | None:
    """What runs a module over its kernels, where numba is there."""
    if find_spec("numba") is None:
        return None
    from circuitlang.engine.loops.sparse_runner import Sparse

    return Sparse(module, known)


def channels() -> Any:
    """What circuits have in common, as a run keeps it."""
    if find_spec("numba") is None:
        return None
    from circuitlang.engine.loops.sparse_layers import Channels

    return Channels()


def forward(module: nn.Module, images: Tensor) -> None:
    """One forward pass, some images at a time."""
    with torch.no_grad():
        for some in torch.split(images, 8):
            module(some)


def swept(builder: Builder, everything: Sequence[Scores], images: Tensor) -> None:
    """Circuits of 8 sizes by 4 criteria from their scores: selected, built, cut out, run and measured, and the network
    once."""
    part = builder.subnetwork
    original = responses(part, Fixed(images), "")
    relevant = sum(int(mask.sum()) for mask in builder.relevant.values())
    known = channels()
    for scores in everything:
        for share in SWEPT:
            masks = builder.select(scores, max(int(share * relevant), 1))
            edits = builder.build(masks)
            runner = sparse(extract(part, edits), known) if share <= 0.5 else None
            maps = (
                torch.cat([runner(some, at).flatten(1).double() for at, some in enumerate(torch.split(images, 8))])
                if runner
                else responses(part, Fixed(images), "", edits)
            )
            measure(original, maps, 0)


def peak(run: Callable[[], object]) -> int:
    """The most bytes that tensors take at once in a run."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    now = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def seconds(run: Callable[[], object]) -> float:
    """How long a run takes."""
    begin = seconds_now()
    run()
    return seconds_now() - begin


def seconds_now() -> float:
    """The clock: that of the process, where it has one thread."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def timed(tasks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """By task, the median of its ratios to the first."""
    first = next(iter(tasks))
    taken = []
    for _ in range(rounds):
        taken.append({name: seconds(task) for name, task in tasks.items()})
    return {name: median(times[name] / times[first] for times in taken) for name in tasks}


def memory(name: str, word: str) -> tuple[float, float]:
    """What scoring 16 images takes against an FB of one, and how much more 64 take."""
    one, few, many = (torch.randn(number, 3, SIDE, SIDE) for number in (1, 16, 64))
    model = network(name)
    graph = trace(model, (SIDE, SIDE))
    least = peak(partial(floor, model, NETS[name], one))
    # The weights' copy is made once for a network: without this the smaller number of images would pay for it alone.
    scored(graph, name, word, one)
    some, more = (peak(partial(scored, graph, name, word, images)) for images in (few, many))
    return some / least, more / some - 1


def default_criteria() -> list[str]:
    """Those of one pass, and `force`, whose steps are ten."""
    return [name for name in sorted(CRITERIA.declarations) if passes_of(name) <= 1 or name == "force"]


def measuring(name: str, images: Tensor, rounds: int) -> dict[str, float]:
    """The forward passes of circuits, and a sweep's, in F of the network on the same images."""
    graph = trace(graph_model(name), (SIDE, SIDE))
    builder = Builder(subnetwork(graph, name), Fixed(images[:4]), refill="live")
    everything = score_all(builder, [Choice(name) for name in SWEPT_BY], 0, 0)
    tasks = circuits(graph, name, images)
    tasks["8 sizes by 4 criteria, measured"] = partial(swept, builder, everything, images)
    for task in tasks.values():
        task()
    return {word: ratio for word, ratio in timed(tasks, rounds).items() if word != "F"}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--criteria", nargs="*", default=[*default_criteria(), *TOGETHER], metavar="NAME[+NAME...]")
    parser.add_argument("--many", nargs="*", default=MANY, metavar="NAME", help="criteria of several targets together")
    parser.add_argument("--refits", nargs="*", type=float, default=[], metavar="SHARE", help="circuits to refit")
    parser.add_argument("--learn", nargs="*", type=float, default=[0.05], metavar="SHARE", help="circuits to learn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=4, help="to score (default 4)")
    parser.add_argument("--measured", type=int, default=32, help="to measure circuits on; 0 for none (default 32)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", nargs="*", default=["actgrad"], metavar="NAME", help="criteria whose memory counts")
    parser.add_argument("--plain", action="store_true", help="without compiled loops")
    parser.add_argument("--peer", type=Path, metavar="PATH", help="a checkout of the paper's code")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.plain:
        backend.compiled, options.measured = lambda _: None, 0  # type: ignore[assignment]
    rows: dict[str, dict[str, str]] = {}
    for name in options.nets:
        random = torch.Generator().manual_seed(0)
        images = torch.randn(options.images, 3, SIDE, SIDE, generator=random)
        tasks = jobs(name, options.criteria, options.many, options.refits, images, options.peer)
        for word, task in tasks.items():
            if word != "force":
                task()  # once untimed: what is made once is there afterwards
        for word, ratio in timed(tasks, options.rounds).items():
            rows.setdefault(f"{word}, time in FB", {})[name] = f"{ratio:.2f}"
            if word.endswith("channels"):
                rows.setdefault(f"{word}, time in FB of each", {})[name] = f"{ratio / TARGETS:.2f}"
        for share in options.learn:
            ratio = learning(trace(network(name), (SIDE, SIDE)), name, images, share, options.rounds)
            rows.setdefault(f"a learning step at {share:.0%}, time in FB of its images", {})[name] = f"{ratio:.2f}"
            if options.threads > 1:
                graph = trace(network(name), (SIDE, SIDE))
                ratio = shared_out(graph, name, images, share, options.threads, options.rounds)
                rows.setdefault(f"learning at {share:.0%}, time in that on one thread", {})[name] = f"{ratio:.2f}"
        for word in options.memory:
            against, growth = memory(name, word)
            rows.setdefault(f"{word}, memory of one FB", {})[name] = f"{against:.2f}"
            rows.setdefault(f"{word}, more memory for 64 images than for 16", {})[name] = f"{growth:.0%}"
        if options.measured:
            seen = torch.randn(options.measured, 3, SIDE, SIDE, generator=random)
            for word, ratio in measuring(name, seen, options.rounds).items():
                rows.setdefault(f"{word}, time in F", {})[name] = f"{ratio:.2f}"
        print(f"{name} done", file=sys.stderr)
    print(
        f"{options.images} images of {SIDE} pixels, {options.threads} thread(s), medians of {options.rounds} rounds\n"
    )
    print("| | " + " | ".join(options.nets) + " |\n|---|" + "---|" * len(options.nets))
    for word, cells in rows.items():
        print(f"| {word} | " + " | ".join(cells.get(name, "") for name in options.nets) + " |")


if __name__ == "__main__":
    main()
