from circuitlang.engine.evaluation.significance import LEVEL, add_one
from circuitlang.plugins.hypothesis_tests import CircuitClaim, HypothesisOutcome, Runs, hypothesis_test
from circuitlang.plugins.protocols import Count


@hypothesis_test("lower", runs=lambda _kernels, circuits: Runs(circuits=circuits + 1))
def necessity(claim: CircuitClaim, *, circuits: Count = 100) -> HypothesisOutcome:
    """The share of random circuits whose ablation loses no less than that of the circuit; a small p speaks for it.

    The network with the circuit ablated is compared with the network with random circuits ablated, those of
    `sufficiency`. p = (b + 1) / (n + 1), where the ablation of b of n has an error that is no smaller. It is partial
    necessity: the circuit is needed more than random kernels, and others may be needed too.

    Source: Shi et al. 2024, "Hypothesis testing the circuit hypothesis in LLMs", section 3.2. Cost: `circuits` + 1
    ablated networks on the held-out images.
    """
    own = claim.ablated_error(claim.masks)
    as_bad = sum(claim.ablated_error(masks) >= own for masks in claim.random_circuits(circuits))
    p = add_one(as_bad, circuits)
    verdict = f"{as_bad} of {circuits} random circuits are as needed"
    verdict += ": beyond chance" if p <= LEVEL else ": not beyond chance"
    return HypothesisOutcome(statistic=as_bad / circuits, p=p, verdict=verdict)
