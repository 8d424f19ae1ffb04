"""Outputs of modules that are traced into, such as blocks: marked while they are traced, and found in the final graph.

A mark is an operation that nothing reads. It follows its value through every rewriting of the graph, which a name would
not, and is taken out when the graph is final. A module that is called several times is its last call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

# Keys of a traced network's metadata: names of nodes by path, why a module can't be a target by path, classes of all
# modules by path, and further paths of a module by the path that it was traced under.
NODES, REFUSED, KINDS, ALIASES = "blocks", "refused_blocks", "kinds", "aliases"


def block_output(value: Any, _path: str) -> Any:
    """Mark the output of a module; the value is returned as it is."""
    return value


def mark(tracer: fx.Tracer, path: str, output: Any, refused: dict[str, str]) -> None:
    """Mark a module's output in the graph that is traced, or note why it is no feature map."""
    if isinstance(output, fx.Proxy):
        tracer.create_node("call_function", block_output, (output.node, path), {})
        refused.pop(path, None)
    elif not isinstance(output, torch.Tensor):
        refused[path] = f"its output is {_described(output)}"


def take_marks(module: fx.GraphModule) -> None:
    """Take the marks out of a traced network, and note the nodes in its metadata."""
    nodes: dict[str, str] = {}
    refused: dict[str, str] = module.meta.setdefault(REFUSED, {})
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target is block_output:
            source, path = node.args
            nodes[path] = source.name
            if "written" in node.meta:
                refused[path] = f"its output is read after {node.meta['written']} wrote into it"
            module.graph.erase_node(node)
    module.meta[NODES] = nodes
    module.recompile()


def note_modules(module: fx.GraphModule, net: nn.Module) -> None:
    """Note the paths and classes of a network's modules in the metadata of its trace."""
    first: dict[nn.Module, str] = {}
    kinds: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for path, part in net.named_modules(remove_duplicate=False):
        if path:
            kinds[path] = type(part).__name__
            if first.setdefault(part, path) != path:
                aliases[path] = first[part]
    module.meta |= {KINDS: kinds, ALIASES: aliases}


def refusal(module: fx.GraphModule, path: str, named: bool) -> str:
    """Return why a module of the network can't be a target; empty for what is no module of it.

    `named` says whether the trace has a value under that name.
    """
    path = module.meta.get(ALIASES, {}).get(path, path)
    if reason := module.meta.get(REFUSED, {}).get(path, ""):
        return str(reason)
    known = path in module.meta.get(KINDS, {})
    return "it is not called, or its output can't be told" if known and not named else ""


def _described(output: Any) -> str:
    """Return what a module gives in place of a tensor, for a sentence."""
    if isinstance(output, (tuple, list)) and type(output) in (tuple, list):
        return f"a {type(output).__name__} of {len(output)}"
    return f"a {type(output).__name__}" if output is not None else "nothing"
