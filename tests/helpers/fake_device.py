"""A device that isn't there: tensors on it lie on the CPU and refuse to be mixed with those that are on the CPU.

So a machine without a GPU can tell whether the engine would work on one. The device is called `meta`, which torch knows
everywhere; a real meta tensor has no values, these have.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("meta")
# A tensor on a GPU may be indexed by one on the CPU.
_INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
_MOVES = ("aten::_to_copy", "aten::copy_")


class Remote(Tensor):
    """A tensor on the device; `here` has its values."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Remote:
        made = Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype,
            layout=here.layout, device=DEVICE, requires_grad=here.requires_grad,
        )  # fmt: skip
        made.here = here
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self) -> str:
        return f"Remote({self.here})"

    # Of lists torch makes tensors without values on `meta`.
    def __getitem__(self, index: Any) -> Tensor:
        index = index if isinstance(index, tuple) else (index,)
        found: Tensor = super().__getitem__(tuple(torch.tensor(i) if isinstance(i, list) else i for i in index))
        return found

    def new_tensor(self, data: Any) -> Tensor:
        return torch.tensor(data, dtype=self.dtype).to(DEVICE)

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _carry_out(function, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """Within it what is made on the device has values."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _carry_out(function, args, kwargs or {})


def _carry_out(function: Any, args: Any, kwargs: Any) -> Any:
    name = function._schema.name
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    remote = any(isinstance(each, Remote) for each in tensors)
    asked = kwargs.get("device")
    if remote and name not in _MOVES:
        both = [args[0]] if name in _INDEXED else tensors
        strangers = [each for each in both if not isinstance(each, Remote) and each.dim() > 0]
        if strangers or (name in _INDEXED and not isinstance(args[0], Remote)):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    there = remote if asked is None else torch.device(asked).type == DEVICE.type
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if name == "aten::_local_scalar_dense" or not (remote or there):
        return function(*tree_map_only(Remote, _value, args), **tree_map_only(Remote, _value, kwargs))
    found = function(*tree_map_only(Remote, _value, args), **tree_map_only(Remote, _value, kwargs))
    if function._schema.is_mutable:
        # In place: what was given is what comes out.
        return args[0] if isinstance(found, Tensor) else found
    return tree_map_only(Tensor, Remote, found) if there else found


def _value(tensor: Remote) -> Tensor:
    return tensor.here
