from typing import TYPE_CHECKING

from circuitlang.results.outputs import export

if TYPE_CHECKING:
    from circuitlang.results.finished_circuit import FinishedCircuit


@export
def json(circuit: "FinishedCircuit") -> bytes:
    """The circuit's graph as networkx's node-link data, for D3 and the like: `nodes` and `edges`.

    Nodes are called as in a spec, `conv5:34`; what nodes and edges have is told at `Loaded.graph`.
    """
    import msgspec
    import networkx as nx

    data = nx.node_link_data(circuit.named_graph, edges="edges")
    return msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n"
