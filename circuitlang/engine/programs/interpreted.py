"""A graph of operations that is run one by one.

torch.fx compiles a graph to Python: it writes the names of modules and tensors into source and executes that. Names may
come from a stranger's file; here no source is ever executed.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import torch
from torch import fx

# Names that a module of a graph can't have: they are Python's or torch's own.
RESERVED = frozenset(dir(fx.GraphModule(torch.nn.Module(), fx.Graph())))


class Interpreted(fx.GraphModule):
    """A graph module that interprets its graph. It takes one batch of images; other inputs have their defaults."""

    def recompile(self) -> fx.graph.PythonCode:
        """Note the source that torch shows and hashes of a graph module, without executing it."""
        code = self._graph.python_code(root_module="self")
        self._code = code.src
        return code

    def forward(self, image: Any) -> Any:
        """Run the operations in order; a result is kept until its last use."""
        nodes = list(self.graph.nodes)
        last = {used: node for node in nodes for used in node.all_input_nodes}
        values: dict[fx.Node, Any] = {}
        for node in nodes:
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            if node.op == "output":
                return args[0]
            if node.op == "placeholder":
                values[node] = args[0] if values else image
            else:
                values[node] = self._result(node, args, kwargs)
            for used in node.all_input_nodes:
                if last[used] is node:
                    del values[used]
        raise ValueError("the graph has no output")

    def _result(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        match node.op:
            case "call_module":
                return self.get_submodule(str(node.target))(*args, **kwargs)
            case "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            case "get_attr":
                return attrgetter(str(node.target))(self)
            case _:
                return node.target(*args, **kwargs)  # type: ignore[operator]
