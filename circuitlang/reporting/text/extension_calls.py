"""Criteria, ablations and tests as a person reads them: without the parameters that have their default value.

Plans, ids and JSON files have all parameters, so that they mean the same after a default has changed.
"""

from __future__ import annotations

import re
from functools import cache

from circuitlang.plan.clauses import as_call
from circuitlang.plugins.hypothesis_tests import TESTS
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA
from circuitlang.results.sweep import Curve

# The innermost call, as `as_call` writes it.
_CALL = re.compile(r"(?<![\w.])([^\W\d]\w*)\(([^()]*)\)")
_SEPARATOR = ", "


def without_defaults(value: object) -> str:
    """Return the text of a value; calls of extensions in it lose arguments that have their default value.

    `annealed(passes=16, batch=4)` is `annealed`, and `annealed(passes=8, batch=4)` is `annealed(passes=8)`.
    """
    return _CALL.sub(_shortened, str(value))


def curve_label(curve: Curve) -> str:
    """Label a curve of a sweep; values that set it apart stay as they were written."""
    return curve.label if curve.values else without_defaults(curve.label)


def _shortened(call: re.Match[str]) -> str:
    name, arguments = call.groups()
    others = [argument for argument in arguments.split(_SEPARATOR) if argument not in _defaults(name)]
    return f"{name}({_SEPARATOR.join(others)})" if others else name


@cache
def _defaults(name: str) -> frozenset[str]:
    """Return the arguments of an extension that say what holds anyway, such as `passes=16`."""
    registries = CRITERIA.declarations, ABLATIONS.declarations, TESTS.declarations
    declaration = next((known[name] for known in registries if name in known), None)
    parameters = declaration.parameters if declaration else ()
    return frozenset(as_call("", {parameter.name: parameter.default})[1:-1] for parameter in parameters)
