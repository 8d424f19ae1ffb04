"""The compiler: text → syntax → plan. Each arrow is a function in a file of its own."""

from __future__ import annotations

from pathlib import PurePath

from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.base.source import Source, Span
from circuitlang.compiler.checker import check
from circuitlang.compiler.includes import include
from circuitlang.compiler.parser import parse
from circuitlang.compiler.sources import LABELS, open_included
from circuitlang.compiler.vocabulary import Vocabulary
from circuitlang.plan.compiled import CompiledPlan


def compile_source(source: Source, vocabulary: Vocabulary) -> CompiledPlan:
    """Return the plan of a spec, or of a plan's own YAML. Raises SpecError with all mistakes in its text."""
    if source.name.endswith(LABELS):
        spec = PurePath(source.name).with_suffix(".circuit")
        place, cure = Span(source, 0, 0), f"give {spec}, beside which it is read"
        raise SpecError(Finding("E128", "a file of labels is no spec", place, "", cure))
    if not is_plan(source):
        return check(include(parse(source), open_included), vocabulary)
    # A spec is compiled faster without YAML.
    from circuitlang.plan.yaml import read_plan

    plan, origins = read_plan(source)
    return CompiledPlan(plan, origins, (), source.folder / plan.base, source.name)


def is_plan(source: Source) -> bool:
    """Return whether a source is the YAML of a plan, by its name."""
    return source.name.endswith((".yaml", ".yml"))
