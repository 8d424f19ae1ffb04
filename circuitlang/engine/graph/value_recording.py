"""Run a traced network and record shapes, and values that are the same for all images, in its nodes' metadata."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

# Operations and attributes that depend on an image's shape and type only.
_SIZES = {"size", "dim", "numel", "ndimension", "stride", "len", "zeros_like", "ones_like", "new_zeros", "new_ones"}
_TRAITS = {"shape", "ndim", "dtype", "device"}


class ValueRecorder(fx.Interpreter):
    """Runs a traced network and records the shape of every tensor, and values that are the same for all images.

    They are kept in the metadata of nodes: `shape`, the number of `entries` of a tuple, and `value`.
    """

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            n.meta["shape"] = value.shape
        elif isinstance(value, (tuple, list)) and n.op != "output":
            n.meta["entries"] = len(value)
        if not _depends(n):
            n.meta["value"] = value
        return value


def _depends(node: fx.Node) -> bool:
    """Return whether a result depends on the values of the images."""
    if node.op == "placeholder":
        return True
    name = str(getattr(node.target, "__name__", node.target))
    if name in _SIZES or (name == "getattr" and node.args[1] in _TRAITS):
        return False
    return any("value" not in source.meta for source in node.all_input_nodes)
