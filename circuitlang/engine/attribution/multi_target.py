"""Several features of one network on the same images: what leads to more than one of them is computed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from circuitlang.engine.circuits.subnetwork import Cotangent, Observer, TargetSubnetwork, observe

# Sees what a step of a subnetwork puts out.
See = Callable[[TargetSubnetwork, str, Any], None]


@dataclass(frozen=True)
class _Head:
    """A subnetwork, and what it takes from those before it: what needn't be computed, and of that what it reads."""

    subnetwork: TargetSubnetwork
    known: Collection[str]
    read: Collection[str]


class MultiTargetPass:
    """Subnetworks of one network; where they are several, none of them is edited."""

    def __init__(self, subnetworks: Iterable[TargetSubnetwork]) -> None:
        found = list(dict.fromkeys(subnetworks))
        place = {name: number for number, name in enumerate(found[0].graph.steps)}
        # The last first: what leads to the others is mostly on its way.
        found.sort(key=lambda each: place[each.target.step.name], reverse=True)
        self._heads: list[_Head] = []
        there: set[str] = set()
        for subnetwork in found:
            shared = subnetwork.inputs.keys() - subnetwork.own
            known = there & shared
            read = {used for name, inputs in subnetwork.inputs.items() if name not in known for used in inputs}
            self._heads.append(_Head(subnetwork, known, read & known))
            there |= shared
        self._handed_on = {name for head in self._heads for name in head.read}

    @property
    def together(self) -> int:
        """How many images are best taken at a time, as far as their maps have room."""
        return max(head.subnetwork.together for head in self._heads)

    def features(self, images: Tensor, see: See | None = None) -> Mapping[TargetSubnetwork, Tensor]:
        """Return the feature of each subnetwork, [N, maps, H, W].

        `see` is called with the value of every step, once; for a target's layer of which only the target's channels are
        computed, once for each such target.
        """
        if len(self._heads) == 1 and not see:
            # Step by step takes longer, where steps are many and small.
            (head,) = self._heads
            return {head.subnetwork: head.subnetwork.feature(images)}
        values: dict[str, Any] = {}
        found = {}
        for head in self._heads:

            def seen(name: str, value: Any, subnetwork: TargetSubnetwork = head.subnetwork) -> None:
                if name in self._handed_on and name not in subnetwork.own:
                    values[name] = value
                if see:
                    see(subnetwork, name, value)

            known = {name: values.get(name) for name in head.known}
            found[head.subnetwork] = head.subnetwork.feature_with_known(images, known, seen)
        return found

    def observe(self, images: Tensor, starts: Sequence[tuple[TargetSubnetwork, Cotangent]], observer: Observer) -> None:
        """Run one forward pass, and for each start a backward pass from the feature of its subnetwork.

        In a backward pass the observer sees every layer, last layer first.
        """

        def forward() -> list[Tensor]:
            features = self.features(images)
            return [features[subnetwork] for subnetwork, _ in starts]

        observe([head.subnetwork for head in self._heads], forward, [cotangent for _, cotangent in starts], observer)
