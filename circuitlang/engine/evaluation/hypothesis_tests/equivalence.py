from circuitlang.engine.evaluation.significance import LEVEL, sign_test
from circuitlang.plugins.hypothesis_tests import CircuitClaim, HypothesisOutcome, hypothesis_test


@hypothesis_test("higher")
def equivalence(claim: CircuitClaim) -> HypothesisOutcome:
    """The share of images whose strongest response is larger in the circuit; a small p refutes equivalence.

    A sign test over the held-out images: if circuit and network were equivalent, either would respond more strongly to
    an image equally often. Images on which both are equal don't count. It sees a bias of one direction, whatever its
    size, and nothing else: errors that cancel pass it, and so does whatever is tested on a handful of images.

    Source: Shi et al. 2024, "Hypothesis testing the circuit hypothesis in LLMs", section 3.1; the sign test is that of
    Conover 1999, section 3.4. Cost: none.
    """
    more = claim.circuit.amax(1) - claim.network.amax(1)
    larger, smaller = int((more > 0).sum()), int((more < 0).sum())
    p, images = sign_test(larger, smaller), larger + smaller
    share = larger / images if images else 0.5
    if p <= LEVEL:
        says = f": systematically {'stronger' if larger > smaller else 'weaker'}"
    elif sign_test(images, 0) > LEVEL:
        says = ": too few images to refute equivalence"
    else:
        says = ": no systematic difference was shown"
    verdict = f"stronger on {larger} of {images} images{says}"
    return HypothesisOutcome(statistic=share, p=p, verdict=verdict)
