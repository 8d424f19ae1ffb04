from typing import TYPE_CHECKING

from circuitlang.output.contracts import export

if TYPE_CHECKING:
    from circuitlang.loaded import Loaded


@export
def pdf(circuit: "Loaded") -> bytes:
    """The circuit's diagram as a PDF, lines and text as such. It needs `pip install 'circuitlang[images]'`."""
    from circuitlang.output.convert import convert

    return convert(circuit.folder, "pdf")
