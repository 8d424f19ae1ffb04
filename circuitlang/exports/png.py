from typing import TYPE_CHECKING

from circuitlang.output.contracts import export

if TYPE_CHECKING:
    from circuitlang.loaded import Loaded


@export
def png(circuit: "Loaded") -> bytes:
    """The circuit's diagram as a picture of twice its size in pixels. It needs `pip install 'circuitlang[images]'`."""
    from circuitlang.output.convert import converter
    from circuitlang.output.read import read_file

    convert = converter()
    content: bytes = convert.svg_to_png(read_file(circuit.folder, "diagram.svg").decode(), scale=2)
    return content
