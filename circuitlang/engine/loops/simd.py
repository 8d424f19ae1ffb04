"""Eight numbers at a time, for compiled loops: a type that numba knows, and what can be done with it.

LLVM makes of it what the processor has: one register of AVX, two of SSE or NEON.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, register_model

LANES = 8
_FLOATS = ir.VectorType(ir.FloatType(), LANES)


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


_vector = _Vector()


@register_model(_Vector)
class _Model(PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _FLOATS.as_pointer())


def _eight(builder: Any, number: Any) -> Any:
    zero, nothing = ir.Constant(ir.IntType(32), 0), ir.Constant(_FLOATS, ir.Undefined)
    first = builder.insert_element(nothing, number, zero)
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _call(builder: Any, name: str, *arguments: Any) -> Any:
    """One of LLVM's own functions on vectors."""
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * len(arguments))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32"), arguments)


@intrinsic
def load(_typing: Any, array: Any, _index: Any) -> Any:
    """The eight numbers of a float32 array from an index on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_place(context, builder, signature.args[0], *arguments), align=4)

    return _vector(array, types.intp), generate


@intrinsic
def store(_typing: Any, array: Any, _index: Any, _value: Any) -> Any:
    """Put eight numbers into a float32 array from an index on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _place(context, builder, signature.args[0], *arguments[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, _vector), generate


@intrinsic
def splat(_typing: Any, _number: Any) -> Any:
    """One number eight times."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _eight(builder, arguments[0])

    return _vector(types.float32), generate


@intrinsic
def spread(_typing: Any, array: Any, _index: Any) -> Any:
    """The number of a float32 array at an index, eight times."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return _eight(builder, builder.load(builder.gep(data, [arguments[1]])))

    return _vector(array, types.intp), generate


@intrinsic
def fma(_typing: Any, _a: Any, _b: Any, _c: Any) -> Any:
    """a * b + c, rounded once."""
    return _vector(_vector, _vector, _vector), lambda _context, builder, _signature, arguments: _call(
        builder, "fma", *arguments
    )


@intrinsic
def absolute(_typing: Any, _a: Any) -> Any:
    """Without the signs."""
    return _vector(_vector), lambda _context, builder, _signature, arguments: _call(builder, "fabs", *arguments)


@intrinsic
def positive(_typing: Any, _a: Any) -> Any:
    """Zero for what is negative."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        zero = ir.Constant(_FLOATS, [0.0] * LANES)
        return builder.select(builder.fcmp_ordered("<", arguments[0], zero), zero, arguments[0])

    return _vector(_vector), generate


@intrinsic
def larger(_typing: Any, _a: Any, _b: Any) -> Any:
    """The larger of a and b; what isn't a number is larger than all."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        a, b = arguments
        # Unordered: true of what isn't a number as well, of either; that of a is kept by the first choice.
        chosen = builder.select(builder.fcmp_unordered(">", b, a), b, a)
        return builder.select(builder.fcmp_unordered("uno", a, a), a, chosen)

    return _vector(_vector, _vector), generate
