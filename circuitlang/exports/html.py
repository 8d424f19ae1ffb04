from typing import TYPE_CHECKING

from circuitlang.output.contracts import export

if TYPE_CHECKING:
    from circuitlang.loaded import Loaded


@export
def html(circuit: "Loaded") -> bytes:
    """The circuit's diagram to explore in a browser, as the run drew it: one file that works offline."""
    from circuitlang.output.read import read_file

    return read_file(circuit.folder, "diagram.html")
