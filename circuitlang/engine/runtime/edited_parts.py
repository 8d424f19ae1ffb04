"""The parts of a network that edits name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from circuitlang.engine.circuits.interventions import EditedPart, channels, kernel
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelNode
from circuitlang.engine.graph.targets import Target, resolve
from circuitlang.plan.edits import Edit, OfChannels, OfKernel


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
