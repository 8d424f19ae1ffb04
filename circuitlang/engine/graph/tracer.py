"""Model → graph: the forward method as operations, by torch.fx or else torch.export, none of them in place."""

from __future__ import annotations

import inspect
import io
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.graph.changing_strides import note_stride, unify_strides
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_tracking import BATCH, follow
from circuitlang.engine.graph.functional_layers import CALLER, layers_of_functions
from circuitlang.engine.graph.shape_tracing import KnownShapes
from circuitlang.engine.models.outputs import unpacked
from circuitlang.engine.models.sandbox import HOOKS, hooked, private_copy, quiet, random_states, untouched, unwrapped
from circuitlang.engine.programs.aten_import import network
from circuitlang.engine.programs.interpreted import Interpreted
from circuitlang.engine.programs.pt2_reader import read_exported

# A way of reading a network: a private copy of it, the network itself and images → its operations.
Way = Callable[[nn.Module, nn.Module, torch.Tensor], fx.GraphModule]
_HERE = Path(__file__).parents[1]
_NO_CODE = "give the module that it was made of"


def trace(model: nn.Module, size: tuple[int, int], channels: int = 3) -> Graph:
    """Read a network for images of `size` (height, width) and so many channels. The model is left as it is.

    Raises InputError where the forward method can't be traced; an operation whose channels can't be followed is an
    error only for targets behind it (see `Graph.find`). `verify_trace.verified` also compares what was traced with the
    model.
    """
    return next(graphs(model, size, channels))


def graphs(model: nn.Module, size: tuple[int, int], channels: int = 3) -> Iterator[Graph]:
    """The network as each way of reading it gives it. Raises InputError at the end where none could read it."""
    check_readable(model)
    failures: list[str] = []
    for number, (name, way) in enumerate(ways(model)):
        try:
            graph = read(model, size, way, channels)
        except _Unreadable as error:
            failures.append(f"{name}{error}")
            continue
        graph.module.meta["way"] = number
        yield graph
        failures.append("")
    if all(failures):
        label = "; ".join(failures[1:])
        raise InputError(Finding("E308", f"the network can't be traced: {failures[0]}", None, label))


def ways(model: nn.Module) -> list[tuple[str, Way]]:
    """The ways of reading a network, with what an error says before its reason, the fastest first; one leaves out hooks
    that may only look at what goes through."""
    found: list[tuple[str, Way]] = [("", _symbolic), ("traced parameters: ", _with_parameters)]
    found += [("torch.export: ", _exported), ("traced shapes: ", _with_shapes)]
    if any(map(hooked, model.modules())):
        found.insert(1, ("without its hooks: ", _without_hooks))
    return found


class _Unreadable(Exception):  # noqa: N818
    """Why a way of reading a network doesn't lead anywhere."""


def read(model: nn.Module, size: tuple[int, int], way: Way, channels: int = 3) -> Graph:
    """The network read in one way."""
    parameters = next(model.parameters(), torch.zeros(()))
    device = parameters.device
    images = torch.zeros(BATCH, channels, *size, device=device, dtype=parameters.dtype)
    # Without weights, what the code makes has no content either.
    made = device if device.type == "meta" else nullcontext()
    with untouched(model), quiet(), random_states(0, device), made:
        private = private_copy(model)
        try:
            private.eval()
            with torch.no_grad():
                module = way(private, model, images)
        except InputError as error:
            raise _Unreadable(f"{error.findings[0].message}: {error.findings[0].label}") from None
        except Exception as error:  # tracing runs the model's own code, which may raise anything
            raise _Unreadable(reason(error)) from None
        _share(private, model)
        unify_strides(module)
        layers_of_functions(module)
        _not_in_place(module)
        _plain_norms(module)
        module.requires_grad_(False)
        with torch.no_grad():
            try:
                _Shapes(module).run(images)
                while unpacked(module):
                    _Shapes(module).run(images)
            except Exception as error:  # what a network does to an image of another size may raise anything
                if _takes(private_copy(model).eval(), images):
                    # A forward method that changes the attributes of layers leaves them as the last call has them.
                    raise _Unreadable(f"the traced network fails: {reason(error)}") from None
                raise unfit((channels, *size), error) from None
    return follow(module)


def _takes(model: nn.Module, images: torch.Tensor) -> bool:
    """Return whether a network runs on images."""
    try:
        model(images)
    except Exception:  # a network may raise anything
        return False
    return True


