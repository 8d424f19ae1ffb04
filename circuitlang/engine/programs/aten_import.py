"""Program → network: the operators of an exported program as the layers that they were called by.

Each operator that is known has a rule (`aten_modules`, `aten_functions`); any other is refused by name. Every rule
treats each image by itself, so a program that was exported for one image is right for any number of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from circuitlang.base.diagnostics import CircuitError, Finding, InputError
from circuitlang.engine.programs.aten_functions import CALLED, FIRST, FUNCTIONS, RESHAPES
from circuitlang.engine.programs.aten_modules import MODULES, Rule
from circuitlang.engine.programs.aten_rules import Call, Free, sizes
from circuitlang.engine.programs.interpreted import RESERVED, Interpreted
from circuitlang.engine.programs.local_response_norms import response_norms
from circuitlang.engine.programs.pt2_reader import PASSING_TYPES, Operation, Program
from circuitlang.engine.programs.result_tree import Tree
from circuitlang.engine.programs.size_limits import bounded

Arguments = Mapping[str, Any]
# The words that operators take: a mode, an approximation, a padding, an equation.
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_->, ")
_END = Operation("output", "output", {}, "", "")
_EXPAND = "torch.ops.aten.expand.default"
_SIZE = "torch.ops.aten.sym_size.int"
# Parts of layers, which `run_decompositions` leaves in their place.
_DECOMPOSED = {
    f"torch.ops.aten.{name}.default"
    for name in ("convolution", "_native_batch_norm_legit_no_training", "native_layer_norm", "native_group_norm",
                 "addmm", "_adaptive_avg_pool2d", "_softmax", "_log_softmax")
}  # fmt: skip
# Operations that compute no tensor: sizes, and checks of them.
_PASSED_OVER = (
    "torch.ops.aten._assert_tensor_metadata.default", "torch.ops.aten._assert_scalar.default",
    "torch.ops.aten.sym_constrain_range_for_size.default",
)  # fmt: skip
# Operations that may return a view of their input.
_ALIASES = {
    f"torch.ops.aten.{name}"
    for name in (*RESHAPES, "dropout.default", "feature_dropout.default", "contiguous.default", "detach.default",
                 "alias.default", "permute.default", "transpose.int", "slice.Tensor", "select.int", "chunk.default",
                 "split.Tensor", "split.sizes", "split_with_sizes.default", "tensor_split.sections",
                 "tensor_split.indices", "expand.default", "expand_as.default", "broadcast_to.default", "unbind.int",
                 "narrow.default", "movedim.intlist", "movedim.int", "moveaxis.int", "moveaxis.intlist",
                 "swapaxes.default",
                 "swapdims.default", "alpha_dropout.default", "feature_alpha_dropout.default", "to.dtype",
                 "to.dtype_layout", "to.device", "to.other", "type_as.default")
}  # fmt: skip


def network(program: Program) -> Interpreted:
    """The network of a program, its layers at the paths of their weights. Raises InputError naming the operator that
    can't be read, and where the program would take more memory than networks do."""
    try:
        return bounded(_Lowering(program).lower(), program)
    except CircuitError:
        raise
    except Exception as error:  # what a stranger's arguments drive torch's own checks to
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(Finding("E306", "the program is damaged", None, reason, "export it again")) from None


