"""The traced network against the network as it was given: is what is scored what the user calls?

Tracing runs a network's code once, with placeholders for images. A hook that is lost, a test of types, a random number,
or a count of steps then makes a network of it that computes something else. Both are therefore run on a few images:

1. the module as it is given, on four images, on the same in reverse order, and on one of them alone, each time with
   other random states, with gradients and without: it must give every image the same answer;
2. the traced network, on the four and on the one: it must give the module's answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from circuitlang.base.diagnostics import Finding, InputError, listing
from circuitlang.engine.device import arithmetic
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelNode
from circuitlang.engine.graph.error_reasons import reason
from circuitlang.engine.graph.tracer import check_traceable, graphs, unfit
from circuitlang.engine.models.sandbox import hooked, private_copy, quiet, random_states, untouched

# A network is run on so many images.
IMAGES = 4
# Single precision rounds to 6e-8 of a value. Sums of thousands of terms, in another order for another batch size, and
# a hundred layers make about 1e-6 to 1e-5 of the largest value of it; a network that computes something else differs
# by 1e-2 and more. A channel whose values are small beside others' is compared by its own largest value, and may
# differ by a millionth of the others', which it may be a difference of.
TOLERANCE = 1e-4
_OF_ALL = 1e-6
# Some networks enlarge rounding: norms of maps that hardly vary do. Where a difference is below the first number, a
# change of the images by a millionth of their largest value tells how much, and ten times that is allowed.
_DOUBTFUL = 1e-2
_CHANGE = 1e-6
_ENLARGED = 10

# By the path of a module, what each call of it gave.
Outputs = Mapping[str, Sequence[Tensor]]


def difference(found: Tensor, wanted: Tensor) -> float:
    """The largest difference of any channel, as a share of what counts for it; infinite for other shapes."""
    if found.shape != wanted.shape:
        return float("inf")
    if found.numel() == 0 or torch.equal(found, wanted):
        return 0.0
    found, wanted = (each.detach().cpu().double() for each in (found, wanted))
    if wanted.dim() > 1:
        found, wanted = (each.movedim(1, 0).flatten(1) for each in (found, wanted))
    else:
        found, wanted = found.reshape(1, -1), wanted.reshape(1, -1)
    apart = (found - wanted).abs()
    # Infinities, and values that are no numbers, are alike where both have them.
    apart[(found == wanted) | (found.isnan() & wanted.isnan())] = 0
    own = wanted.nan_to_num(0, 0, 0).abs().amax(1, keepdim=True)
    scale = own.maximum(_OF_ALL / TOLERANCE * own.amax())
    return float((apart / scale.clamp_min(torch.finfo(torch.float64).tiny)).nan_to_num(float("inf")).amax())


@dataclass(frozen=True)
class Runs:
    """What a module that was given puts out: for all images, in reverse order, and for the first alone.

    `drawn` names the generators that it drew random numbers from, `changed` the attributes that were others afterwards.
    """

    whole: list[Tensor]
    again: list[Tensor]
    alone: list[Tensor]
    inner: tuple[Outputs, Outputs, Outputs]
    drawn: tuple[str, ...]
    changed: tuple[str, ...]
    tolerance: float = TOLERANCE

    @property
    def steady(self) -> bool:
        """Whether it gives the same answer each time."""
        return _alike(self.again, _reversed(self.whole), self.tolerance)

    @property
    def separate(self) -> bool:
        """Whether an image's answer doesn't depend on the other images."""
        return _alike(self.alone, _first(self.whole), self.tolerance)


@dataclass(frozen=True)
class Doubt:
    """A traced network whose output is not the network's, or a network without an answer of its own; targets in front
    of where they part may be used."""

    finding: Finding
    sound: frozenset[str]

    def about(self, step: ChannelNode, module: fx.GraphModule) -> Finding | None:
        """What is wrong with a target; nothing where its step gave the same in all runs."""
        node = next(node for node in module.graph.nodes if node.name == step.name)
        return None if node.op == "call_module" and str(node.target) in self.sound else self.finding


@dataclass(frozen=True)
class Verified:
    """A traced network, and what is in doubt about it."""

    graph: Graph
    doubt: Doubt | None = None


def verified(model: nn.Module, size: tuple[int, int], images: Tensor) -> Verified:
    """Read a network in the first way that computes what it does on some images [N, 3, H, W]. The model is left as it
    is. Raises InputError where it can't be read or run."""
    check_traceable(model)
    weight = next(model.parameters(), images)
    images = images.to(weight.device, weight.dtype)
    with arithmetic(images.device):
        return _verified(model, size, images)