def unfit(shape: Sequence[int], error: Exception) -> InputError:
    """A network raised an error for images of a shape (channels, height, width)."""
    depth = "" if shape[0] == 3 else f"{shape[0]} channel{'s' if shape[0] > 1 else ''} and "
    images = f"the network can't take images of {depth}{shape[1]} x {shape[2]} pixels"
    return InputError(Finding("E308", f"{images}: {reason(error)}"))


def check_readable(model: nn.Module) -> None:
    """Raises InputError for what no way of reading a network gets through."""
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"'{path}' in it" if path else "it"
            message = f"the network can't be read: {where} is a module of torch.jit"
            label = "what it computes is compiled and has no layers that can be followed"
            raise InputError(Finding("E308", message, None, label, _NO_CODE))
    hooks = nn.modules.module
    if hooks._global_forward_hooks or hooks._global_forward_pre_hooks:
        message = "the network can't be read: hooks are registered for all modules"
        label = "they would change what the engine's own layers compute"
        raise InputError(Finding("E308", message, None, label, "register them on the modules they are for"))


def _share(private: nn.Module, model: nn.Module) -> None:
    """Let a private copy use the model's own tensors, as far as they are what they were."""
    inner = unwrapped(model)
    theirs = {**dict(inner.named_parameters()), **dict(inner.named_buffers())}
    for name, tensor in (*private.named_parameters(), *private.named_buffers()):
        other = theirs.get(name)
        if other is not None and other.shape == tensor.shape and not tensor.is_meta:
            same = other.dtype == tensor.dtype and other.device == tensor.device
            if same and torch.equal(other, tensor):
                tensor.data = other.detach()


class _Call(nn.Module):
    """A call of a network with images alone, so that everything is traced that such a call does."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> Any:
        return self.net(image)


_PREFIX = "net."


class _Tracer(fx.Tracer):
    """Goes into every module but those of PyTorch and what computes the same as they do.

    Hooks and replaced forward methods are traced as part of the network. What is computed from parameters and buffers
    alone is computed, and not traced.
    """

    def __init__(self, net: nn.Module, model: nn.Module) -> None:
        super().__init__(param_shapes_constant=True)
        self._net = net
        inner = unwrapped(model)
        # A replaced forward method may use the model itself, of which the network is a copy.
        self._modules = {id(each): path for path, each in inner.named_modules()}
        self._tensors = {id(each): path for path, each in (*inner.named_buffers(), *inner.named_parameters())}

    def path_of_module(self, mod: nn.Module) -> str:
        if id(mod) in self._modules:
            return f"{_PREFIX}{self._modules[id(mod)]}"
        return super().path_of_module(mod)

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, torch.Tensor) and id(a) in self._tensors:
            return self.create_node("get_attr", f"{_PREFIX}{self._tensors[id(a)]}", (), {})
        return super().create_arg(a)

    def getattr(self, _attr: str, attr_val: Any, _cache: dict[str, Any]) -> Any:
        return attr_val

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        if kind in ("call_module", "get_attr"):
            target = self._target(str(target))
        node = super().create_node(kind, target, *args, **kwargs)
        caller, _ = next(reversed(self.module_stack.values()), ("", None))
        node.meta[CALLER] = caller.removeprefix(_PREFIX) if caller.startswith(_PREFIX) else ""
        if kind == "call_module":
            note_stride(node, self._net.get_submodule(str(target)))
        return node

    def _target(self, target: str) -> str:
        """A path in the network, which gets those constants too that were made while it was traced."""
        if target.startswith(_PREFIX):
            return target.removeprefix(_PREFIX)
        value = getattr(self.root, target)
        while getattr(self._net, target, value) is not value:
            target += "_"
        setattr(self._net, target, value)
        return target

    def is_leaf_module(self, m: nn.Module, _path: str) -> bool:
        if (
            m is self._net
            or self._modules.get(id(m)) == ""
            or "forward" in vars(m)
            or "_conv_forward" in vars(m)
            or parametrize.is_parametrized(m)
        ):
            return False
        if isinstance(m, (nn.Conv2d, nn.Linear)) and not isinstance(m._parameters.get("weight"), nn.Parameter):
            # A hook computes its weight.
            return False
        return as_torch_has_it(type(m)) and not isinstance(m, (nn.Sequential, nn.ModuleList, nn.ModuleDict))

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        path = self.path_of_module(m)
        if not any(isinstance(each, fx.Proxy) for each in tree_leaves((args, kwargs))):
            # It computes a weight, or something else that is the same for all images.
            return forward(*args, **kwargs)
        if not hooked(m) or not self.is_leaf_module(m, path):
            return super().call_module(m, forward, args, kwargs)
        # The module stays one operation, and its hooks are traced around it.
        vars(m)["forward"] = lambda *args, **kwargs: self.create_proxy("call_module", path, args, kwargs)
        try:
            return forward(*args, **kwargs)
        finally:
            del vars(m)["forward"]


class _ParameterTracer(_Tracer):
    """Traces what is done to parameters and buffers too."""

    proxy_buffer_attributes = True

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return fx.Tracer.getattr(self, attr, attr_val, parameter_proxy_cache)


class _ShapeTracer(KnownShapes, _Tracer):
    """Knows the shapes of what it traces."""

    def __init__(self, net: nn.Module, model: nn.Module, images: torch.Tensor) -> None:
        _Tracer.__init__(self, net, model)
        KnownShapes.__init__(self, net, images)


# What a class of the user's may define and still compute what torch's own computes.
_WITHOUT_EFFECT = {"__init__", "__repr__", "extra_repr", "reset_parameters", "__module__", "__doc__", "__qualname__",
                   "__annotations__", "__firstlineno__", "__static_attributes__", "__constants__",
                   "__parameters__", "__classcell__"}  # fmt: skip


def as_torch_has_it(kind: type) -> bool:
    """Whether a class is one of torch.nn, or computes what one of them does."""
    for each in kind.__mro__:
        if each.__module__.startswith(("torch.nn", "torch.ao.nn")):
            return each is not nn.Module
        if set(vars(each)) - _WITHOUT_EFFECT:
            return False
    return False


def _symbolic(private: nn.Module, model: nn.Module, _images: torch.Tensor) -> fx.GraphModule:
    """The network by torch.fx."""
    graph = _Tracer(private, model).trace(_Call(private))
    _remove_hooks(private)
    return Interpreted(private, graph)


def _with_parameters(private: nn.Module, model: nn.Module, _images: torch.Tensor) -> fx.GraphModule:
    """The network by torch.fx, with what is done to parameters: a token may be repeated for each image."""
    graph = _ParameterTracer(private, model).trace(_Call(private))
    _remove_hooks(private)
    return Interpreted(private, graph)


def _with_shapes(private: nn.Module, model: nn.Module, images: torch.Tensor) -> fx.GraphModule:
    """The network by torch.fx, with what it decides by the shapes of the images. It is right for any number of them."""
    graph = _ShapeTracer(private, model, images).trace(_Call(private))
    _remove_hooks(private)
    return Interpreted(private, graph)


def _exported(private: nn.Module, _model: nn.Module, images: torch.Tensor) -> fx.GraphModule:
    """The network by way of a program, over the private network's own tensors. It is right for any number of images."""
    program = torch.export.export(private, (images,))
    file = io.BytesIO()
    torch.export.save(program, file)
    own = {**dict(private.named_parameters()), **dict(private.named_buffers())}
    return network(read_exported(file, {name: tensor.detach() for name, tensor in own.items()}))


