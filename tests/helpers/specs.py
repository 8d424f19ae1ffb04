"""Specs as texts: their plans, and the mistakes in them."""

from __future__ import annotations

import pytest

from circuitlang import pipeline
from circuitlang.base.diagnostics import SpecError
from circuitlang.base.source import Source
from circuitlang.plan.compiled import CompiledPlan


def compiled(text: str) -> CompiledPlan:
    """Return the plan of a spec."""
    return pipeline.compile_source(Source("spec.circuit", text))


def findings(text: str) -> list[tuple[str, str]]:
    """Return the code and the help of each mistake of a spec that has some."""
    with pytest.raises(SpecError) as caught:
        compiled(text)
    return [(finding.code, finding.help) for finding in caught.value.findings]
