import io
from typing import TYPE_CHECKING

from circuitlang.results.outputs import export

if TYPE_CHECKING:
    from circuitlang.results.finished_circuit import FinishedCircuit


@export
def graphml(circuit: "FinishedCircuit") -> bytes:
    """The circuit's graph for Gephi, Cytoscape, yEd or igraph: channels as nodes, kept kernels as edges.

    Nodes are called as in a spec, `conv5:34`; what nodes and edges have is told at `Loaded.graph`.
    """
    import networkx as nx

    from circuitlang.reporting.diagram.svg import clean

    file = io.BytesIO()
    # Its plain writer: the same bytes whether or not lxml happens to be installed.
    nx.write_graphml_xml(circuit.named_graph, file, prettyprint=True)
    # A stranger's layers may be called by what no XML may hold.
    return clean(file.getvalue().decode()).encode()
