"""Responses of an edited network against those of the network: of some targets, and of all classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from circuitlang.engine.circuits.interventions import EditedNetwork, EditedPart
from circuitlang.engine.circuits.subnetwork import as_maps, at_place, combined
from circuitlang.engine.evaluation.fidelity import measure
from circuitlang.engine.evaluation.statistics import bootstrap_weights, moments
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelNode
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.results.edit import ChangedClass, ClassTable, Response, TopClasses
from circuitlang.results.statistics import percentile_interval

# The classes of a table: those whose mean output changes most.
MOST_CLASSES = 20
# The seed of bootstrap samples, of which an edit has no other.
_SEED = 0
# Outputs that are probabilities already sum to 1 within this.
_ROUNDING = 1e-3


class EditedResponses:
    """Responses of a network and of an edited one to the same images.

    Args:
        graph: The network.
        targets: The targets, by their text.
        output: The step of the classes, if they are asked for.
        part: The part that is edited.
        scale: Its factor; None if it is taken from other images.
    """

    def __init__(
        self, graph: Graph, targets: Mapping[str, Target], output: ChannelNode | None, part: EditedPart,
        scale: float | None,
    ) -> None:  # fmt: skip
        self._targets, self._output = targets, output
        steps = {target.step.name for target in targets.values()} | ({output.name} if output else set())
        self._network = EditedNetwork(graph, steps)
        self._edited = EditedNetwork(graph, steps, part, scale)

    def measure(
        self, images: ImageSet, patch: ImageSet | None, name: str, classes: Sequence[str]
    ) -> tuple[list[Response], ClassTable | None]:
        """Return the responses of each target, and the table of classes, which have these names.

        Images of the patch are paired with the images in order, and begin again where they are fewer.
        """
        before: dict[str, list[Tensor]] = {text: [] for text in self._targets}
        after: dict[str, list[Tensor]] = {text: [] for text in self._targets}
        outputs: list[tuple[Tensor, Tensor]] = []
        label = f"{name}, edited network"
        others = paired(images, patch).batches(f"{name}, other images") if patch is not None else None
        for batch in images.batches(label):
            own = self._network.values(batch)
            edited = self._edited.values(batch, next(others) if others is not None else None)
            for text, target in self._targets.items():
                whole, maps = (combined(_maps(values, target), target) for values in (own, edited))
                before[text].append(_flat(at_place(whole, target.at)))
                after[text].append(_flat(at_place(maps, target.at, whole)))
            if self._output is not None:
                first, second = (as_maps(values[self._output.name], self._output) for values in (own, edited))
                outputs.append((_class_outputs(first), _class_outputs(second)))
        responses = [response(text, torch.cat(before[text]), torch.cat(after[text])) for text in self._targets]
        if self._output is None:
            return responses, None
        first, second = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        return responses, class_table(first, second, classes)


def paired(images: ImageSet, patch: ImageSet) -> ImageSet:
    """Return an image of a patch for each image: in order, and from the first again where they are fewer."""
    return replace(patch.take([number % len(patch) for number in range(len(images))]), batch_size=images.batch_size)


def response(text: str, before: Tensor, after: Tensor) -> Response:
    """Return the numbers of a target from responses [images, positions] in the network and in the edited one."""
    weights = torch.ones(1, len(before)).double()
    if len(before) > 1:
        weights = torch.cat([weights, bootstrap_weights(len(before), _SEED)])
    sums = moments(before, after, weights)
    change = (sums.mean_c - sums.mean_f) / sums.mean_f.abs()
    defined = bool(torch.isfinite(change).all())
    interval = percentile_interval(change[1:].numpy()) if defined and len(change) > 1 else None
    return Response(
        target=text,
        before=float(sums.mean_f[0]),
        after=float(sums.mean_c[0]),
        change=float(change[0]) if bool(torch.isfinite(change[0])) else None,
        interval=interval,
        fidelity=measure(before, after, _SEED),
    )


def class_table(before: Tensor, after: Tensor, names: Sequence[str]) -> ClassTable:
    """Return the classes whose mean output changes most, from outputs [images, classes] without the edit and with it.

    Probabilities are the outputs' softmax, or the outputs themselves where these are probabilities.
    """
    shares = [_probabilities(outputs).mean(0) for outputs in (before, after)]
    tops = [outputs.argmax(1) for outputs in (before, after)]
    means = [outputs.mean(0) for outputs in (before, after)]
    width = before.shape[1]
    counts = [torch.bincount(top, minlength=width) for top in tops]
    order = (means[1] - means[0]).abs().argsort(descending=True, stable=True).tolist()
    known = names if len(names) == width else [""] * width
    moves: dict[tuple[int, int], int] = {}
    for pair in zip(*(top.tolist() for top in tops), strict=True):
        if pair[0] != pair[1]:
            moves[pair] = moves.get(pair, 0) + 1
    return ClassTable(
        images=len(before),
        classes=width,
        same_top=float((tops[0] == tops[1]).double().mean()),
        changed=[
            ChangedClass(
                number=number,
                name=known[number],
                output=(float(means[0][number]), float(means[1][number])),
                probability=(float(shares[0][number]), float(shares[1][number])),
                top=(int(counts[0][number]), int(counts[1][number])),
            )
            for number in order[:MOST_CLASSES]
        ],
        moves=[
            TopClasses(before=first, after=second, names=(known[first], known[second]), images=count)
            for (first, second), count in sorted(moves.items(), key=lambda move: (-move[1], move[0]))[:MOST_CLASSES]
        ],
    )


def _maps(values: Mapping[str, Tensor], target: Target) -> Tensor:
    return as_maps(values[target.step.name], target.step)[:, list(target.units)]


def _flat(maps: Tensor) -> Tensor:
    return maps.flatten(1).double().cpu()


def _class_outputs(maps: Tensor) -> Tensor:
    """Return outputs [N, classes] of a network, averaged over positions, from maps [N, classes, H, W]."""
    return maps.flatten(2).double().mean(2).cpu()


def _probabilities(outputs: Tensor) -> Tensor:
    normalized = bool((outputs >= 0).all()) and bool((outputs.sum(1) - 1).abs().max() <= _ROUNDING)
    return outputs if normalized else outputs.softmax(1)
