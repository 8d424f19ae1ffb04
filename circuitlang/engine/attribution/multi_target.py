"""Compute several features of one network on the same images, with their common steps computed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from circuitlang.engine.circuits.subnetwork import Cotangent, Observer, TargetSubnetwork, observe

# Called with a subnetwork, the name of a step and its value.
StepCallback = Callable[[TargetSubnetwork, str, Any], None]


@dataclass(frozen=True)
class _TargetPart:
    """A subnetwork, the steps that earlier subnetworks computed (`known`), and those of them that it reads."""

    subnetwork: TargetSubnetwork
    known: Collection[str]
    read: Collection[str]


class MultiTargetPass:
    """A pass through several subnetworks of one network. If there are several, none may be edited."""

    def __init__(self, subnetworks: Iterable[TargetSubnetwork]) -> None:
        ordered = list(dict.fromkeys(subnetworks))
        positions = {name: number for number, name in enumerate(ordered[0].graph.steps)}
        # The last target first: its subnetwork contains most steps of the others.
        ordered.sort(key=lambda one: positions[one.target.step.name], reverse=True)
        self._parts: list[_TargetPart] = []
        computed: set[str] = set()
        for subnetwork in ordered:
            shared = subnetwork.inputs.keys() - subnetwork.target_specific_nodes
            known = computed & shared
            read = {used for name, inputs in subnetwork.inputs.items() if name not in known for used in inputs}
            self._parts.append(_TargetPart(subnetwork, known, read & known))
            computed |= shared
        self._handed_on = {name for part in self._parts for name in part.read}

    @property
    def images_per_pass(self) -> int:
        """The number of images to run at a time, as far as memory allows."""
        return max(part.subnetwork.images_per_pass for part in self._parts)

    def features(self, images: Tensor, callback: StepCallback | None = None) -> Mapping[TargetSubnetwork, Tensor]:
        """Return the feature of each subnetwork, [N, maps, H, W].

        `callback` is called once with the value of every step. A target's layer of which only the target's channels are
        computed counts as a step for each such target.
        """
        if len(self._parts) == 1 and not callback:
            # Running step by step is slower if there are many small steps.
            (part,) = self._parts
            return {part.subnetwork: part.subnetwork.feature(images)}
        values: dict[str, Any] = {}
        features = {}
        for part in self._parts:

            def on_step(name: str, value: Any, subnetwork: TargetSubnetwork = part.subnetwork) -> None:
                if name in self._handed_on and name not in subnetwork.target_specific_nodes:
                    values[name] = value
                if callback:
                    callback(subnetwork, name, value)

            known = {name: values.get(name) for name in part.known}
            features[part.subnetwork] = part.subnetwork.feature_with_known(images, known, on_step)
        return features

    def observe(self, images: Tensor, starts: Sequence[tuple[TargetSubnetwork, Cotangent]], observer: Observer) -> None:
        """Run one forward pass, and for each start a backward pass from the feature of its subnetwork.

        In a backward pass the observer sees every layer, last layer first.
        """

        def forward() -> list[Tensor]:
            features = self.features(images)
            return [features[subnetwork] for subnetwork, _ in starts]

        observe([part.subnetwork for part in self._parts], forward, [cotangent for _, cotangent in starts], observer)
