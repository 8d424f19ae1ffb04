from circuitlang.engine.evaluation.significance import LEVEL, add_one
from circuitlang.plugins.hypothesis_tests import CircuitClaim, HypothesisOutcome, Runs, hypothesis_test
from circuitlang.plugins.protocols import Count


@hypothesis_test("lower", runs=lambda _kernels, circuits: Runs(circuits=circuits, built=circuits))
def sufficiency(claim: CircuitClaim, *, circuits: Count = 100) -> HypothesisOutcome:
    """The share of random circuits whose error is no larger than the circuit's; a small p speaks for the circuit.

    The random circuits have as many kernels in every layer, as many of these with weights that are all zero, and are as
    connected. They are built in the same way, refit included. p = (b + 1) / (n + 1), where b of n have an error that is
    no larger.

    Source: Shi et al. 2024, "Hypothesis testing the circuit hypothesis in LLMs", section 3.2. Cost: `circuits` circuits
    on the held-out images.
    """
    own = claim.error(claim.circuit)
    as_good = sum(claim.built_error(masks) <= own for masks in claim.random_circuits(circuits))
    p = add_one(as_good, circuits)
    verdict = f"{as_good} of {circuits} random circuits do as well"
    verdict += ": beyond chance" if p <= LEVEL else ": not beyond chance"
    verdict += ", yet no better than no output" if own >= 1 else ""
    return HypothesisOutcome(statistic=as_good / circuits, p=p, verdict=verdict)
