from typing import TYPE_CHECKING

from circuitlang.output.contracts import export

if TYPE_CHECKING:
    from circuitlang.loaded import Loaded


@export
def json(circuit: "Loaded") -> bytes:
    """The circuit's graph as networkx's node-link data, for D3 and the like: `nodes` and `edges`.

    Nodes are called as in a spec, `conv5:34`; what nodes and edges have is told at `Loaded.graph`.
    """
    import msgspec
    import networkx as nx

    data = nx.node_link_data(circuit.named_graph, edges="edges")
    return msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n"
