"""Run a user's module without side effects: on a private copy, without output, with random states restored."""

from __future__ import annotations

import copy
import io
import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

# The dictionaries of hooks that a call of a module runs.
HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
)  # fmt: skip
_DICTIONARIES = ("_parameters", "_buffers", "_modules", *HOOKS)


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside `torch.compile`, `DataParallel` and `DistributedDataParallel`, which compute the same."""
    while True:
        inner = module._modules.get("_orig_mod" if type(module).__name__ == "OptimizedModule" else "module")
        wrapper = isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel))
        if inner is None or not (wrapper or type(module).__name__ == "OptimizedModule") or hooked(module):
            return module
        module = inner


def hooked(module: nn.Module) -> bool:
    """Return whether a call of the module itself, not of its children, runs hooks."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def private_copy(module: nn.Module) -> nn.Module:
    """A copy that shares no tensor with the module, and whose methods and hooks belong to the copy.

    Unlike `copy.deepcopy`, it copies tensors that were computed from parameters, keeps the hooks of traced modules, and
    shares what can't be copied, such as a lock.
    """
    module = unwrapped(module)
    memo: dict[int, Any] = {}
    modules = list(module.modules())
    for submodule in modules:
        # Not the type's own __new__: that of a graph module makes another type, without its forward method.
        memo[id(submodule)] = object.__new__(type(submodule))
    for submodule in modules:
        for tensor in _tensors(vars(submodule)):
            memo.setdefault(id(tensor), _copied_tensor(tensor))
    for submodule in modules:
        twin = memo[id(submodule)]
        for name, value in vars(submodule).items():
            twin.__dict__[name] = _copied(value, memo)
        twin.__dict__["_modules"] = {
            name: child and memo[id(unwrapped(child))] for name, child in submodule._modules.items()
        }
        # `module.compile()` leaves this attribute, which computes what the module computes.
        twin.__dict__["_compiled_call_impl"] = None
    copied: nn.Module = memo[id(module)]
    return copied


def _tensors(value: Any, depth: int = 4) -> Iterator[Tensor]:
    """The tensors in nested containers."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, (dict, list, tuple, set)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part, depth - 1)


def _copied_tensor(tensor: Tensor) -> Tensor:
    if is_lazy(tensor):
        # It has nothing to be copied yet.
        kind: Any = type(tensor)
        empty: Tensor = kind(device=tensor.device, dtype=tensor.dtype)
        return empty
    own = tensor.detach().clone()
    return nn.Parameter(own, requires_grad=False) if isinstance(tensor, nn.Parameter) else own


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    if isinstance(value, fx.Graph):
        return value
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # whatever an object raises that can't be copied
        return value


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Put the module in evaluation mode inside the block, and restore everything in it afterwards.

    A copy of a module may still reach the module: through a function that was put in the place of its forward method,
    or through a hook.
    """
    modules = list(module.modules())
    attributes = [dict(vars(submodule)) for submodule in modules]
    inner = [
        {name: dict(vars(submodule)[name]) for name in _DICTIONARIES if name in vars(submodule)}
        for submodule in modules
    ]
    reached = any(hooked(submodule) or "forward" in vars(submodule) for submodule in modules)
    tensors = [*module.buffers(), *(module.parameters() if reached else ())]
    held = [(tensor, tensor.detach().clone()) for tensor in tensors if not is_lazy(tensor)]
    for submodule in modules:
        vars(submodule)["training"] = False
    try:
        yield
    finally:
        for submodule, values, dictionaries in zip(modules, attributes, inner, strict=True):
            vars(submodule).clear()
            vars(submodule).update(values)
            for name, content in dictionaries.items():
                if dict(vars(submodule)[name]) != content:
                    vars(submodule)[name].clear()
                    vars(submodule)[name].update(content)
        for tensor, content in held:
            if not tensor.is_meta and not torch.equal(tensor, content):
                tensor.data.copy_(content)


def materialised(module: nn.Module, images: Tensor) -> nn.Module:
    """A copy of a module that was run once, in evaluation mode, so that layers that wait for images get their weights,
    whose values are drawn the same every time; the module itself where there are none. Raises whatever it raises."""
    if not any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        return module
    copy_of_it = private_copy(module)
    modes = [(submodule, submodule.training) for submodule in copy_of_it.modules()]
    # Values are drawn even where the network's shapes alone are wanted.
    with torch.device(images.device), untouched(module), quiet(), random_states(0, images.device), torch.no_grad():
        copy_of_it.eval()
        copy_of_it(images)
    for submodule, training in modes:
        submodule.training = training
    return copy_of_it


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress output, warnings and logging inside the block."""
    disabled = logging.root.manager.disable
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)


@contextmanager
def random_states(seed: int, device: torch.device) -> Iterator[list[str]]:
    """Seed all generators of random numbers inside the block, and restore them afterwards.

    The list then names those that numbers were drawn from.
    """
    cuda = device.type == "cuda"
    held = random.getstate(), np.random.get_state()
    drawn: list[str] = []
    with torch.random.fork_rng(devices=[device] if cuda else []):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        before = _states(device)
        try:
            yield drawn
        finally:
            after = _states(device)
            drawn += [name for name in before if before[name] != after[name]]
            random.setstate(held[0])
            np.random.set_state(held[1])


def _states(device: torch.device) -> dict[str, Any]:
    own = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.empty(0)
    numpy = np.random.get_state(legacy=False)
    return {
        "torch": (torch.get_rng_state().numpy().tobytes(), own.numpy().tobytes()),
        "numpy.random": repr((numpy["state"]["pos"], numpy["state"]["key"].tobytes())),
        "random": random.getstate(),
    }
