"""Names of the diagrams of a comparison. Pages that link to these need not import what draws them."""

from __future__ import annotations

from circuitlang.results.comparison import Comparison, Pair, columns, letter


def diagram_names(comparison: Comparison, ending: str) -> dict[str, Pair]:
    """Return the pairs that have a diagram, by the names of their files."""
    several = len(comparison.members) > 2
    return {
        f"diagram-{letter(pair.first)}-{letter(pair.second)}.{ending}" if several else f"diagram.{ending}": pair
        for pair in columns(comparison)
    }
