from typing import TYPE_CHECKING

from circuitlang.results.outputs import export

if TYPE_CHECKING:
    from circuitlang.results.finished_circuit import FinishedCircuit


@export
def svg(circuit: "FinishedCircuit") -> bytes:
    """The circuit's diagram, as the run drew it, for a paper or a README."""
    from circuitlang.reporting.diagram.raster import read_diagram
    from circuitlang.results.reader import read_file

    read_diagram(circuit.folder)
    return read_file(circuit.folder, "diagram.svg")
