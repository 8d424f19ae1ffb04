"""Find local response norms, which torch.export decomposes, so that channels can be tracked through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from circuitlang.engine.programs.pt2_reader import Operation

_RESHAPES = ("view.default", "reshape.default", "unsqueeze.default")
# From the quotient back to the mean over neighbouring channels: the operators, and which argument leads on.
_BACK = (
    ("pow.Tensor_Scalar",), ("add.Tensor",), ("mul.Tensor",), _RESHAPES, ("squeeze.dim",), ("avg_pool3d.default",),
    ("pad.default", "constant_pad_nd.default"), _RESHAPES, ("mul.Tensor",),
)  # fmt: skip


def response_norms(operations: Sequence[Operation]) -> Mapping[str, tuple[str, nn.Module]]:
    """Return the input of each norm and the norm itself, by the name of the norm's last operation."""
    named = {operation.name: operation for operation in operations}
    norms = {}
    for operation in operations:
        if operation.target == "torch.ops.aten.div.Tensor" and (norm := _norm(operation, named)):
            norms[operation.name] = norm
    return norms


def _norm(quotient: Operation, named: Mapping[str, Operation]) -> tuple[str, nn.Module] | None:
    source, step = _name(quotient, "self"), named.get(_name(quotient, "other"))
    chain = []
    for targets in _BACK:
        if step is None or step.target.removeprefix("torch.ops.aten.") not in targets:
            return None
        chain.append(step)
        step = named.get(_name(step, "self"))
    power, sum_, product, _, _, mean, pad, _, square = chain
    size = mean.arguments.get("kernel_size", {}).get("as_ints", [0])
    beta, k, alpha = (_number(node, word) for node, word in ((power, "exponent"), (sum_, "other"), (product, "other")))
    first = size[0] if isinstance(size, list) and size else 0
    if not isinstance(first, int) or size != [first, 1, 1] or first < 1 or None in (alpha, beta, k):
        return None
    if mean.arguments.keys() - {"self", "kernel_size", "stride"} or _number(mean, "stride") not in (None, [1, 1, 1]):
        return None
    if _number(pad, "pad") != [0, 0, 0, 0, first // 2, (first - 1) // 2] or pad.arguments.keys() - {"self", "pad"}:
        return None
    if not source or {_name(square, "self"), _name(square, "other")} != {source}:
        return None
    return source, nn.LocalResponseNorm(first, float(alpha), float(beta), float(k))


def _name(operation: Operation, word: str) -> str:
    return str(operation.arguments.get(word, {}).get("as_tensor", {}).get("name", ""))


def _number(operation: Operation, word: str) -> Any:
    """An argument that is a number or some numbers."""
    value = operation.arguments.get(word, {})
    return next((value[kind] for kind in ("as_float", "as_int", "as_ints") if kind in value), None)
