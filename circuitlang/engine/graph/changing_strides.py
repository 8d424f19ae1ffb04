"""Convolutions whose stride the forward method changes between calls, as in CORnet-S.

A layer has one stride, so it is run with the greatest common divisor of its strides, and the outputs that a larger
stride skips are dropped behind it: the same values. Means over a layer's positions are over those before the drop.
"""

from __future__ import annotations

import math
import operator
from collections import defaultdict

from torch import fx, nn

# The metadata of a traced call that holds the stride that its convolution had.
_STRIDE = "stride"
# The metadata of the selection behind a call: the name of the call whose outputs it has.
OUTPUT_OF = "output_of"


def note_stride(node: fx.Node, module: nn.Module) -> None:
    """Remember the stride that a convolution has while its call is traced."""
    if isinstance(module, nn.Conv2d):
        node.meta[_STRIDE] = tuple(module.stride)


def unify_strides(module: fx.GraphModule) -> None:
    """Give each convolution one stride, and drop the outputs that some of its calls skip."""
    calls: defaultdict[str, list[fx.Node]] = defaultdict(list)
    for node in module.graph.nodes:
        if node.op == "call_module" and _STRIDE in node.meta:
            calls[str(node.target)].append(node)
    for path, nodes in calls.items():
        strides = {node.meta[_STRIDE] for node in nodes}
        convolution = module.get_submodule(path)
        assert isinstance(convolution, nn.Conv2d)
        if strides == {tuple(convolution.stride)}:
            continue
        common = tuple(math.gcd(*along) for along in zip(*strides, strict=True))
        convolution.stride = (common[0], common[1])
        for node in nodes:
            steps = tuple(whole // part for whole, part in zip(node.meta[_STRIDE], common, strict=True))
            if any(step > 1 for step in steps):
                _subsample(module.graph, node, steps)
    module.recompile()


def _subsample(graph: fx.Graph, node: fx.Node, steps: tuple[int, ...]) -> None:
    """Insert the selection of every n-th row and column behind a call."""
    whole = slice(None)
    with graph.inserting_after(node):
        kept = graph.call_function(operator.getitem, (node, (whole, whole, *(slice(None, None, n) for n in steps))))
    node.replace_all_uses_with(kept, delete_user_cb=lambda user: user is not kept)
    kept.meta.update({key: value for key, value in node.meta.items() if key != _STRIDE})
    kept.meta[OUTPUT_OF] = node.name
