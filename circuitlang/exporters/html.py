from typing import TYPE_CHECKING

from circuitlang.results.outputs import export

if TYPE_CHECKING:
    from circuitlang.results.finished_circuit import FinishedCircuit


@export
def html(circuit: "FinishedCircuit") -> bytes:
    """The circuit's diagram to explore in a browser, as the run drew it: one file that works offline."""
    from circuitlang.results.reader import read_file

    return read_file(circuit.folder, "diagram.html")
