"""The compiler: text → syntax → program → plan. Each arrow is a function in a file of its own."""

from __future__ import annotations

from circuitlang.base.source import Source
from circuitlang.compiler.checker import check
from circuitlang.compiler.includes import include
from circuitlang.compiler.parser import parse
from circuitlang.compiler.program import Program, Vocabulary
from circuitlang.compiler.sources import open_included
from circuitlang.plan.compiled import CompiledPlan


def analyse(source: Source, vocabulary: Vocabulary) -> Program:
    """Return the program of a spec. Raises SpecError with all mistakes in its text."""
    return check(include(parse(source), open_included), vocabulary)


def compile_source(source: Source, vocabulary: Vocabulary) -> CompiledPlan:
    """Return the plan of a spec, or of a plan's own YAML. Raises SpecError with all mistakes in its text."""
    # A check needs neither of them and starts faster without.
    from circuitlang.compiler.lowering import lower
    from circuitlang.plan.yaml import read_plan

    if is_plan(source):
        plan, origins = read_plan(source)
        return CompiledPlan(plan, origins, (), source.folder / plan.base, source.name)
    program = analyse(source, vocabulary)
    plan, origins = lower(program)
    return CompiledPlan(plan, origins, program.warnings, source.folder, source.name)


def is_plan(source: Source) -> bool:
    """Return whether a source is the YAML of a plan, by its name."""
    return source.name.endswith((".yaml", ".yml"))
