"""Results that are made up, so that what is said of many circuits can be looked at without computing them."""

from __future__ import annotations

from collections.abc import Callable

from circuitlang.plan.model import Circuit, Plan
from circuitlang.results.types import Fidelity, Provenance, Summary

RELEVANT = 1000


def invented(plan: Plan, fidelity: Callable[[Circuit], float] = lambda _: 0.5) -> dict[str, Summary]:
    """By id a result of every circuit of a plan, with this Pearson correlation; of a size half is effective."""
    return {circuit.id: _summary(plan, circuit, fidelity(circuit)) for circuit in plan.circuits}


def _summary(plan: Plan, circuit: Circuit, value: float) -> Summary:
    assert circuit.size is not None
    kept = int(circuit.size.at_most * RELEVANT) if circuit.size.at_most <= 1 else int(circuit.size.at_most)
    return Summary(
        plan=circuit,
        model=plan.model,
        relevant=RELEVANT,
        asked=kept,
        kept=kept,
        effective=kept // 2,
        layers=[],
        train=_fidelity(value),
        test=_fidelity(value),
        without=_fidelity(0.25),
        baselines={"random": _fidelity(0.125), "magnitude": _fidelity(0.25)},
        parameters=123,
        extracted_difference=1e-7,
        provenance=Provenance(identity="", weights="", train_images="", test_images="", versions={}),
    )


def _fidelity(value: float) -> Fidelity:
    metrics = {"error": 1 - value, "pearson": value, "r2": value * value}
    return Fidelity(images=8, metrics=metrics, intervals={name: (v - 0.1, v + 0.1) for name, v in metrics.items()})
