"""The stability of a circuit's connections: the share of circuits of other images that have them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from circuitlang.results.connections import Connection
from circuitlang.results.types import LayerSummary

# Connections below this share are drawn as unstable.
UNSTABLE = 0.5


def share_of(one: Connection, layers: Sequence[LayerSummary]) -> float | None:
    """Return the mean share of a connection's kernels; None where it is not measured."""
    shares = layers[one.target[0]].shares
    return None if shares is UNSET else sum(shares[member] for member in one.members) / one.kernels


def is_unstable(one: Connection, layers: Sequence[LayerSummary]) -> bool:
    """Return whether a connection is known to be in few circuits of other images."""
    share = share_of(one, layers)
    return share is not None and share < UNSTABLE
