"""Runs from Python, with their outcomes as a list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from circuitlang import pipeline
from circuitlang.base.source import Source
from circuitlang.plan.compiled import CompiledPlan


def outcomes(spec: Source | CompiledPlan, out: Path, options: Any = None) -> list[Any]:
    """Run a spec, or a compiled one into its folder, and return the outcomes in their order."""
    from circuitlang.engine.runtime.options import Options
    from circuitlang.results.run_listener import OutcomeList

    results = OutcomeList()
    options = replace(options or Options(), listener=results)
    if isinstance(spec, Source):
        pipeline.run(spec, out, options)
    else:
        pipeline.run_compiled(spec, out, options)
    return results.outcomes
