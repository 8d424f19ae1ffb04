from circuitlang.reporting.terminal.console import as_text
from circuitlang.reporting.terminal.edit_report import render
from circuitlang.results.edit import EditResult
from circuitlang.results.outputs import edit_format


@edit_format
def report(result: EditResult) -> dict[str, bytes]:
    """The terminal report of an edit as plain text, `report.txt`."""
    return {"report.txt": as_text(render(result))}
