from circuitlang.results.outputs import output_format
from circuitlang.results.types import Result


@output_format
def diagram_html(result: Result) -> dict[str, bytes]:
    """The diagram as a page to explore, `diagram.html`: one file that works offline.

    It draws the strongest paths, as many as asked for, shows a channel large beside what it reads, finds channels, and
    has each channel's activation maps on images, in the network and in the circuit.
    """
    from circuitlang.reporting.diagram.interactive import interactive

    return {"diagram.html": interactive(result).encode()}