class _Lowering:
    """Goes through a program once and builds the network, step by step."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._graph = fx.Graph()
        self._steps: dict[str, fx.Node] = {}
        self._modules: dict[str, nn.Module | Tensor] = {}
        self._made_by: dict[str, tuple[str, str]] = {}
        self._paths = {id(tensor): path for path, tensor in reversed(list(program.tensors.items()))}
        # Names of one tensor: what is written into one is written into all.
        self._same: dict[str, set[str]] = {}
        self._overwritten: dict[str, str] = {}
        # Values that don't depend on the image, and the sizes that are known as such.
        self._constants: set[str] = set()
        self._sizes: dict[str, tuple[str, int]] = {}
        self._norms = response_norms(program.operations)

    def lower(self) -> Interpreted:
        image = self._program.image
        size = self._program.sizes.get(image, ())
        if len(size) != 4 or not isinstance(size[1], int):
            shape = " x ".join(str(length) if isinstance(length, int) else "any" for length in size) or "no tensor"
            message = f"the program takes {shape}, not a batch of images"
            raise InputError(Finding("E308", message))
        self._steps[image] = self._placed_step(image, self._graph.placeholder("image"))
        self._same[image] = {image}
        for operation in self._program.operations:
            if operation.target == _SIZE:
                self._note_size(operation)
            elif operation.target not in _PASSED_OVER and not operation.target.startswith("_operator."):
                self._steps[operation.name] = self._placed_step(operation.name, self._step(operation))
        self._graph.output(self._result(self._program.result))
        self._prune()
        return Interpreted(self._modules, self._graph).eval()

    def _result(self, tree: Tree) -> Any:
        """The steps of the tensors that the program gives, nested as they are in its result."""
        if isinstance(tree, dict):
            return {word: self._result(branch) for word, branch in tree.items()}
        if isinstance(tree, tuple):
            return tuple(map(self._result, tree))
        if tree in self._program.stored and tree not in self._steps:
            return self._constant(_END, self._program.tensors[self._program.stored[tree]])
        if tree is not None and (tree in self._overwritten or tree not in self._steps):
            reason = f"its result {tree} can't be told from what is written into it"
            raise InputError(Finding("E308", "the program can't be followed to its end", None, reason))
        return self._steps.get(tree)

    def _prune(self) -> None:
        """Take out what nothing reads."""
        for node in reversed(self._graph.nodes):
            if not node.users and node.op not in ("placeholder", "output"):
                self._graph.erase_node(node)

    def _placed_step(self, name: str, node: fx.Node) -> fx.Node:
        size = self._program.sizes.get(name)
        node.meta |= {} if size is None else {"rank": len(size), "declared": size}
        node.meta.setdefault("rank", 0)
        return node

    def _note_size(self, operation: Operation) -> None:
        dim = operation.arguments.get("dim", {}).get("as_int", 0)
        self._sizes[operation.name] = _source(operation.arguments), int(dim)

    def _step(self, operation: Operation) -> fx.Node:
        if operation.name in self._norms:
            source, module = self._norms[operation.name]
            return self._module(operation, lambda _: module, {"self": self._tensor(operation, source)})
        target, in_place = operation.target, False
        if target not in MODULES and target not in FUNCTIONS:
            in_place, target = True, target.replace("_.", ".")
        if target not in MODULES and target not in FUNCTIONS:
            raise refused(operation, "it is not among the operators that are known")
        arguments = {name: self._argument(operation, value) for name, value in operation.arguments.items()}
        source = _source(operation.arguments)
        self._same[operation.name] = {operation.name}
        if target in _ALIASES and source in self._same:
            self._alias(operation.name, source)
        node = self._made(operation, target, arguments)
        if in_place:
            if source in self._program.stored:
                raise refused(operation, "it writes into a stored tensor")
            self._write(operation, source, node)
            self._alias(operation.name, source)
        for number, part in enumerate(operation.parts):
            if target in FIRST and number:
                # Places of the largest, which no network for images has a use for.
                break
            piece = node if target in FIRST else self._graph.call_function(operator.getitem, (node, number))
            self._steps[part] = self._placed_step(part, piece)
            self._same[part] = self._same[operation.name]
            self._same[part].add(part)
        return node

    def _alias(self, name: str, source: str) -> None:
        self._same[name] = self._same[source]
        self._same[source].add(name)

    def _made(self, operation: Operation, target: str, arguments: Arguments) -> fx.Node:
        after = self._program.sizes.get(operation.name, ())
        if all(tensor in self._constants for tensor in _tensors(operation.arguments)):
            self._constants |= {operation.name, *operation.parts}
            batch = self._program.sizes[self._program.image][0]
            if target == _EXPAND and after and after[0] == batch and self._rank(arguments["self"]) == len(after):
                return self._spread(operation, arguments["self"], after)
            return self._call(operation, _overload(target), arguments)
        if target in MODULES and isinstance(arguments.get("weight", ()), fx.Node):
            # Whatever is computed, a layer's own weights are not.
            return self._call(operation, CALLED[target] if target in CALLED else FUNCTIONS[target], arguments)
        if target in MODULES:
            return self._module(operation, MODULES[target], arguments)
        return self._call(operation, FUNCTIONS[target], arguments)

    def _rank(self, value: Any) -> int:
        return value.dim() if isinstance(value, Tensor) else int(value.meta["rank"])

    def _write(self, operation: Operation, name: str, node: fx.Node) -> None:
        """From here on a tensor is what was written into it; what looks at it in another way may not be used."""
        for alias in self._same.get(name, set()) - {name, operation.name}:
            self._overwritten[alias] = operation.name
        self._steps[name] = node

    def _argument(self, operation: Operation, value: Arguments) -> Any:
        """An argument as a step of the network, a stored tensor, or a plain value."""
        ((kind, content),) = value.items()
        match kind:
            case "as_tensor":
                return self._tensor(operation, content["name"])
            case "as_tensors":
                return [self._tensor(operation, entry["name"]) for entry in content]
            case "as_optional_tensor" | "as_sym_int" | "as_sym_float" if isinstance(content, dict):
                return self._inner(operation, content)
            case "as_optional_tensors" | "as_sym_ints" | "as_sym_floats":
                return [self._inner(operation, entry) for entry in content]
            case "as_none" | "as_device" | "as_layout" | "as_memory_format":
                return None
            case "as_scalar_type" if content in PASSING_TYPES:
                return PASSING_TYPES[content]
            case "as_string" if isinstance(content, str) and len(content) < 80 and _WORD.issuperset(content):
                return content
            case "as_int" | "as_float" | "as_bool" if isinstance(content, (int, float)):
                return content
            case "as_ints" | "as_floats" | "as_bools" if all(isinstance(number, (int, float)) for number in content):
                return list(content)
        raise refused(operation, f"it is given {kind.removeprefix('as_')}")

    def _inner(self, operation: Operation, value: Arguments) -> Any:
        """A number, a size, a tensor or nothing."""
        ((kind, content),) = value.items()
        match kind:
            case "as_name":
                return Free(str(content))
            case "as_tensor":
                return self._tensor(operation, content["name"])
            case "as_none":
                return None
            case "as_int" | "as_float" if isinstance(content, (int, float)):
                return content
        raise refused(operation, f"it is given {kind.removeprefix('as_')}")

    def _tensor(self, operation: Operation, name: str) -> fx.Node | Tensor:
        if name in self._overwritten:
            raise refused(operation, f"it reads what {self._overwritten[name]} wrote into in another shape")
        if name in self._steps:
            return self._steps[name]
        if name not in self._program.stored:
            raise refused(operation, f"it reads {name}, one of several results")
        self._constants.add(name)
        return self._program.tensors[self._program.stored[name]]

    def _call(self, operation: Operation, rule: Callable[..., Call], arguments: Arguments) -> fx.Node:
        known = self._program.sizes
        before, after = known.get(_source(operation.arguments), ()), known.get(operation.name, ())
        try:
            call = rule(before, after, **arguments)
        except (TypeError, ValueError) as error:
            raise refused(operation, str(error)) from None
        args = tuple(self._constant(operation, arg) for arg in call.args)
        kwargs = {word: self._constant(operation, argument) for word, argument in (call.kwargs or {}).items()}
        return self._graph.call_function(call.target, args, kwargs)

    def _spread(self, operation: Operation, stored: Any, after: Any) -> fx.Node:
        """A constant of one image for every image."""
        if isinstance(stored, Tensor) and len(stored) != 1:
            raise refused(operation, "it repeats a stored tensor, but not for every image")
        count = self._graph.call_method("size", (self._steps[self._program.image], 0))
        return self._graph.call_method("expand", (self._constant(operation, stored), count, *sizes(after[1:])))

    def _constant(self, operation: Operation, value: Any) -> Any:
        """A stored tensor or a size as a step of the network; what else an argument is, as it is."""
        if isinstance(value, (list, tuple)):
            return type(value)(self._constant(operation, part) for part in value)
        if isinstance(value, Free):
            source, dim = self._sizes.get(value.name, ("", 0))
            if source not in self._steps:
                raise refused(operation, "its sizes depend on the image")
            return self._graph.call_method("size", (self._steps[source], dim))
        if not isinstance(value, Tensor):
            return value
        path = self._paths[id(value)]
        # As a parameter, so that tracing sees what is done with it.
        stored = nn.Parameter(value, requires_grad=False) if value.is_floating_point() else value
        self._modules.setdefault(path, stored)
        return self._graph.get_attr(path)

    def _module(self, operation: Operation, rule: Rule, arguments: Arguments) -> fx.Node:
        rest = dict(arguments)
        source = rest.pop("input" if "input" in rest else "self", None)
        if not isinstance(source, fx.Node):
            raise refused(operation, "its input is a stored tensor")
        if any(isinstance(argument, fx.Node) for argument in rest.values()):
            raise refused(operation, "what it works with is computed")
        try:
            # On no device: the values that a layer begins with are not drawn.
            with torch.device("meta"):
                module = rule(self._program.sizes.get(_source(operation.arguments), ()), **rest)
        except (TypeError, ValueError) as error:
            raise refused(operation, str(error)) from None
        for word in ("weight", "bias"):
            if isinstance(rest.get(word), Tensor):
                value = rest[word]
                setattr(module, word, nn.Parameter(value, requires_grad=value.is_floating_point()))
        for word in ("running_mean", "running_var"):
            if isinstance(rest.get(word), Tensor):
                setattr(module, word, rest[word])
        path = self._place(operation, module)
        self._modules.setdefault(path, module)
        return self._graph.call_module(path, (source,))

    def _place(self, operation: Operation, module: nn.Module) -> str:
        """The path of the module that made the call, or else the call's own name; a weight has one place only."""
        weight = operation.arguments.get("weight", {}).get("as_tensor", {}).get("name", "")
        stored = self._program.stored.get(weight, "")
        own = operation.path if operation.kind.startswith("torch.nn.modules.") else ""
        call = f"{operation.name}_" if operation.name in RESERVED else operation.name
        path = stored.removesuffix(".weight") if stored.endswith(".weight") else own or call
        made = (stored, repr(module))
        if self._made_by.setdefault(path, made) == made:
            return path
        if stored:
            raise refused(operation, f"it uses {stored} in another way than before")
        self._made_by[call] = made
        return call


