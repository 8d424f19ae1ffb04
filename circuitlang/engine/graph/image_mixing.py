"""Test with random numbers whether operations without a rule mix images, or are random."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from circuitlang.engine.graph.channel_nodes import ChannelNode
from circuitlang.engine.graph.channel_rules import Unsupported
from circuitlang.engine.graph.node_calls import operation, run

# Images that a network is traced with: two, to see that neither depends on the other.
BATCH = 2


def check_images_separate(
    module: fx.GraphModule, node: fx.Node, order: list[fx.Node], sources: list[ChannelNode]
) -> None:
    """Check that no image affects the result of another at `node`, and that nothing is random.

    `order` lists the nodes from `sources` (exclusive) to `node`. Networks without weights (on the meta device) are not
    checked. Raises Unsupported.
    """
    like = next((weight for weight in module.parameters() if weight.is_floating_point()), torch.zeros(()))
    if like.is_meta:
        return
    generator = torch.Generator().manual_seed(0)
    inputs = {step.name: torch.rand(BATCH, *step.shape, generator=generator).to(like) for step in sources}
    others = {name: 10 * torch.rand(x.shape, generator=generator).to(x) for name, x in inputs.items()}
    results = run(module, order, inputs)
    for image in range(BATCH):
        changed = {name: x.clone() for name, x in inputs.items()}
        for name, values in changed.items():
            values[image] = others[name][image]
        again, unchanged = run(module, order, changed), 1 - image
        for between in order:
            first, second = results[between.name], again[between.name]
            if between is node:
                separate = not bool(_differs(first[unchanged], second[unchanged]).any())
            else:
                separate = _within_share(first, second)
            if not separate:
                raise Unsupported(f"{operation(between)} (step '{between.name}') mixes images, or is random")


def _within_share(one: Any, other: Any) -> bool:
    """Return whether one image changed no more of an intermediate result than its share of the numbers.

    The dimension of the images is unknown there: attention puts queries, keys and values in front of them.
    """
    if not isinstance(one, Tensor) or one.dim() < 2 or len(one) != BATCH:
        return True
    return BATCH * int(_differs(one, other).sum()) <= one.numel()


def _differs(one: Tensor, other: Tensor) -> Tensor:
    """Return where two results differ by more than rounding."""
    if not one.is_floating_point():
        return one != other
    scale = float(one.abs().nan_to_num(0, 0, 0).max()) if one.numel() else 0.0
    return ~torch.isclose(one, other, rtol=1e-3, atol=1e-4 * scale, equal_nan=True)
