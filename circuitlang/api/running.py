"""Run specs, or single circuits, with a module and images that are objects of the program."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from circuitlang.api.circuits import LoadedCircuit
from circuitlang.api.edits import LoadedEdit
from circuitlang.api.packed_runs import PackedRun
from circuitlang.api.runs import Run
from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.base.source import Source
from circuitlang.compiler.sources import open_source
from circuitlang.plan.compiled import CompiledPlan
from circuitlang.plan.model import MEMORY, Images

if TYPE_CHECKING:
    from circuitlang.engine.runtime.memory import MemoryObjects
    from circuitlang.engine.runtime.options import Options
    from circuitlang.engine.runtime.work_selection import WorkSelection
    from circuitlang.results.run_listener import RunListener

# A file name in `on`, `test` or `contrast` is a pattern of the language.
_IMAGE_WORDS = ("on", "test", "contrast")
# Clauses of numbers that are bounds from above; metrics are bounds by their own direction.
_BOUNDS = ("sparsity", "keep", "kernels")


@dataclass(frozen=True)
class ObjectArguments:
    """The objects that a program passes: a module, images by name, and how images are prepared."""

    model: object = None
    images: Mapping[str, object] | None = None
    preprocess: object = None

    def __bool__(self) -> bool:
        return self.model is not None or bool(self.images)


def run_source(
    source: Source,
    out: Path,
    options: Options,
    work: WorkSelection,
    objects: ObjectArguments,
    progress: bool | RunListener = False,
) -> Run:
    """Run a spec or plan with objects in place of its model and image sets, and return its circuits.

    Raises CircuitError.
    """
    from circuitlang import pipeline

    if objects and work.placement.workers > 1:
        label = "another process does not have the objects of this one"
        cure = "leave jobs= away, or save the weights and images and name them in the spec"
        message = f"jobs={work.placement.workers} can't be combined with model= or images="
        raise InputError(Finding("E316", message, None, label, cure))
    compiled, options = _compiled(source, options, objects)
    return _run(compiled, out / pipeline.run_name(source), options, work, progress)


def run_one(
    source: Source, out: Path, options: Options, work: WorkSelection, objects: ObjectArguments
) -> LoadedCircuit:
    """Run a spec of one circuit in a folder of its name, and return the circuit. Raises CircuitError."""
    compiled, options = _compiled(source, options, objects)
    circuits = compiled.plan.circuits
    if len(circuits) != 1:
        label, cure = f"this asks for {len(circuits)}", "write a spec for circuitlang.run"
        raise InputError(Finding("E316", "preserve finds one circuit", None, label, cure))
    return _run(compiled, out / circuits[0].id, options, work)[0]


def run_edit(source: Source, out: Path, options: Options, work: WorkSelection, objects: ObjectArguments) -> LoadedEdit:
    """Run a spec of one edit in a folder of its name, and return the edit. Raises CircuitError."""
    compiled, options = _compiled(source, options, objects)
    (asked,) = compiled.plan.edited
    return _run(compiled, out / asked.name, options, work).edits[asked.name]


def _compiled(source: Source, options: Options, object_arguments: ObjectArguments) -> tuple[CompiledPlan, Options]:
    """Return the plan of a source, and options with the objects that it names. Raises CircuitError."""
    from circuitlang import pipeline

    if not object_arguments:
        if object_arguments.preprocess is not None:
            raise InputError(Finding("E316", "preprocess= is for model= or images=", None, "neither is given"))
        return pipeline.compile_source(source), options
    from circuitlang.engine.runtime.memory import memory_objects

    objects = memory_objects(object_arguments.model, object_arguments.images or {}, object_arguments.preprocess)
    return compile_with(source, objects), replace(options, memory=objects)


def _run(
    compiled: CompiledPlan, folder: Path, options: Options, work: WorkSelection, progress: bool | RunListener = False
) -> Run:
    from circuitlang import pipeline
    from circuitlang.reporting.progress.from_python import shown
    from circuitlang.results.outcomes import CircuitOutcome
    from circuitlang.results.packed.files import is_packed_run
    from circuitlang.results.run_listener import Listeners, OutcomeList

    results = OutcomeList()
    with shown(progress) as listener:
        pipeline.run_compiled(compiled, folder, replace(options, listener=Listeners(results, listener)), work=work)
    if is_packed_run(folder):
        return PackedRun(folder, [*compiled.warnings, *results.notes])
    # Several processes finish circuits in any order.
    circuits: dict[str, list[LoadedCircuit]] = {circuit.id: [] for circuit in compiled.plan.circuits}
    for outcome in results.outcomes:
        if isinstance(outcome, CircuitOutcome):
            circuits[outcome.result.summary.asked_as].append(LoadedCircuit(outcome.folder, outcome.result))
    edits = {status.name: LoadedEdit(status.folder, status.result) for status in results.edits if status.result}
    notes = [*compiled.warnings, *results.notes]
    return Run(folder, (circuit for parts in circuits.values() for circuit in parts), notes, edits)


def compile_with(source: Source, objects: MemoryObjects) -> CompiledPlan:
    """Return the plan of a source in which objects have the names that it uses. Raises CircuitError."""
    from circuitlang import pipeline
    from circuitlang.compiler import compile

    words = pipeline.vocabulary()
    sets = {name: Images([f"{MEMORY}{name}"]) for name in objects.images}
    words = msgspec.structs.replace(words, images={**words.images, **sets})
    model = objects.plan_model
    if model is not None:
        words = msgspec.structs.replace(words, model=model, layers={model.key: objects.layers()})
    compiled = compile.compile_source(source, words)
    if model is not None and compiled.plan.model != model:
        place = compiled.origins.get(("model",))
        message = f"the spec names a model, {compiled.plan.model}, and model= gives another"
        raise InputError(Finding("E316", message, place, "leave one of them away"))
    return compiled


def preserve(
    target: str, objects: ObjectArguments, on: object, clauses: Mapping[str, object], name: str
) -> tuple[Source, ObjectArguments]:
    """Return the spec of one circuit, and the objects that it names. Raises InputError."""
    sets: dict[str, object] = dict(objects.images or {})
    words = []
    for word, value in {"on": on, **clauses}.items():
        if value is None:
            continue
        if word in _IMAGE_WORDS and not isinstance(value, str):
            key = {"on": "images", "test": "test_images", "contrast": "contrast_images"}[word]
            sets[key] = value
            value = key
        words.append(f"on {value}" if word == "on" else f"{word}{_relation(word)}{value}")
    # The layers of nn.Sequential have numbers for names, which the language quotes.
    target = re.sub(r"^\s*(\d[\w.]*):", r'"\1":', target)
    text = f"preserve {target} {' '.join(words)}"
    source = Source("<preserve>", f"circuit {name} = {text}" if name else text)
    return source, ObjectArguments(objects.model, sets, objects.preprocess)


def edit(
    part: str,
    objects: ObjectArguments,
    on: object,
    measure: Sequence[str],
    scale: float | None,
    patch: object,
    name: str,
) -> tuple[Source, ObjectArguments]:
    """Return the spec of one edit, and the objects that it names."""
    sets = dict(objects.images or {})
    words = {"patch": patch, "on": on}
    for word, value in words.items():
        if value is not None and not isinstance(value, str):
            key = {"on": "images", "patch": "patch_images"}[word]
            sets[key], words[word] = value, key
    clauses = [f"scale={scale}" if scale is not None else "", f"patch={words['patch']}" if patch is not None else ""]
    targets = ", ".join(map(_quoted, measure))
    text = f"edit {name} = {_quoted(part)} {' '.join(filter(None, clauses))} on {words['on']} measure {targets}"
    return Source("<edit>", text), ObjectArguments(objects.model, sets, objects.preprocess)


def _quoted(target: str) -> str:
    """Return a target with quotes around a layer whose name begins with a digit, as those of `nn.Sequential` do."""
    return re.sub(r"(^|<-)\s*(\d[\w.]*):", r'\1 "\2":', target).strip()


def _relation(word: str) -> str:
    """Return how the language writes a clause: sizes and errors are bounded from above, scores from below."""
    from circuitlang.plan.clauses import PRESERVE
    from circuitlang.plugins.protocols import METRICS

    if word in _BOUNDS:
        return "<="
    if word in PRESERVE:
        return PRESERVE[word].relation
    metric = METRICS.declarations.get(word.rpartition(".")[2])
    return "<=" if metric is not None and "lower" in metric.options else ">="


def source_of(spec: str | Path) -> Source:
    """Return a spec from a file, if a string ends like one, or from its text."""
    is_file = isinstance(spec, Path) or (spec.endswith((".circuit", ".yaml")) and "\n" not in spec)
    return open_source(Path(spec)) if is_file else Source("<text>", str(spec))
