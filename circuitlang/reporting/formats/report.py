from circuitlang.reporting.terminal.circuit_report import render
from circuitlang.reporting.terminal.console import as_text
from circuitlang.results.outputs import output_format
from circuitlang.results.types import Result


@output_format
def report(result: Result) -> dict[str, bytes]:
    """The terminal report as plain text, `report.txt`."""
    return {"report.txt": as_text(render(result))}
