"""Plan and results → the sweeps among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from circuitlang.plan.model import Circuit, Sparsity
from circuitlang.results.sweep import Curve, Point, Sweep
from circuitlang.results.types import Summary

# Values in which members of a curve differ.
_MEMBERS = ("sparsity", "kernels", "unit")


def sweeps(circuits: Sequence[Circuit], finished: Mapping[str, Summary]) -> list[Sweep]:
    """Group the finished circuits of statements with more than one size, in the order of the plan."""
    statements: dict[tuple[str, str], list[Circuit]] = {}
    for circuit in circuits:
        if circuit.size is not None and {"sparsity", "kernels"} & circuit.values.keys():
            statements.setdefault((circuit.name, circuit.statement), []).append(circuit)
    groups = (_sweep(name, statement, members, finished) for (name, statement), members in statements.items())
    return [sweep for sweep in groups if sweep.curves]


def _sweep(name: str, statement: str, members: Sequence[Circuit], finished: Mapping[str, Summary]) -> Sweep:
    curves: dict[str, dict[float, dict[str, Summary]]] = {}
    values: dict[str, dict[str, str]] = {}
    done = [circuit for circuit in members if circuit.id in finished]
    for circuit in done:
        assert circuit.size is not None
        differs = {word: value for word, value in circuit.values.items() if word not in _MEMBERS}
        label = ", ".join(_told(word, value) for word, value in differs.items()) or str(circuit.criterion)
        values[label] = differs
        points = curves.setdefault(label, {})
        points.setdefault(circuit.size.at_most, {})[str(circuit.target)] = finished[circuit.id]
    return Sweep(
        name=name or "sweep",
        statement=statement,
        axis="sparsity" if isinstance(members[0].size, Sparsity) else "kernels",
        noun="weight" if members[0].structure == "weight" else "kernel",
        features=tuple(dict.fromkeys(str(circuit.target) for circuit in done)),
        curves=tuple(
            Curve(values[label], label, tuple(Point(size, points[size]) for size in sorted(points)))
            for label, points in curves.items()
        ),
        missing=len(members) - len(done),
    )


def _told(word: str, value: str) -> str:
    """A value that tells a curve from others; a criterion's name says what it is, a number doesn't."""
    return value if word == "criterion" else f"{word}={value}"
