from circuitlang.reporting.html.split_page import split_page
from circuitlang.results.outputs import split_format
from circuitlang.results.split import SplitResult


@split_format
def page(result: SplitResult) -> dict[str, bytes]:
    """The report of a split as a page, `report.html`."""
    return {"report.html": split_page(result)}
