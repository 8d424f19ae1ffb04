from circuitlang.engine.result import Result
from circuitlang.output.console import as_text
from circuitlang.output.contracts import output_format
from circuitlang.output.report import render


@output_format
def report(result: Result) -> dict[str, bytes]:
    """The terminal report as plain text, `report.txt`."""
    return {"report.txt": as_text(render(result))}
