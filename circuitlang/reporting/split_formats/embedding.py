from circuitlang.reporting.html import charts
from circuitlang.results.outputs import split_format
from circuitlang.results.split import SplitResult


@split_format
def embedding(result: SplitResult) -> dict[str, bytes]:
    """A scatter plot of the images of a split, `embedding.svg`."""
    return {"embedding.svg": charts.alone(charts.embedding(result.split)).encode()}