def _overload(target: str) -> Callable[..., Call]:
    """The rule of an operator on what no image has a part in: it is called itself."""
    name, overload = target.removeprefix("torch.ops.aten.").rsplit(".", 1)
    overloaded = getattr(getattr(torch.ops.aten, name), overload)
    # None is a value of theirs, such as a batch norm without bias, and no default.
    needed = {argument.name for argument in overloaded._schema.arguments if not argument.has_default_value()}

    def rule(_before: Any, _after: Any, **arguments: Any) -> Call:
        return Call(
            overloaded, (), {word: value for word, value in arguments.items() if value is not None or word in needed}
        )

    return rule


def _source(arguments: Arguments) -> str:
    """The name of the tensor that an operator works on."""
    first = arguments.get("input") or arguments.get("self") or {}
    return str(first.get("as_tensor", {}).get("name", ""))


def _tensors(arguments: Arguments) -> list[str]:
    """The names of all tensors that an operator reads."""
    names = []
    for value in arguments.values():
        for kind, content in value.items():
            if kind in ("as_tensor", "as_tensors", "as_optional_tensor", "as_optional_tensors"):
                parts = content if isinstance(content, list) else [content]
                names += [str(one.get("name") or one.get("as_tensor", {}).get("name") or "") for one in parts]
    return list(filter(None, names))


def refused(operation: Operation, reason: str) -> InputError:
    """An operator that can't be read, and why."""
    where = f"in '{operation.path}'" if operation.path else f"step '{operation.name}'"
    name = operation.target.removeprefix("torch.ops.")[:80]
    cure = "name a model source that builds the network, such as python(...)"
    if operation.target in _DECOMPOSED:
        cure = "save what torch.export.export gives, without run_decompositions()"
    return InputError(Finding("E308", f"the program can't be followed through {name} ({where})", None, reason, cure))
