"""An edit of a plan → its effect: the part is found in the network, and the edited network is run on the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from circuitlang.engine import device
from circuitlang.engine.circuits.edits import edits_from_result
from circuitlang.engine.circuits.interventions import EditedPart, channels, kernel
from circuitlang.engine.evaluation.edited_responses import EditedResponses
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelNode
from circuitlang.engine.graph.targets import Target, resolve
from circuitlang.engine.runtime.circuit_images import edit_concepts
from circuitlang.plan.edits import Edit, OfChannels, OfCircuit, OfKernel
from circuitlang.plugins.protocols import Masks
from circuitlang.results.edits import EditResult
from circuitlang.results.reader import read
from circuitlang.results.types import Result

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import PreparedRun


@dataclass(frozen=True)
class FoundEdit:
    """An edit whose parts were found in the network; `part` is None of a circuit, which may not be there yet."""

    part: EditedPart | None
    targets: dict[str, Target]
    output: ChannelNode | None


def find_edit(edit: Edit, graph: Graph, classes: Sequence[str], output: int | str | None) -> FoundEdit:
    """Find the parts of an edit. Raises InputError where the network has none such."""
    targets = {text: resolve(target, graph, classes, output) for text, target in edit.targets()}
    return FoundEdit(find_part(edit, graph), targets, graph.output(output) if edit.classes else None)


def find_part(edit: Edit, graph: Graph) -> EditedPart | None:
    """Return the channels or the kernel of an edit, None for a circuit. Raises InputError where there is none such."""
    match edit.of:
        case OfChannels(layer=layer, units=units):
            return channels(graph, layer, units)
        case OfKernel(layer=layer, unit=unit, source_layer=source_layer, source=source):
            return kernel(graph, layer, unit, source_layer, source)
    return None


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
