from typing import TYPE_CHECKING

from circuitlang.output.contracts import export

if TYPE_CHECKING:
    from circuitlang.loaded import Loaded


@export
def svg(circuit: "Loaded") -> bytes:
    """The circuit's diagram, as the run drew it, for a paper or a README."""
    from circuitlang.output.convert import read_diagram
    from circuitlang.output.read import read_file

    read_diagram(circuit.folder)
    return read_file(circuit.folder, "diagram.svg")
