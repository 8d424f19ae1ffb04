from circuitlang.reporting.diagram.overlay import overlays
from circuitlang.results.outputs import ComparisonResult, comparison_format


@comparison_format
def diagram(result: ComparisonResult) -> dict[str, bytes]:
    """Two circuits in one diagram, `diagram.svg`; of more than two the first with each of the next."""
    return overlays(result.comparison, result.circuits)
