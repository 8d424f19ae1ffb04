"""Draw, copy, move and hash the weights of networks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter

import torch
from torch import Tensor, fx, nn

from circuitlang.base.diagnostics import Finding, InputError, listing
from circuitlang.engine.models.sandbox import private_copy
from circuitlang.plan.model import digest


@contextmanager
def seeded() -> Iterator[None]:
    """Draw the same random weights each time inside the block, without advancing the global generator."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # Builders warn of defaults that will change, and of arguments that they have no use for.
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield


def single(module: nn.Module, place: torch.device | str | None = None) -> nn.Module:
    """The module in single precision, as images are, on a device if one is given: itself where it is so already, and
    otherwise a copy, for it may be somebody's own."""
    tensors = [*module.parameters(), *module.buffers()]
    narrow = all(not tensor.is_floating_point() or tensor.dtype == torch.float32 for tensor in tensors)
    if place is not None:
        where = torch.device(place)
        held = [var for one in module.modules() for var in vars(one).values() if isinstance(var, Tensor)]
        if not all(_on(tensor, where) for tensor in (*tensors, *held)):
            return moved(private_copy(module).float(), where)
    return module if narrow else private_copy(module).float()


def _on(tensor: Tensor, place: torch.device) -> bool:
    """Return whether a tensor is on a device; one without a number is the first of its kind."""
    return tensor.device.type == place.type and (tensor.device.index or 0) == (place.index or 0)


def moved(module: nn.Module, place: torch.device | str) -> nn.Module:
    """The module on a device, with the tensors that are attributes of it and neither parameters nor buffers."""
    for submodule in module.modules():
        for name, value in list(vars(submodule).items()):
            if isinstance(value, Tensor):
                setattr(submodule, name, value.to(place))
    return module.to(place)


def require_finite(module: nn.Module, name: str) -> nn.Module:
    """The module, all of whose weights are numbers. Raises InputError."""
    state = [(key, tensor) for key, tensor in module.state_dict().items() if isinstance(tensor, Tensor)]
    bad = [
        key
        for key, tensor in state
        if not tensor.is_meta and tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if bad:
        label = f"nothing can be computed with {listing(bad, limit=4)}"
        raise InputError(Finding("E309", f"{name} has weights that are not finite numbers", None, label))
    return module


def fingerprint(module: nn.Module) -> str:
    """A hash of every parameter and buffer, by name, type, shape and content; the same on every machine."""
    # A state dict lacks the buffers that a module doesn't want to be saved.
    return _hash({**dict(module.named_buffers()), **module.state_dict()})


def structure(module: fx.GraphModule, place: torch.device) -> str:
    """A hash of what is computed with a network's weights, which is in the code of some sources and not in the plan:
    the operations, and the tensors that are among them."""
    code = module.code.replace(repr(place), repr(torch.device("cpu")))
    names = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    held = {name: value for name in names if isinstance(value := attrgetter(name)(module), Tensor)}
    return digest(f"{code}\n{module}\n{_hash(held)}".encode())


def _hash(tensors: Mapping[str, Tensor]) -> str:
    parts = []
    for name, tensor in sorted(tensors.items()):
        array = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)} {digest(array.tobytes())}")
    return digest("\n".join(parts).encode())
