from circuitlang.reporting.html.edit_page import edit_page
from circuitlang.results.edit import EditResult
from circuitlang.results.outputs import edit_format


@edit_format
def page(result: EditResult) -> dict[str, bytes]:
    """The report of an edit as a page, `report.html`."""
    return {"report.html": edit_page(result)}
