from typing import TYPE_CHECKING

from circuitlang.results.outputs import export

if TYPE_CHECKING:
    from circuitlang.results.finished_circuit import FinishedCircuit


@export
def png(circuit: "FinishedCircuit") -> bytes:
    """The circuit's diagram as an image of twice its size in pixels; a very large one is made smaller.

    It needs `pip install 'circuitlang[images]'`.
    """
    from circuitlang.reporting.diagram.raster import convert

    return convert(circuit.folder, "png")
