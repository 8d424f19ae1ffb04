"""Draw random circuits with the size and the layer profile of a circuit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Generator, Tensor

from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import count, select
from circuitlang.plugins.protocols import Masks, Scores

# The share of a group's kernels that may be filled up in the end, by kernels between channels that are in use.
_REST = 0.1
# The number of times that a connected circuit is tried, of which the most connected one is taken.
_TRIES = 32
_NEVER = torch.iinfo(torch.int32).max
# Kernels of one layer, with weights or all zero; and their number in a circuit.
_Group = tuple[str, bool]
_Sizes = Mapping[_Group, int]


def random_circuit(builder: Builder, masks: Masks, generator: Generator) -> Masks:
    """Return a random circuit with as many kernels in every layer as a mask.

    As many of them have weights that are all zero, which do nothing: a circuit without any is compared with others
    without any. With `refill=live`, its kernels are connected as far as those of the mask, if 32 attempts find such a
    circuit. With `structure=channel`, it has whole random channels, with at most as many kernels in all.
    """
    if builder.structure == "channel":
        return builder.select(random_scores(builder.relevant, generator), count(masks))
    groups = _groups(builder)
    if builder.refill == "none":
        return _drawn(builder, groups, masks, generator)
    circuit, most, wanted = masks, -1, count(builder.connected(masks))
    for _ in range(_TRIES):
        other = _drawn(builder, groups, masks, generator)
        connected = count(builder.connected(other))
        if connected > most:
            circuit, most = other, connected
        if most >= wanted:
            break
    return circuit


def random_scores(masks: Masks, generator: Generator) -> Scores:
    """Return uniformly random scores in (0, 1], by layer."""
    return {path: 1 - torch.rand(mask.shape, dtype=torch.float64, generator=generator) for path, mask in masks.items()}


def with_weight(builder: Builder) -> Masks:
    """Return the relevant kernels of which any weight isn't zero."""
    weights = {path: (weight != 0).any(-1).any(-1).cpu() for path, weight in builder.weights.items()}
    return {path: mask & weights[path] for path, mask in builder.relevant.items()}


def _groups(builder: Builder) -> Mapping[_Group, Tensor]:
    """Return the kernels of each layer in two groups, those with weights and those whose weights are all zero."""
    weighty = with_weight(builder)
    return {
        (path, kind): weighty[path] if kind else relevant & ~weighty[path]
        for path, relevant in builder.relevant.items()
        for kind in (True, False)
    }


def _drawn(builder: Builder, groups: Mapping[_Group, Tensor], masks: Masks, generator: Generator) -> Masks:
    """Draw a circuit once; with `refill=live`, some of its kernels may be disconnected."""
    scores = random_scores(builder.relevant, generator)
    sizes = {(path, kind): int((group & masks[path]).sum()) for (path, kind), group in groups.items()}
    chosen: Masks = {path: torch.zeros_like(mask) for path, mask in builder.relevant.items()}
    if builder.refill == "live":
        chosen = _connected(builder, groups, sizes, scores)
        chosen = _filled(chosen, builder.would_be_connected(chosen), groups, sizes, scores)
    return _filled(chosen, builder.relevant, groups, sizes, scores)


def _filled(chosen: Masks, others: Masks, groups: Mapping[_Group, Tensor], sizes: _Sizes, scores: Scores) -> Masks:
    """Add the best of some kernels to each group that has fewer than its size."""
    filled = dict(chosen)
    for (path, kind), group in groups.items():
        lacking = sizes[path, kind] - int((chosen[path] & group).sum())
        if lacking > 0:
            candidates = {path: others[path] & group & ~chosen[path]}
            filled[path] = filled[path] | select({path: scores[path]}, candidates, lacking)[path]
    return filled


def _connected(builder: Builder, groups: Mapping[_Group, Tensor], sizes: _Sizes, scores: Scores) -> Masks:
    """Return connected kernels, at most as many in each group as its size.

    1. Rank kernels at random, so that all groups fill up alike.
    2. Add all kernels that are connected up to the last rank at which no group has more than its size.
    3. Close the groups that have nearly as many, and the one that would have more, and repeat 2 with the others.
    """
    ranks = _ranks(groups, sizes, scores)
    chosen: Masks = {path: torch.zeros_like(mask) for path, mask in builder.relevant.items()}
    open_groups = {group for group, size in sizes.items() if size}
    while open_groups:
        allowed = {}
        for path, kept in chosen.items():
            closed = [groups[path, kind] for kind in (True, False) if (path, kind) not in open_groups]
            rank = ranks[path]
            for group in closed:
                rank = torch.where(group, _NEVER, rank)
            allowed[path] = torch.where(kept, 0, rank)
        needed = builder.activation_rank(allowed)
        limits = {key: _first_too_many(needed[key[0]][groups[key]], sizes[key]) for key in open_groups}
        first = min(limits.values())
        chosen = {path: kept | (needed[path] < first) for path, kept in chosen.items()}
        open_groups = {
            key
            for key, limit in limits.items()
            if limit > first and int((chosen[key[0]] & groups[key]).sum()) < (1 - _REST) * sizes[key]
        }
    return chosen


def _ranks(groups: Mapping[_Group, Tensor], sizes: _Sizes, scores: Scores) -> Masks:
    """Return ranks from 1 in the order of scores within groups, with groups interleaved in proportion to their sizes.

    Irrelevant kernels, and those of groups without any, are never reached.
    """
    shares = {path: torch.full(score.shape, torch.inf, dtype=torch.float64) for path, score in scores.items()}
    for (path, kind), group in groups.items():
        if size := sizes[path, kind]:
            order = scores[path][group].argsort(descending=True)
            position = torch.empty(len(order), dtype=torch.float64)
            position[order] = torch.arange(1, len(order) + 1, dtype=torch.float64)
            shares[path][group] = position / size
    flat = torch.cat([share.flatten() for share in shares.values()])
    ranks = torch.empty(len(flat), dtype=torch.int32)
    ranks[flat.argsort(stable=True)] = torch.arange(1, len(flat) + 1, dtype=torch.int32)
    ranks[flat.isinf()] = _NEVER
    parts = torch.split(ranks, [share.numel() for share in shares.values()])
    return {path: part.reshape(share.shape) for (path, share), part in zip(shares.items(), parts, strict=True)}


def _first_too_many(needed: Tensor, size: int) -> int:
    """Return the rank at which a group has more than `size` kernels; the greatest if it never has."""
    values = needed.numpy()
    return int(np.partition(values, size)[size]) if size < len(values) else _NEVER
