from circuitlang.reporting.terminal.console import as_text
from circuitlang.reporting.terminal.split_report import render
from circuitlang.results.outputs import split_format
from circuitlang.results.split import SplitResult


@split_format
def report(result: SplitResult) -> dict[str, bytes]:
    """The terminal report of a split as plain text, `report.txt`."""
    return {"report.txt": as_text(render(result.split))}
