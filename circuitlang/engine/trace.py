"""Model → graph: the forward method traced by torch.fx, and every operation asked how its channels are fed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from circuitlang.engine.graph import Graph, Layer, Link, Step, Window, Windows
from circuitlang.errors import Finding, InputError


def trace(model: nn.Module, size: tuple[int, int]) -> Graph:
    """Read a network for colour images of `size` (height, width). The model is left as it is.

    Raises InputError where the forward method can't be traced; an operation whose channels can't be followed is an
    error only for targets behind it (see `Graph.find`).
    """
    private = _private(model, {})
    private.eval()
    try:
        module = fx.symbolic_trace(private)
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        reason = str(error).strip().split("\n")[0]
        raise InputError(Finding("E308", f"the network can't be traced: {reason}")) from error
    _not_in_place(module)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    with torch.no_grad():
        try:
            _Shapes(module).run(torch.zeros(1, 3, *size, device=device, dtype=dtype))
        except Exception as error:  # what a network does to an image of another size may raise anything
            reason = str(error).strip().split("\n")[0]
            message = f"the network can't take images of {size[0]} x {size[1]} pixels: {reason}"
            raise InputError(Finding("E308", message)) from None
    return _Reader(module).read()


def _private(module: nn.Module, known: dict[int, nn.Module]) -> nn.Module:
    """The same tree of modules over the same storage: what is set on it, gradients too, is not set on the user's."""
    if id(module) not in known:
        # Not the type's own __new__: that of a graph module makes another type, without its forward method.
        twin = object.__new__(type(module))
        twin.__dict__.update(module.__dict__)
        known[id(module)] = twin
        children = {name: child and _private(child, known) for name, child in module._modules.items()}
        twin.__dict__["_modules"] = children
        twin.__dict__["_parameters"] = {
            name: each if each is None else nn.Parameter(each.detach(), requires_grad=False)
            for name, each in module._parameters.items()
        }
        if getattr(twin, "inplace", False) is True:
            twin.__dict__["inplace"] = False
    return known[id(module)]


_OUT_OF_PLACE: Mapping[Any, Any] = {operator.iadd: operator.add, operator.imul: operator.mul}


def _not_in_place(module: fx.GraphModule) -> None:
    """Operations that write into their input would falsify what is observed of it."""
    for node in module.graph.nodes:
        if node.op == "call_function":
            node.target = _OUT_OF_PLACE.get(node.target, node.target)
        if node.op == "call_method" and node.target.endswith("_") and not node.target.endswith("__"):
            node.target = node.target[:-1]
        if node.kwargs.get("inplace") is True:
            node.kwargs = {**node.kwargs, "inplace": False}
    module.recompile()


