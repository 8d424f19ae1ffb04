"""Run a module as it was given, with its hooks and random numbers, and record what it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.graph.error_reasons import reason
from circuitlang.engine.graph.output_difference import TOLERANCE, agree, first_image, reverse, worst_difference
from circuitlang.engine.graph.tracer import unfit
from circuitlang.engine.models.sandbox import private_copy, quiet, random_states, untouched

# Some networks amplify rounding: norms of maps that hardly vary do. For a difference below `_DOUBTFUL`, the images are
# changed by a millionth of their largest value, and ten times the difference that this makes is allowed.
_DOUBTFUL = 1e-2
_CHANGE = 1e-6
_ENLARGED = 10

# Outputs of each call of a module, by the module's path.
Outputs = Mapping[str, Sequence[Tensor]]


@dataclass(frozen=True)
class Runs:
    """Outputs of a module for all images, for the same in reverse order, and for the first alone.

    `inner` has the outputs of its modules in each run. `drawn` names the generators that it drew random numbers from,
    `changed` the attributes that changed.
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
        """Return whether the module gives the same outputs each time."""
        return agree(self.again, reverse(self.whole), self.tolerance)

    @property
    def separate(self) -> bool:
        """Return whether the output for an image doesn't depend on the other images."""
        return agree(self.alone, first_image(self.whole), self.tolerance)


class ModuleRuns:
    """Runs of a module as it was given, each done once when it is asked for. The module is left as it is."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model, self.images = model, images

    @cached_property
    def plain(self) -> Runs:
        """Outputs of the module."""
        runs = self._run(False)
        return runs if runs.steady and runs.separate else replace(runs, tolerance=self._tolerance(runs))

    @cached_property
    def watched(self) -> Runs:
        """Outputs of the module and of the modules in it."""
        return replace(self._run(True), tolerance=self.plain.tolerance)

    def _tolerance(self, runs: Runs) -> float:
        """Return the largest difference that counts as rounding, in a network that may amplify it."""
        worst = max(
            worst_difference(runs.again, reverse(runs.whole)), worst_difference(runs.alone, first_image(runs.whole))
        )
        if worst > _DOUBTFUL:
            return TOLERANCE
        signs = torch.randint(0, 2, self.images.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        change = _CHANGE * float(self.images.abs().max()) * signs.to(self.images)
        with untouched(self.model), quiet(), torch.no_grad(), random_states(0, self.images.device):
            module = private_copy(self.model)
            module.eval()
            changed = output_tensors(module(self.images + change))
        return min(max(TOLERANCE, _ENLARGED * worst_difference(changed, runs.whole)), _DOUBTFUL)

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
                        _OutputHooks(module, inner[-1], watch),
                    ):
                        outputs.append(output_tensors(module(images.clone())))
                    drawn |= dict.fromkeys(generators)
                changed = tuple(sorted(name for name, value in _state(module).items() if before.get(name) != value))
            except Exception as error:  # the model's own code may raise anything
                if len(outputs) < 2:
                    raise unfit(whole.shape[1:], error) from None
                message = f"the network can't take one image alone: {reason(error)}"
                raise InputError(Finding("E308", message)) from None
        inside = inner[0], inner[1], inner[2]
        return Runs(outputs[0], outputs[1], outputs[2], inside, tuple(drawn), changed)


def output_tensors(output: Any) -> list[Tensor]:
    """Return copies of the tensors in a module's output, which may be an object of a class of its own."""
    if not isinstance(output, (Tensor, list, tuple, dict)) and hasattr(output, "__dict__"):
        output = list(vars(output).values())
    return [leaf.detach().clone() for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]


class _OutputHooks:
    """A context manager that records the outputs of all modules by path, before their own hooks change them."""

    def __init__(self, module: nn.Module, outputs: dict[str, list[Tensor]], watch: bool) -> None:
        self._module, self._outputs = module, outputs
        self._watch = watch
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        if not self._watch:
            return
        for path, module in self._module.named_modules():
            if path and not isinstance(module, (nn.Sequential, nn.ModuleList)):
                self._handles.append(module.register_forward_hook(self._record(path), prepend=True))

    def _record(self, path: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self._outputs.setdefault(path, []).append(output.detach().clone())

        return hook

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def _state(module: nn.Module) -> dict[str, str]:
    """Return the plain attributes and the buffers of all modules by path, as text that can be compared."""
    state = {}
    for path, part in module.named_modules():
        prefix = f"{path}." if path else ""
        for name, value in vars(part).items():
            if isinstance(value, (bool, int, float, str, list, dict, set, Tensor)) and not name.startswith("_"):
                state[prefix + name] = _summary(value)
    return state | {name: _summary(value) for name, value in module.named_buffers()}


def _summary(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {value.detach().double().sum()} {value.detach().double().square().sum()}"
    return f"{type(value).__name__} {len(value)}" if isinstance(value, (list, dict, set)) else repr(value)
