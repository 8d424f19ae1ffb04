"""The direction of a concept: a linear probe on the means of a layer's channels, fitted when it is first asked for."""

from __future__ import annotations

import base64
import struct
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine import device
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.circuits.interventions import EditedNetwork
from circuitlang.engine.circuits.subnetwork import as_maps
from circuitlang.engine.evaluation.linear_probe import chance, fit_probe, right
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelNode
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.runtime.concept_images import ConceptImages, probe_cache
from circuitlang.plan.model import Concept, Plan, Target
from circuitlang.results.types import Probe


class ConceptProbe:
    """The probe of a concept.

    Args:
        target: The concept.
        graph: The network.
        step: The step of the concept's layer.
        images: The images to fit it on, and those held out.
        cache: Where it is stored.
    """

    def __init__(
        self, target: Concept, graph: Graph, step: ChannelNode, images: ConceptImages[ImageSet], cache: ScoreCache
    ) -> None:
        self._target, self._graph, self._step, self.images, self.cache = target, graph, step, images, cache
        # Images at a time; None for as many as other passes take.
        self.batch_size: int | None = None

    @property
    def direction(self) -> tuple[float, ...]:
        """The coefficient of each channel of the layer, in single precision."""
        return self._learned[0]

    def fit(self) -> None:
        """Fit the probe, unless it was fitted before. Raises InputError where no channel tells its images apart."""
        _ = self._learned

    @property
    def result(self) -> Probe:
        """The probe's numbers."""
        return self._learned[1]

    @cached_property
    def _learned(self) -> tuple[tuple[float, ...], Probe]:
        stored = self.cache.scores(None, self._fitted)
        numbers = [int(number) for number in stored["right"]]
        coefficients = stored["coefficients"].float()
        held_out, fitted = self.images.counts(True), self.images.counts(False)
        rights = (numbers[0], numbers[1]), (numbers[2], numbers[3])
        packed = struct.pack(f"<{len(coefficients)}f", *coefficients.tolist())
        probe = Probe(
            accuracy=_accuracy(rights[0], held_out),
            p=chance(rights[0], held_out),
            fitted_accuracy=_accuracy(rights[1], fitted),
            held_out=held_out,
            right=rights[0],
            fitted=fitted,
            penalty=self._target.penalty,
            direction=base64.b64encode(packed).decode(),
        )
        return tuple(coefficients.tolist()), probe

    def _fitted(self) -> dict[str, Tensor]:
        """Fit the probe. Raises InputError where no channel varies among the images."""
        names = self._target.images, self._target.against
        with device.arithmetic(self.images.sets[0].device):
            sides = [self._means(images, name) for images, name in zip(self.images.sets, names, strict=True)]
        out = [torch.tensor(flags) for flags in self.images.held_out]
        fitted, held_out = ([side[flags == held] for side, flags in zip(sides, out, strict=True)] for held in (0, 1))
        positive = torch.arange(sum(map(len, fitted))) < len(fitted[0])
        with device.one_thread():
            probe = fit_probe(torch.cat(fitted), positive, self._target.penalty)
            hits = [
                right(probe, samples, positive=number == 0)
                for part in (held_out, fitted)
                for number, samples in enumerate(part)
            ]
        if not probe.coefficients.float().any():
            message = f"no channel of {self._target.layer} tells {names[0]} from {names[1]}"
            raise InputError(Finding("E136", message, None, "each is the same for all of these images"))
        return {"coefficients": probe.coefficients, "right": torch.tensor(hits)}

    def _means(self, images: ImageSet, name: str) -> Tensor:
        """Return the mean over positions of the layer's channels for each image, float64 [images, channels]."""
        if self.batch_size is not None:
            images = replace(images, batch_size=self.batch_size)
        network = EditedNetwork(self._graph, [self._step.name])
        batches = images.batches(f"the network on {name}, for a concept")
        maps = (as_maps(network.values(batch)[self._step.name], self._step) for batch in batches)
        return torch.cat([values.flatten(2).double().mean(2).cpu() for values in maps])


class Probes:
    """The probes of a plan's concepts: of the same images in the same layer, there is one."""

    def __init__(self, plan: Plan, graph: Graph, network: tuple[str, str, str]) -> None:
        self._plan, self._graph, self._network = plan, graph, network
        self._known: dict[ScoreCache, ConceptProbe] = {}

    def of(self, target: Target, step: ChannelNode, images: ConceptImages[ImageSet]) -> ConceptProbe:
        """Return the probe of a concept."""
        assert isinstance(target, Concept)
        cache = probe_cache(self._plan, target, self._network, images)
        if cache not in self._known:
            self._known[cache] = ConceptProbe(target, self._graph, step, images, cache)
        return self._known[cache]


def _accuracy(right: tuple[int, int], counts: tuple[int, int]) -> float:
    """Return the share of images that are told right, either side counting as much as the other."""
    return sum(hits / count for hits, count in zip(right, counts, strict=True)) / 2
