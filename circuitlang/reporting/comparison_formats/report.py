from circuitlang.reporting.terminal.comparison_report import render
from circuitlang.reporting.terminal.console import as_text
from circuitlang.results.outputs import ComparisonResult, comparison_format


@comparison_format
def report(result: ComparisonResult) -> dict[str, bytes]:
    """The terminal report of a comparison as plain text, `report.txt`."""
    return {"report.txt": as_text(render(result.comparison))}
