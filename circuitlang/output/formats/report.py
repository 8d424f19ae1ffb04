import io

from rich.console import Console

from circuitlang.engine.result import Result
from circuitlang.output.contracts import output_format
from circuitlang.output.report import render


@output_format
def report(result: Result) -> dict[str, bytes]:
    """The terminal report as plain text, `report.txt`."""
    text = io.StringIO()
    console = Console(file=text, width=100, color_system=None, force_terminal=False, highlight=False)
    console.print(render(result))
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return {"report.txt": ("\n".join(lines) + "\n").encode()}
