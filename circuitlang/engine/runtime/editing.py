"""An edit of a plan → its effect: the part is found in the network, and the edited network is run on the images."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from circuitlang.engine import device
from circuitlang.engine.circuits.edits import edits_from_result
from circuitlang.engine.circuits.interventions import EditedPart
from circuitlang.engine.evaluation.edited_responses import EditedResponses
from circuitlang.engine.runtime.circuit_images import edit_concepts
from circuitlang.engine.runtime.edited_parts import find_edit
from circuitlang.engine.runtime.jobs import PreparedRun
from circuitlang.plan.edits import Edit, OfChannels, OfCircuit
from circuitlang.plugins.protocols import Masks
from circuitlang.results.edit import EditResult
from circuitlang.results.reader import read
from circuitlang.results.types import Result


def computed_edit(prepared: PreparedRun, edit: Edit, identity: str, folder: Path) -> EditResult:
    """Return the effect of an edit; the circuit that it edits is read from the folder of the run. Raises InputError."""
    graph, model = prepared.graph, prepared.model
    parts = find_edit(edit, graph, model.classes, model.output)
    targets = dict(parts.targets)
    for text, (concept, concept_images) in edit_concepts(edit, prepared.plan.circuits, prepared.sets).items():
        probe = prepared.probes.of(concept, targets[text].step, concept_images)
        targets[text] = targets[text].learned_by(partial(getattr, probe, "direction"))
    part, noun, target = parts.part, "channel" if isinstance(edit.of, OfChannels) else "kernel", ""
    if isinstance(edit.of, OfCircuit):
        result = read(folder / edit.of.circuit)
        part, noun, target = EditedPart(kept(result)), result.summary.noun, str(result.summary.plan.target)
    assert part is not None
    images = prepared.sets[edit.images][0]
    patch = prepared.sets[edit.patch][0] if edit.patch is not None else None
    responses = EditedResponses(graph, targets, parts.output, part, edit.scale)
    with device.arithmetic(prepared.device):
        measured, classes = responses.measure(images, patch, f"edit {edit.name}", model.classes)
    return EditResult(
        identity=identity,
        model=str(prepared.plan.model),
        plan=edit,
        noun=noun,
        edited=part.count,
        target=target,
        images=len(images),
        patched=len(patch) if patch is not None else 0,
        responses=measured,
        classes=classes,
    )


def kept(result: Result) -> Masks:
    """Return the kernels that a circuit keeps, or its weights where it has single ones, as masks by layer."""
    if result.summary.plan.structure == "weight":
        return {path: edit.gain != 0 for path, edit in edits_from_result(result).items()}
    masks = {}
    for layer, kernels in zip(result.summary.layers, result.circuit.kernels, strict=True):
        inner = layer.in_channels // layer.groups
        mask = torch.zeros(layer.out_channels, inner, dtype=torch.bool)
        mask[torch.from_numpy(kernels.target), torch.from_numpy(kernels.source % inner)] = True
        masks[layer.path] = mask
    return masks
