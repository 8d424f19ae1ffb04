"""The edits of a plan in the folder of its run: those that are stored, and those that are due."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.diagnostics import CircuitError, Finding, InputError, reason
from circuitlang.base.versions import version
from circuitlang.engine.runtime.circuit_images import edit_concepts
from circuitlang.engine.runtime.known_inputs import KnownInputs, prepared_inputs
from circuitlang.plan.edits import Edit, OfChannels
from circuitlang.plan.model import Concept, digest
from circuitlang.results.edit import EditResult
from circuitlang.results.edits import FILE, circuit_of, read_edit
from circuitlang.results.manifest import damage
from circuitlang.results.outcomes import EditStatus
from circuitlang.results.outputs import asked_formats
from circuitlang.results.rendering import due, missing_formats
from circuitlang.results.types import Summary
from circuitlang.results.writer import write_edit

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import PreparedRun


def edit_run(
    prepared: PreparedRun | KnownInputs, finished: Mapping[str, Summary], folder: Path
) -> Iterator[EditStatus]:
    """The edits of a plan in the folder of its run; what is there already, of the same network, images and circuit, is
    not computed again. `finished` are the circuits that are there, by id."""
    formats = asked_formats(prepared.options.render)
    whole: PreparedRun | None = None if isinstance(prepared, KnownInputs) else prepared
    for edit in prepared.plan.edited:
        place, circuit = folder / edit.folder, circuit_of(edit)
        if circuit and circuit not in finished:
            yield EditStatus(edit.name, place, missing=circuit)
            continue
        named = identity(prepared, edit, finished.get(circuit))
        before = None if prepared.options.force else stored_edit(place, named, formats)
        if before is not None:
            if before.plan != edit:
                # It is called or written otherwise.
                before = write_edit(msgspec.structs.replace(before, plan=edit), place, formats)
            yield EditStatus(edit.name, place, before, cached=True)
            continue
        try:
            whole = whole or prepared_inputs(prepared)  # type: ignore[arg-type]
            result = _computed(whole, edit, named, folder)
            result = write_edit(result, place, formats)
            findings = missing_formats(place.name, result.missing, "every circuit is kept, and only this is made")
            yield EditStatus(edit.name, place, result, failure=CircuitError(findings) if findings else None)
        except CircuitError as error:
            yield EditStatus(edit.name, place, failure=error)
        except Exception as error:  # whatever it is, the circuits are there
            label, cure = reason(error), "run again: every circuit is kept, and only this is made"
            finding = Finding("E393", f"{place.name} could not be made", None, label, cure, circuit=edit.name)
            yield EditStatus(edit.name, place, failure=CircuitError(finding))


def identity(prepared: PreparedRun | KnownInputs, edit: Edit, circuit: Summary | None) -> str:
    """Return a hash of all that an edit's effect follows from; of `circuit` that is its own identity."""
    of = msgspec.structs.replace(edit.of, group="") if isinstance(edit.of, OfChannels) else edit.of
    sets = {word: prepared.sets[name][0].digest for word, name in edit.image_sets.items()}
    concepts = edit_concepts(edit, prepared.plan.circuits, prepared.sets)
    sets |= {f"concept {number}": images.digest for number, (_, images) in enumerate(concepts.values())}
    # Names of image sets have no say.
    measured = [
        msgspec.structs.replace(target, images="", against="") if isinstance(target, Concept) else target
        for target in edit.measure
    ]
    how = prepared.weights, prepared.structure, prepared.prepared
    what = (
        [version(name) for name in ("circuitlang", "torch", "torchvision", "pillow")],
        prepared.plan.model,
        how,
        sets,
        circuit.provenance.identity if circuit else of,
        [edit.scale, measured, edit.classes],
    )
    return digest(msgspec.json.encode(what, order="sorted"))


def stored_edit(place: Path, named: str, formats: Collection[str]) -> EditResult | None:
    """Return the edit in a folder, if it is of this identity and lacks none of these output formats."""
    if not (place / FILE).is_file():
        return None
    try:
        result = read_edit(place)
    except InputError:
        # It is of another version, or damaged, and is written again.
        return None
    absent = due(formats, result.missing, result.unrendered)
    return result if result.identity == named and not absent and not damage(place) else None


def _computed(prepared: PreparedRun, edit: Edit, named: str, folder: Path) -> EditResult:
    from circuitlang.engine.runtime.editing import computed_edit

    return computed_edit(prepared, edit, named, folder)
