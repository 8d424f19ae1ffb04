"""State dicts from files of strangers: read as data, never as code."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, fx, nn

from circuitlang.compiler.plan import digest
from circuitlang.errors import Finding, InputError, listing

# How the name of a weights file ends.
FILES = (".safetensors", ".pt", ".pth")


def outlining() -> bool:
    """Whether shapes alone are wanted: under `torch.device("meta")` nothing is downloaded and no weight is kept."""
    return torch.empty(0).device.type == "meta"


@contextmanager
def seeded() -> Iterator[None]:
    """Within the block random weights are drawn the same every time; the global generator is not moved by it."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # Of a changed default of weights that are replaced anyway.
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(0)
        yield


def read(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """The tensors of a `.safetensors`, `.pt` or `.pth` file by name, and its metadata; see `outlining`.

    Raises InputError where the file is missing, damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise InputError(
            Finding("E304", f"there is no weights file '{path.name}'", None, f"in {path.parent.resolve()}")
        )
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                one = _shaped if outlining() else type(file).get_tensor
                return {name: one(file, name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        state = torch.load(path, map_location="meta" if outlining() else "cpu", weights_only=True)
    except SafetensorError as error:
        raise InputError(Finding("E306", f"'{path.name}' is not a safetensors file", None, str(error))) from None
    except UnpicklingError:
        label = "it holds more than tensors, and loading it would run code"
        cure = "save model.state_dict() alone, best as .safetensors"
        raise InputError(Finding("E306", f"'{path.name}' is refused", None, label, cure)) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(Finding("E306", f"'{path.name}' can't be read", None, reason)) from None
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(Finding("E306", f"'{path.name}' holds no state dict", None, f"but a {type(state).__name__}"))
    return dict(state), {}


def _shaped(file: Any, name: str) -> Tensor:
    """A tensor of the shape that the file's header gives; its content is not read."""
    return torch.empty(file.get_slice(name).get_shape(), device="meta")


def fill(module: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Load a state dict that must fit exactly. Raises InputError saying what is missing, too many or misshapen."""
    own = module.state_dict()
    problems = []
    for word, keys in (("missing", own.keys() - state.keys()), ("unexpected", state.keys() - own.keys())):
        if keys:
            problems.append(f"{word}: {listing(sorted(keys), limit=4)}")
    misshapen = [
        f"{key} is {'x'.join(map(str, state[key].shape))}, not {'x'.join(map(str, own[key].shape))}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if misshapen:
        problems.append(listing(misshapen, limit=4))
    if problems:
        message = f"'{name}' does not fit the model {type(module).__name__}"
        raise InputError(Finding("E305", message, None, "; ".join(problems), "is it of another model?"))
    module.load_state_dict(dict(state))


def moved(module: nn.Module, place: torch.device | str) -> nn.Module:
    """The module on a device, with the tensors that are attributes of it and neither parameters nor buffers."""
    for each in module.modules():
        for name, value in list(vars(each).items()):
            if isinstance(value, Tensor):
                setattr(each, name, value.to(place))
    return module.to(place)


def sound(module: nn.Module, name: str) -> nn.Module:
    """The module, all of whose weights are numbers. Raises InputError."""
    state = module.state_dict().items()
    bad = [key for key, each in state if not each.is_meta and each.is_floating_point() and not each.isfinite().all()]
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
