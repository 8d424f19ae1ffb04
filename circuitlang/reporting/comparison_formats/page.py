from circuitlang.reporting.html.comparison_page import comparison_page
from circuitlang.results.outputs import ComparisonResult, comparison_format


@comparison_format
def page(result: ComparisonResult) -> dict[str, bytes]:
    """The report of a comparison as a page, `report.html`."""
    return {"report.html": comparison_page(result)}
