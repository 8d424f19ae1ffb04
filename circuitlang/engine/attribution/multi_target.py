"""Several features of one network on the same images: what leads to more than one of them is computed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from circuitlang.engine.circuits.subnetwork import Cotangent, Observer, TargetSubnetwork, observe

# Sees what a step of a section puts out.
See = Callable[[TargetSubnetwork, str, Any], None]


@dataclass(frozen=True)
class _Head:
    """A section, and what it takes from those before it: what needn't be computed, and of that what it reads."""

    section: TargetSubnetwork
    known: Collection[str]
    read: Collection[str]


class MultiTargetPass:
    """Sections of one network; where they are several, none of them is edited."""

    def __init__(self, sections: Iterable[TargetSubnetwork]) -> None:
        found = list(dict.fromkeys(sections))
        place = {name: number for number, name in enumerate(found[0].graph.steps)}
        # The last first: what leads to the others is mostly on its way.
        found.sort(key=lambda each: place[each.target.step.name], reverse=True)
        self._heads: list[_Head] = []
        there: set[str] = set()
        for section in found:
            shared = section.inputs.keys() - section.own
            known = there & shared
            read = {used for name, inputs in section.inputs.items() if name not in known for used in inputs}
            self._heads.append(_Head(section, known, read & known))
            there |= shared
        self._handed_on = {name for head in self._heads for name in head.read}

    @property
    def together(self) -> int:
        """How many images are best taken at a time, as far as their maps have room."""
        return max(head.section.together for head in self._heads)

    def features(self, images: Tensor, see: See | None = None) -> Mapping[TargetSubnetwork, Tensor]:
        """Return the feature of each subnetwork, [N, maps, H, W].

        `see` is called with the value of every step, once; for a target's layer of which only the target's channels are
        computed, once for each such target.
        """
        if len(self._heads) == 1 and not see:
            # Step by step takes longer, where steps are many and small.
            (head,) = self._heads
            return {head.section: head.section.feature(images)}
        values: dict[str, Any] = {}
        found = {}
        for head in self._heads:

            def seen(name: str, value: Any, section: TargetSubnetwork = head.section) -> None:
                if name in self._handed_on and name not in section.own:
                    values[name] = value
                if see:
                    see(section, name, value)

            known = {name: values.get(name) for name in head.known}
            found[head.section] = head.section.feature_with_known(images, known, seen)
        return found

    def observe(self, images: Tensor, starts: Sequence[tuple[TargetSubnetwork, Cotangent]], observer: Observer) -> None:
        """One forward pass, and for each start a backward pass from that section's feature, in which the observer sees
        every layer, last layer first."""

        def forward() -> list[Tensor]:
            features = self.features(images)
            return [features[section] for section, _ in starts]

        observe([head.section for head in self._heads], forward, [cotangent for _, cotangent in starts], observer)
