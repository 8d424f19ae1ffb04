"""Comparisons of circuits, as plain values without torch."""

from __future__ import annotations

from string import ascii_uppercase

import msgspec

from circuitlang.results.overlap import Overlap

# The file of a comparison's folder that holds all of it.
FILE = "comparison.json"
# So many columns and no more are read at a glance.
COLUMNS = 6


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A circuit that is compared; `name` is its id, or where others have the same, its run's name too.

    What is counted are `noun`s, kernels or single weights; `zero` of the relevant ones are zero in the network. `how`
    says by what it was found and built, `pearson` is its fidelity, on the images that `where` says.
    """

    name: str
    target: str
    images: str
    how: str
    noun: str = "kernel"
    relevant: int
    zero: int
    kept: int
    effective: int
    pearson: float | None
    where: str


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """The agreement of two circuits' maps on some images: metrics by name, and their 95% intervals over images.

    `held_out` where neither circuit was found on any of them.
    """

    pictures: int
    held_out: bool
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = {}


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two circuits by their numbers: what they share, and how alike their maps are, or why that can't be said."""

    first: int
    second: int
    overlap: Overlap
    agreement: Agreement | None
    silent: str = ""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Circuits of one network side by side: every pair of them.

    `identity` is a hash of the circuits that it follows from; `layers` are what users call the layers, by path.
    """

    identity: str
    model: str
    noun: str
    members: list[Member]
    layers: dict[str, str]
    pairs: list[Pair]
    # Output formats that failed, and why.
    missing: dict[str, str] = {}
    # Output formats that were not asked for.
    unrendered: list[str] = []

    def has(self, name: str) -> bool:
        """Return whether its folder has the files of an output format."""
        return name not in self.missing and name not in self.unrendered

    def pair(self, first: int, second: int) -> Pair:
        """The pair of two circuits, the lower number first."""
        return next(pair for pair in self.pairs if (pair.first, pair.second) == (first, second))


def letter(number: int) -> str:
    """Return the letter of a circuit in tables: A, B, ..., Z, AA, AB, ..."""
    rest, last = divmod(number, len(ascii_uppercase))
    return (letter(rest - 1) if rest else "") + ascii_uppercase[last]


def columns(comparison: Comparison) -> list[Pair]:
    """Return the pairs whose layers are shown: the first circuit with each of the next."""
    return [pair for pair in comparison.pairs if pair.first == 0][:COLUMNS]