def _verified(model: nn.Module, size: tuple[int, int], images: Tensor) -> Verified:
    given = _Given(model, images)
    runs = given.runs
    own = runs.steady and runs.separate
    first: Graph | None = None
    try:
        for graph in graphs(model, size, images.shape[1]):
            first = first or graph
            if own and _agrees(graph, runs, images):
                return Verified(graph)
            if not own:
                # No other way could agree with it.
                break
    except InputError:
        if own:
            raise
    if first is None:
        raise InputError(_of_its_own(given.watched))
    return Verified(first, _doubt(first, given, images))


def _agrees(graph: Graph, runs: Runs, images: Tensor) -> bool:
    try:
        whole, alone = (_outputs(graph, batch)[0] for batch in (images, images[:1]))
    except Exception:  # whatever operations raise for a number of images that the network was not traced with
        return False
    return _alike(whole, runs.whole, runs.tolerance) and _alike(alone, runs.alone, runs.tolerance)


def _alike(found: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> bool:
    """Whether outputs agree; where the traced network gives fewer, each must be one of the module's."""
    if len(found) == len(wanted):
        return all(difference(a, b) <= tolerance for a, b in zip(found, wanted, strict=True))
    return bool(found) and all(any(difference(a, b) <= tolerance for b in wanted) for a in found)


def _worst(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    if len(found) != len(wanted):
        return float("inf")
    return max(map(difference, found, wanted), default=0.0)


def _reversed(outputs: Sequence[Tensor]) -> list[Tensor]:
    return [each.flip(0) if each.dim() else each for each in outputs]


def _first(outputs: Sequence[Tensor]) -> list[Tensor]:
    return [each[:1] if each.dim() else each for each in outputs]


class _Given:
    """A module as it was given, run on some images."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model, self.images = model, images

    @cached_property
    def runs(self) -> Runs:
        """Its outputs."""
        runs = self._run(False)
        return runs if runs.steady and runs.separate else replace(runs, tolerance=self._tolerance(runs))

    @cached_property
    def watched(self) -> Runs:
        """Its outputs and those of its modules."""
        return replace(self._run(True), tolerance=self.runs.tolerance)

    def _tolerance(self, runs: Runs) -> float:
        """The largest difference that is rounding, in a network that may enlarge it."""
        worst = max(_worst(runs.again, _reversed(runs.whole)), _worst(runs.alone, _first(runs.whole)))
        if worst > _DOUBTFUL:
            return TOLERANCE
        signs = torch.randint(0, 2, self.images.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        change = _CHANGE * float(self.images.abs().max()) * signs.to(self.images)
        with untouched(self.model), quiet(), torch.no_grad(), random_states(0, self.images.device):
            module = private_copy(self.model)
            module.eval()
            changed = _tensors(module(self.images + change))
        return min(max(TOLERANCE, _ENLARGED * _worst(changed, runs.whole)), _DOUBTFUL)

    def _run(self, watch: bool) -> Runs:
        whole, alone = self.images, self.images[:1]
        outputs: list[list[Tensor]] = []
        inner: list[dict[str, list[Tensor]]] = []
        drawn: dict[str, None] = {}
        with untouched(self.model), quiet(), torch.no_grad():
            module = private_copy(self.model)
            try:
                module.eval()
                before = _state(module)
                for seed, images in enumerate((whole, whole.flip(0), alone)):
                    inner.append({})
                    # Scoring takes gradients and measuring does not.
                    with (
                        torch.set_grad_enabled(seed == 1),
                        random_states(seed, images.device) as generators,
                        _watching(module, inner[-1], watch),
                    ):
                        outputs.append(_tensors(module(images.clone())))
                    drawn |= dict.fromkeys(generators)
                changed = tuple(sorted(name for name, value in _state(module).items() if before.get(name) != value))
            except Exception as error:  # the model's own code may raise anything
                if len(outputs) < 2:
                    raise unfit(whole.shape[1:], error) from None
                message = f"the network can't take one image alone: {reason(error)}"
                raise InputError(Finding("E308", message)) from None
        inside = inner[0], inner[1], inner[2]
        return Runs(outputs[0], outputs[1], outputs[2], inside, tuple(drawn), changed)


def _tensors(output: Any) -> list[Tensor]:
    """The tensors in a module's output, also where it is a class of its own."""
    if not isinstance(output, (Tensor, list, tuple, dict)) and hasattr(output, "__dict__"):
        output = list(vars(output).values())
    return [each.detach().clone() for each in tree_leaves(output) if isinstance(each, Tensor)]


class _watching:  # noqa: N801
    """Within the block, what every module puts out is noted by its path, before its own hooks change it."""

    def __init__(self, module: nn.Module, found: dict[str, list[Tensor]], watch: bool) -> None:
        self._module, self._found = module, found
        self._watch = watch
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        if not self._watch:
            return
        for path, each in self._module.named_modules():
            if path and not isinstance(each, (nn.Sequential, nn.ModuleList)):
                self._handles.append(each.register_forward_hook(self._note(path), prepend=True))

    def _note(self, path: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self._found.setdefault(path, []).append(output.detach().clone())

        return hook

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def _state(module: nn.Module) -> dict[str, str]:
    """The plain attributes and the buffers of every module, by path, so that they can be compared."""
    found = {}
    for path, each in module.named_modules():
        prefix = f"{path}." if path else ""
        for name, value in vars(each).items():
            if isinstance(value, (bool, int, float, str, list, dict, set, Tensor)) and not name.startswith("_"):
                found[prefix + name] = _written(value)
    return found | {name: _written(value) for name, value in module.named_buffers()}


def _written(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {value.detach().double().sum()} {value.detach().double().square().sum()}"
    return f"{type(value).__name__} {len(value)}" if isinstance(value, (list, dict, set)) else repr(value)


class _Recorder(fx.Interpreter):
    """Runs a traced network and notes what its modules put out."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[str, list[Tensor]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_module" and isinstance(value, Tensor):
            self.found.setdefault(str(n.target), []).append(value.clone())
        return value


def _outputs(graph: Graph, images: Tensor, watch: bool = False) -> tuple[list[Tensor], Outputs]:
    runner = _Recorder(graph.module) if watch else fx.Interpreter(graph.module)
    with torch.no_grad(), quiet():
        found = _tensors(runner.run(images.clone()))
    return found, runner.found if isinstance(runner, _Recorder) else {}


def _doubt(graph: Graph, given: _Given, images: Tensor) -> Doubt:
    """What is wrong, and the modules whose outputs agree in all runs."""
    runs = given.watched
    whole, _, alone = runs.inner
    ours: Outputs = {}
    ours_alone: Outputs = {}
    try:
        ours, ours_alone = (_outputs(graph, batch, True)[1] for batch in (images, images[:1]))
    except Exception:  # whatever operations raise for a number of images that the network was not traced with
        ours_alone = {}
    traced = {
        path: path in whole
        and _same(calls, whole[path], runs.tolerance)
        and _same(ours_alone.get(path, ()), alone.get(path, ()), runs.tolerance)
        for path, calls in ours.items()
    }
    steady, separate = _places(runs)
    sound = {path for path, agrees in traced.items() if agrees and steady[path] and separate[path]}
    if runs.steady and runs.separate:
        finding = _unlike(given.model, _apart_from(graph, runs, images), _where(traced))
    else:
        finding = _of_its_own(runs)
    return Doubt(finding, frozenset(sound))


def _places(runs: Runs) -> tuple[dict[str, bool], dict[str, bool]]:
    """Of each module, whether it gave the same each time, and whether for an image alone as among others."""
    whole, again, alone = runs.inner
    steady = {path: _alike(again.get(path, ()), _reversed(calls), runs.tolerance) for path, calls in whole.items()}
    separate = {path: _alike(alone.get(path, ()), _first(calls), runs.tolerance) for path, calls in whole.items()}
    return steady, separate


def _of_its_own(runs: Runs) -> Finding:
    """What is wrong with a network, however it is read."""
    steady, separate = _places(runs)
    if not runs.steady:
        return _unsteady(runs, _apart(runs.again, _reversed(runs.whole)), _where(steady))
    return _together(_apart(runs.alone, _first(runs.whole)), _where(separate))


def _same(found: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> bool:
    return len(found) == len(wanted) > 0 and _alike(found, wanted, tolerance)


def _where(agree: Mapping[str, bool]) -> str:
    """Where runs part, by whether they agree in each module in the order of their calls."""
    last = ""
    for path, agrees in agree.items():
        if not agrees:
            return f"first at '{path}'"
        last = path
    return f"behind '{last}'" if last else "before any module is called"


def _apart(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> str:
    """How far outputs are from one another, for a sentence."""
    if len(found) != len(wanted):
        return f"{len(found)} outputs for {len(wanted)}"
    worst = _worst(found, wanted)
    return "other sizes" if worst == float("inf") else f"{worst:.1e} of the largest value"


def _apart_from(graph: Graph, runs: Runs, images: Tensor) -> str:
    try:
        whole, alone = (_outputs(graph, batch)[0] for batch in (images, images[:1]))
    except Exception as error:  # whatever operations raise for a number of images that it was not traced with
        return f"an error ({reason(error)})"
    return _apart(whole, runs.whole) if not _alike(whole, runs.whole, runs.tolerance) else _apart(alone, runs.alone)


def _unsteady(runs: Runs, apart: str, where: str) -> Finding:
    if runs.drawn:
        message = "the network draws random numbers in evaluation mode"
        label = f"scores would differ from run to run: by {apart}, {where} ({listing(runs.drawn)})"
        cure = "draw them in training only (`if self.training`), or choose a target in front of it"
        return Finding("E308", message, None, label, cure)
    message = "the network gives the same images other outputs when it is called again"
    if runs.changed:
        label = f"by {apart}, {where}; each call changes its {listing(runs.changed, limit=4)}"
        return Finding("E308", message, None, label, "leave what it stores as it is in evaluation mode")
    outside = "it uses something that lies outside of it, such as the time, a global variable or the grad mode"
    label = f"by {apart}, {where}; {outside}"
    return Finding("E308", message, None, label, "let its output follow from its weights and the image alone")


def _together(apart: str, where: str) -> Finding:
    message = "the network's output for an image depends on the other images of its batch"
    label = f"alone it differs by {apart}, {where}"
    cure = "use stored statistics in evaluation mode, or choose a target in front of it"
    return Finding("E308", message, None, label, cure)


def _unlike(model: nn.Module, apart: str, where: str) -> Finding:
    message = "what could be read of the network does not compute what the network computes"
    label = f"outputs differ by {apart}, {where}; {_suspect(model)}"
    cure = "let the forward method do the same for every image, or choose a target in front of it"
    return Finding("E308", message, None, label, cure)


def _suspect(model: nn.Module) -> str:
    """The probable reason why a network was read as another."""
    replaced = [path or "the network" for path, each in model.named_modules() if "forward" in vars(each)]
    hooks = [path or "the network" for path, each in model.named_modules() if hooked(each)]
    if replaced:
        return f"the forward method of {listing(replaced, limit=4)} was replaced"
    if hooks:
        return f"hooks are registered on {listing(hooks, limit=4)}"
    return "the forward method may decide by the type, the number or the values of its images"


def few(images: Sequence[Tensor]) -> Tensor | None:
    """Some images as one batch; one that is alone has its mirror image beside it. None where there are none."""
    if not images:
        return None
    return torch.cat([*images, images[0].flip(-1)] if len(images) == 1 else [*images])
