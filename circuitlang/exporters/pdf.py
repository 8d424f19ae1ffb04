from typing import TYPE_CHECKING

from circuitlang.results.outputs import export

if TYPE_CHECKING:
    from circuitlang.results.finished_circuit import FinishedCircuit


@export
def pdf(circuit: "FinishedCircuit") -> bytes:
    """The circuit's diagram as a PDF, lines and text as such. It needs `pip install 'circuitlang[images]'`."""
    from circuitlang.reporting.diagram.raster import convert

    return convert(circuit.folder, "pdf")