def _without_hooks(private: nn.Module, model: nn.Module, images: torch.Tensor) -> fx.GraphModule:
    """The network by torch.fx, less its hooks."""
    _remove_hooks(private)
    return _symbolic(private, model, images)


def _remove_hooks(private: nn.Module) -> None:
    for each in private.modules():
        for name in HOOKS:
            vars(each)[name] = type(vars(each)[name])() if name in vars(each) else {}


def _plain_norms(module: fx.GraphModule) -> None:
    """Batch norms that gather statistics from several processes in training are plain ones in evaluation mode."""
    for path, norm in list(module.named_modules()):
        if isinstance(norm, nn.SyncBatchNorm):
            plain = object.__new__(nn.BatchNorm2d)
            plain.__dict__.update(vars(norm))
            module.add_submodule(path, plain)


def _like(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """A tensor in the shape of another."""
    return other.expand_as(one)


_OUT_OF_PLACE: Mapping[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
# Methods that overwrite all of their input.
_FILLED: Mapping[str, Any] = {"zero_": torch.zeros_like, "fill_": torch.full_like, "copy_": _like}
# What gives back its input, and what gives another look at its memory.
_ITSELF = {
    "contiguous", "to", "float", "double", "detach", "dropout", "dropout2d", "stochastic_depth", "Identity", "Dropout",
    "Dropout2d", "AlphaDropout",
}  # fmt: skip
_VIEWS = {
    "getitem", "chunk", "split", "unbind", "view", "reshape", "flatten", "unflatten", "permute", "transpose",
    "swapaxes", "movedim", "moveaxis", "squeeze", "unsqueeze", "expand", "expand_as", "narrow", "select", "view_as",
    "Flatten", "Unflatten",
}  # fmt: skip


def _not_in_place(module: fx.GraphModule) -> None:
    """Operations that write into their input would falsify what is observed of it: they give a new result, which is
    used in the place of the input from there on. What looks at the input in another way is not followed."""
    nodes = list(module.graph.nodes)
    order = {node: number for number, node in enumerate(nodes)}
    same: dict[fx.Node, set[fx.Node]] = {}
    for node in nodes:
        same[node] = {node}
        writes = _writes(module, node)
        if (writes or _word(module, node) in _ITSELF | _VIEWS) and node.args and isinstance(node.args[0], fx.Node):
            source = node.args[0]
            if writes:
                views = any(_word(module, each) in _VIEWS for each in same[source])
                for each in same[source]:
                    for user in [user for user in each.users if order[user] > order[node]]:
                        if views:
                            user.meta["written"] = node.name
                        else:
                            user.replace_input_with(each, node)
            same[node] = same[source]
            same[source].add(node)
        if writes:
            _rewrite(node)
    for layer in module.modules():
        if getattr(layer, "inplace", False) is True:
            layer.inplace = False  # type: ignore[assignment]
    module.recompile()


def _word(module: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))


def _writes(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether an operation writes into its first argument."""
    if node.op == "call_module":
        return getattr(module.get_submodule(str(node.target)), "inplace", False) is True
    word = _word(module, node)
    if node.op == "call_method" or (node.op == "call_function" and word.endswith("_")):
        return word.endswith("_") and not word.endswith("__")
    if node.op != "call_function":
        return False
    return node.target in _OUT_OF_PLACE or _given(node).get("inplace") is True


def _given(node: fx.Node) -> Mapping[str, Any]:
    """The arguments of a function by name, where it says its names."""
    try:
        return inspect.signature(node.target).bind(*node.args, **node.kwargs).arguments  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return node.kwargs


def _rewrite(node: fx.Node) -> None:
    """Make an operation that writes into its input one that gives a new result."""
    if node.op == "call_method" and node.target in _FILLED:
        node.op, node.target = "call_function", _FILLED[str(node.target)]
    elif node.op == "call_method" and hasattr(torch.Tensor, str(node.target)[:-1]):
        node.target = str(node.target)[:-1]
    elif node.op == "call_function" and node.target in _OUT_OF_PLACE:
        node.target = _OUT_OF_PLACE[node.target]
    elif node.op == "call_function" and "inplace" in (given := _given(node)):
        node.args, node.kwargs = (), {**given, "inplace": False}
        node.args, node.kwargs = (given["input"],), {k: v for k, v in node.kwargs.items() if k != "input"}
    elif node.op == "call_function":
        word = str(node.target.__name__).rstrip("_")  # type: ignore[union-attr]
        node.target = getattr(torch, word, None) or getattr(functional, word)


# Of an image, these say nothing but its size and kind.
_SIZES = {"size", "dim", "numel", "ndimension", "stride", "len", "zeros_like", "ones_like", "new_zeros", "new_ones"}
_TRAITS = {"shape", "ndim", "dtype", "device"}


class _Shapes(fx.Interpreter):
    """Runs a traced network, and notes the shape of every tensor and the value of what is the same for all images."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            n.meta["shape"] = value.shape
        elif isinstance(value, (tuple, list)) and n.op != "output":
            n.meta["entries"] = len(value)
        if not _depends(n):
            n.meta["value"] = value
        return value


def _depends(node: fx.Node) -> bool:
    """Whether a result depends on the images' values."""
    if node.op == "placeholder":
        return True
    word = str(getattr(node.target, "__name__", node.target))
    if word in _SIZES or (word == "getattr" and node.args[1] in _TRAITS):
        return False
    return any("value" not in each.meta for each in node.all_input_nodes)


def reason(error: BaseException) -> str:
    """What an error says, and the line of the user's own code that it comes from."""
    frames = [each for each in extract_tb(error.__traceback__) if not _foreign(Path(each.filename))]
    first = _first_line(error)
    if not frames or not frames[-1].line:
        return first
    return f"{first} (line {frames[-1].lineno} of {Path(frames[-1].filename).name}: `{frames[-1].line}`)"


def _foreign(file: Path) -> bool:
    """Whether a file is not the user's own, but a package's or none."""
    return file.name.startswith("<") or "site-packages" in file.parts or _HERE in file.parents


def _first_line(error: BaseException) -> str:
    return next(iter(_lines(error)), type(error).__name__)


def _lines(error: BaseException) -> Iterator[str]:
    return filter(None, map(str.strip, str(error).split("\n")))
