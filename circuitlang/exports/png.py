from typing import TYPE_CHECKING

from circuitlang.output.contracts import export

if TYPE_CHECKING:
    from circuitlang.loaded import Loaded


@export
def png(circuit: "Loaded") -> bytes:
    """The circuit's diagram as a picture of twice its size in pixels; a very large one is made smaller.

    It needs `pip install 'circuitlang[images]'`.
    """
    from circuitlang.output.convert import convert

    return convert(circuit.folder, "png")
