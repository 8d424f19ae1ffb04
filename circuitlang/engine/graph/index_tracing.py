"""Numbers that say where values come from → what became of the channels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from circuitlang.engine.graph.channel_nodes import ChannelEdge, ChannelNode, Kind, ReceptiveWindow, Windows
from circuitlang.engine.graph.channel_rules import ONE, Mixed


def axis_of(numbers: Tensor, channel: Tensor) -> int | None:
    """The dimension along which the channels lie: all others have the same ones throughout, or constants."""
    found = []
    for axis in range(numbers.dim()):
        rows = channel.movedim(axis, 0).reshape(channel.shape[axis], -1)
        highest = rows.amax(1, keepdim=True)
        if torch.equal(rows.amin(1, keepdim=True), highest) or ((rows == highest) | (rows < 0)).all():
            found.append(axis)
    if len(found) > 1:
        # A single channel: it lies where nothing else does.
        free = [axis for axis in found if (numbers == numbers.narrow(axis, 0, 1)).all()]
        found = free or ([0] if numbers.dim() == 1 else [])
        found = found[:1] if found[:1] == [0] else found[-1:]
    return found[0] if found else None


def kind_of(
    place: Tensor, positions: tuple[int, ...], links: list[ChannelEdge], steps: list[ChannelNode], inputs: list[str]
) -> tuple[Kind, Windows | None]:
    """What was done to the channels, of which each row [channels, positions] says what is where."""
    count = math.prod(steps[0].positions)
    whole = (place == torch.arange(place.shape[1])) | (place < 0).all(1, keepdim=True)
    if whole.all() and all(math.prod(step.positions) == place.shape[1] for step in steps):
        return "copy", ONE if count == 1 or all(step.positions == positions for step in steps) else None
    if len(steps) > 1:
        raise Mixed("it takes apart and joins several results")
    if place.shape[1] == 1 and len(place) == steps[0].width * count > steps[0].width:
        blocks = place.reshape(-1, count)
        if (blocks == torch.arange(count)).all() and (links[0].source.reshape(-1, count).diff(dim=1) == 0).all():
            return "flat", None
    own = torch.arange(steps[0].width)
    if not (torch.equal(links[0].source, own) and torch.equal(links[0].target, own) and (place == place[0]).all()):
        raise Mixed("it takes channels and positions at once")
    if links[0].node not in inputs:
        raise Mixed("it moves positions in several operations")
    if len(positions) != 2 or len(steps[0].positions) != 2:
        return "each", None
    seen = place[0].reshape(positions)
    width = steps[0].positions[1]
    return "each", (_window(seen, 0, lambda each: each // width), _window(seen, 1, lambda each: each % width))


def _window(seen: Tensor, axis: int, along: Callable[[Tensor], Tensor]) -> ReceptiveWindow:
    """What a position sees of its input along one axis, where it is one other position or nothing."""
    valid = seen >= 0
    own = torch.arange(seen.shape[axis]).reshape(-1, 1) if axis == 0 else torch.arange(seen.shape[axis])
    own, found = own.expand(seen.shape)[valid], along(seen)[valid]
    reach = int(own.max() - own.min())
    stride = max(1, round(int(found.max() - found.min()) / reach)) if reach else 1
    shift = found - own * stride
    return ReceptiveWindow(int(shift.max() - shift.min()) + 1, stride, -int(shift.min()))