class _Shapes(fx.Interpreter):
    """Runs a traced network and notes the shape of every tensor."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            n.meta["shape"] = value.shape
        return value


class _Reader:
    """Goes through a traced graph once and says of each operation how its channels are fed."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._steps: dict[str, Step] = {}
        self._names = _layer_names(module)
        self._called: set[str] = set()

    def read(self) -> Graph:
        image = ""
        for node in self._module.graph.nodes:
            if node.op == "placeholder":
                image = image or node.name
                self._steps[node.name] = Step(node.name, _shape(node)[1], ())
            elif node.op != "output":
                step = self._step(node)
                if step is not None:
                    self._steps[node.name] = step
        return Graph(self._module, self._steps, image)

    def _step(self, node: fx.Node) -> Step | None:
        """The step of a node; None where its channels can't be followed, which `find` reports if it matters."""
        inputs = [each for each in node.all_input_nodes if each.name in self._steps]
        if not inputs or len(inputs) < len(node.all_input_nodes) or len(_shape(node)) < 2:
            return None
        if node.op == "call_module":
            module = self._module.get_submodule(str(node.target))
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                return self._layer(node, module, inputs[0])
            windows: Windows | None = _module_windows(module)
            if windows is _UNKNOWN:
                return None
            return self._same(node, inputs, windows)
        rule = _FUNCTIONS.get(node.target) or _FUNCTIONS.get(getattr(node.target, "__name__", node.target))
        if rule is None:
            return None
        if rule is _cat:
            return self._concatenated(node)
        windows = rule(node)
        return None if windows is _UNKNOWN else self._same(node, inputs, windows)

    def _layer(self, node: fx.Node, module: nn.Conv2d | nn.Linear, source: fx.Node) -> Step | None:
        path = str(node.target)
        if path in self._called or (isinstance(module, nn.Linear) and len(_shape(node)) != 2):
            return None
        self._called.add(path)
        own = torch.arange(_shape(source)[1])
        link = Link(source.name, own, own)
        if isinstance(module, nn.Linear):
            layer = Layer(
                path, self._names[path], "linear", node.name, module.out_features, module.in_features, 1, (1, 1)
            )
            return Step(node.name, module.out_features, (link,), layer)
        height, width = module.kernel_size
        layer = Layer(
            path,
            self._names[path],
            "conv",
            node.name,
            module.out_channels,
            module.in_channels,
            module.groups,
            (height, width),
        )
        padding = _padding(module)
        windows = tuple(
            Window(module.dilation[axis] * (module.kernel_size[axis] - 1) + 1, module.stride[axis], padding[axis])
            for axis in (0, 1)
        )
        return Step(node.name, module.out_channels, (link,), layer, (windows[0], windows[1]))

    def _same(self, node: fx.Node, inputs: list[fx.Node], windows: Windows | None) -> Step | None:
        """Channels go through one by one, or each is spread over several by flattening."""
        width = _shape(node)[1]
        links = []
        for source in inputs:
            given = _shape(source)[1]
            if width % given:
                return None
            target = torch.arange(width)
            links.append(Link(source.name, target // (width // given), target))
        flattened = len(_shape(node)) == 2 and len(_shape(inputs[0])) == 4
        return Step(node.name, width, tuple(links), None, None if flattened else windows)

    def _concatenated(self, node: fx.Node) -> Step | None:
        parts = node.args[0]
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if axis not in (1, 1 - len(_shape(node))) or not isinstance(parts, (list, tuple)):
            return None
        links, start = [], 0
        for part in parts:
            assert isinstance(part, fx.Node)
            own = torch.arange(_shape(part)[1])
            links.append(Link(part.name, own, own + start))
            start += len(own)
        return Step(node.name, start, tuple(links))


def _layer_names(module: fx.GraphModule) -> dict[str, str]:
    """What users call the layers: convN and fcN in execution order, unless the model has such names itself."""
    taken = {name for name, _ in module.named_modules()}
    names: dict[str, str] = {}
    count = {"conv": 0, "fc": 0}
    for node in module.graph.nodes:
        path = str(node.target)
        if node.op != "call_module" or path in names:
            continue
        layer = module.get_submodule(path)
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            kind = "conv" if isinstance(layer, nn.Conv2d) else "fc"
            count[kind] += 1
            alias = f"{kind}{count[kind]}"
            names[path] = path if alias in taken else alias
    return names


def _shape(node: fx.Node) -> torch.Size:
    """The shape of a step's output for one image; empty where it isn't a tensor."""
    return node.meta.get("shape", torch.Size())  # type: ignore[no-any-return]


def _padding(module: nn.Conv2d) -> tuple[int, int]:
    """Padding before the first row and column, also where it is given as a word."""
    if isinstance(module.padding, str):
        left, _, top, _ = module._reversed_padding_repeated_twice
        return top, left
    return module.padding[0], module.padding[1]


_ONE = (Window(1, 1, 0), Window(1, 1, 0))
# A rule's answer for what it can't follow; told apart from None, the whole input, by identity.
_UNKNOWN: Windows = (Window(0, 0, 0), Window(0, 0, 0))

_ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh,
    nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus, nn.PReLU, nn.Dropout, nn.Dropout2d, nn.AlphaDropout,
    nn.Identity, nn.BatchNorm2d, nn.BatchNorm1d, nn.Flatten,
)  # fmt: skip


def _module_windows(module: nn.Module) -> Windows | None:
    """What a position of a module without kernels sees, where its channels go through one by one."""
    if isinstance(module, _ELEMENTWISE):
        return _ONE
    if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
        dilation = module.dilation if isinstance(module, nn.MaxPool2d) else 1
        return _pool(module.kernel_size, module.stride, module.padding, dilation)
    if isinstance(module, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)):
        return None
    return _UNKNOWN


def _pool(kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> Windows:
    sizes, steps, edges, holes = (
        value if isinstance(value, (tuple, list)) else (value, value)
        for value in (kernel, kernel if stride is None else stride, padding, dilation)
    )
    vertical, horizontal = (Window(holes[axis] * (sizes[axis] - 1) + 1, steps[axis], edges[axis]) for axis in (0, 1))
    return vertical, horizontal


def _functional_pool(node: fx.Node) -> Windows:
    arguments = {"stride": None, "padding": 0, "dilation": 1, **node.kwargs}
    arguments.update(zip(("kernel_size", "stride", "padding"), node.args[1:], strict=False))
    return _pool(arguments["kernel_size"], arguments["stride"], arguments["padding"], arguments["dilation"])


def _elementwise(_: fx.Node) -> Windows:
    return _ONE


def _whole(_: fx.Node) -> None:
    return None


def _flatten(node: fx.Node) -> Windows:
    """A reshape to [N, everything]; other reshapes may mix channels."""
    return _ONE if len(_shape(node)) == 2 else _UNKNOWN


def _mean(node: fx.Node) -> Windows | None:
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    rank = len(_shape(node.all_input_nodes[0]))
    over = {axis % rank for axis in axes} if isinstance(axes, (list, tuple)) else set()
    return None if over and over <= {2, 3} else _UNKNOWN


def _cat(_: fx.Node) -> Windows:
    return _ONE


# By function, or by name for methods and for functions that several modules export.
_FUNCTIONS: Mapping[Any, Callable[[fx.Node], Windows | None]] = {
    operator.add: _elementwise,
    operator.sub: _elementwise,
    operator.mul: _elementwise,
    torch.cat: _cat,
    torch.concat: _cat,
    functional.max_pool2d: _functional_pool,
    functional.avg_pool2d: _functional_pool,
    **dict.fromkeys(("add", "sub", "mul", "relu", "relu6", "sigmoid", "silu", "hardswish", "gelu"), _elementwise),
    **dict.fromkeys(("leaky_relu", "elu", "tanh", "dropout", "contiguous", "clone", "stochastic_depth"), _elementwise),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), _whole),
    **dict.fromkeys(("flatten", "view", "reshape"), _flatten),
    "mean": _mean,
}
