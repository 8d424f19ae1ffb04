from circuitlang.plugins.protocols import Scores, Scoring, schedule


@schedule(passes=lambda: 0, nested=True)
def magnitude(scoring: Scoring) -> Scores:
    """The mean absolute weight of the kernel, whatever the feature or the images: a baseline.

    Han et al., "Learning both Weights and Connections", NeurIPS 2015. Cost: no pass.
    """
    return {path: weight.double().abs().mean((-2, -1)) for path, weight in scoring.weights.items()}
