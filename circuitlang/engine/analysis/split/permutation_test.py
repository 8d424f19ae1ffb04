"""Responses of the parts' circuits to held-out images → how well each keeps every part, and whether it is its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitlang.engine.evaluation.statistics import moments
from circuitlang.plugins.protocols import METRICS
from circuitlang.results.split import SpecificityTest
from circuitlang.results.statistics import percentile_interval

# The measure that compares circuits.
METRIC = "pearson"
# Deals of the images to the parts, the one that is there among them.
DEALS = 10_000

Members = NDArray[np.int64]


def fidelity(original: Tensor, circuits: Sequence[Tensor], members: Members, parts: int) -> list[list[float | None]]:
    """Return the fidelity of each circuit on the images of each part; None where a part has none.

    The network's and the circuits' responses are [images, positions], `members` says of each image its part, from 0.
    """
    there = sorted(set(members.tolist()))
    chosen = torch.stack([torch.from_numpy(members == part).double() for part in there])
    rows = []
    for circuit in circuits:
        values = dict(zip(there, _correlations(original, circuit, chosen).tolist(), strict=True))
        rows.append([values.get(part) for part in range(parts)])
    return rows


def distinction(
    original: Tensor, circuits: Sequence[Tensor], whole: Tensor, members: Members, seed: int
) -> SpecificityTest | None:
    """Test whether each part's circuit preserves the part's held-out images better than the other circuits do, more so
    than where images are dealt out to the parts at random, as many to each; None where fewer than two parts have
    any.

    The circuits, and `whole`, that of all images, have not seen these images. Which part an image belongs to follows
    from its scores, not from what the circuits make of it; had the two nothing to do with each other, all deals would
    be alike. The deal that is there counts as one of `DEALS` (Phipson and Smyth 2010).
    """
    there = sorted(set(members.tolist()))
    if len(there) < 2:
        return None
    random = np.random.default_rng(seed)
    deals = np.stack([members, *(random.permutation(members) for _ in range(DEALS - 1))])
    own, other, all_images = (torch.zeros(DEALS).double() for _ in range(3))
    for part in there:
        chosen = torch.from_numpy(deals == part).double()
        values = [_correlations(original, circuit, chosen) for circuit in circuits]
        mine = values.pop(part)
        own += mine / len(there)
        other += torch.stack(values).mean(0) / len(there)
        all_images += _correlations(original, whole, chosen) / len(there)
    differences = own - other
    least, most = percentile_interval(differences[1:].numpy())
    return SpecificityTest(
        own=float(own[0]),
        other=float(other[0]),
        whole=float(all_images[0]),
        least=least,
        most=most,
        # The sums of circuits that are the same may differ in the last bits.
        p=float((differences >= differences[0] - 1e-9).double().mean()),
    )


def _correlations(original: Tensor, circuit: Tensor, chosen: Tensor) -> Tensor:
    """The fidelity of a circuit on each choice of the images [choices, images]."""
    entry = METRICS.load(METRIC)
    return entry.measure(moments(entry.prepare(original), entry.prepare(circuit), chosen))
