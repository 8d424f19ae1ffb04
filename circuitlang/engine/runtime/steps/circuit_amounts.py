"""The numbers that the cost of a circuit follows from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from circuitlang.engine.analysis.split.clustering import numbers
from circuitlang.engine.circuits.selection import budget
from circuitlang.engine.images.hashed_images import held_out
from circuitlang.engine.runtime.network_costs import Forward, NetworkCosts, TargetNode
from circuitlang.plan.model import Circuit, Plan, Sparsity
from circuitlang.results.forecast import Cost
from circuitlang.results.visualised_channels import BUDGET

# A backward pass computes two gradients, of the input and of the output, each as much work as the forward pass.
PASS = 3
# The size of a circuit whose size is searched for, as a share of the relevant kernels.
GUESS = 0.1


@dataclass(frozen=True)
class ImageCounts:
    """Numbers of images of a circuit; copies of one image, which are not held out apart, may shift these.

    Attributes:
        found_on: Those it is found on.
        measured_on: Others that it is measured on.
        contrasted_with: Those it is contrasted with, the held-out ones among them.
        also: Those of each set that it is measured on besides, less those that it is found on.
    """

    found_on: int
    measured_on: int
    contrasted_with: int
    also: Mapping[str, int]

    @classmethod
    def of(cls, asked: Circuit, files: Mapping[str, Sequence[Path]]) -> ImageCounts:
        """Count images by their files; a set that is missing has none."""
        there = {name: len(paths) for name, paths in files.items()}
        found_on, others = there.get(asked.images, 0), there.get(asked.contrast or "", 0)
        also = _also(asked, files)
        if asked.test is not None:
            return cls(found_on, there.get(asked.test, 0), others, also)
        out = held_out(asked.holdout, found_on)
        return cls(found_on - out, out, others, also)


def _also(asked: Circuit, files: Mapping[str, Sequence[Path]]) -> dict[str, int]:
    own = set(files.get(asked.images, ()))
    left = held_out(0 if asked.test else asked.holdout, len(own))
    counts = {}
    for name in asked.also:
        shared = sum(path in own for path in files.get(name, ()))
        # The share of the circuit's images that is held out is also that of the images that a set shares with it.
        counts[name] = len(files.get(name, ())) - shared + (round(shared * left / len(own)) if shared else 0)
    return counts


@dataclass(frozen=True)
class CircuitAmounts:
    """The numbers that the cost of a circuit follows from.

    Attributes:
        asked: The circuit.
        plan: Its plan.
        network: The network.
        target: The circuit's target in it.
        images: Numbers of its images.
        files: Files of each set of images.
        fast: Its scores are computed in TF32.
        visualised: Channels that are visualised, as `channel_budget` returns them.
        folder: It gets a folder, with its module and pages; else a row of a packed run.
    """

    asked: Circuit
    plan: Plan
    network: NetworkCosts
    target: TargetNode
    images: ImageCounts
    files: Mapping[str, Sequence[Path]]
    fast: bool = False
    visualised: int = BUDGET
    folder: bool = True

    @cached_property
    def relevant(self) -> int:
        """The number of kernels or weights that the circuit is found among.

        Within a circuit, these are as many as that one may keep, or a guess where its size is searched for.
        """
        relevant = self.network.relevant(self.target, self.asked.structure == "weight")
        kernels = left = self.network.relevant(self.target, weights=False)
        for parent in [*self.asked.lineage][:0:-1]:
            left = budget(parent.size or Sparsity(GUESS), left)
        return relevant * left // max(kernels, 1)

    @cached_property
    def basis(self) -> str:
        """All that its scores follow from, but for its size."""
        return self.plan.basis(self.asked)

    @property
    def size(self) -> int | None:
        """The number of kernels or weights that it keeps; None where that is searched for."""
        return None if self.asked.size is None else budget(self.asked.size, self.relevant)

    @cached_property
    def forward(self) -> Forward:
        """The operations of one image's forward pass up to the target."""
        return self.network.forward(self.target)

    @property
    def judged_on(self) -> int:
        """The number of images that it is judged by."""
        return self.images.measured_on or self.images.found_on

    @property
    def against(self) -> int:
        """The number of images that it is judged by as contrast."""
        return held_out(self.asked.holdout, self.images.contrasted_with) or self.images.contrasted_with

    @property
    def parts(self) -> int:
        """The number of parts that a split may have, at most; 1 for a circuit."""
        into = self.asked.into
        return numbers(None, self.images.found_on)[-1] if into == "auto" else into or 1

    def forwards(self, *runs: tuple[int, int]) -> Cost:
        """Return the cost of so many networks or circuits, each on so many images."""
        return forwards(self.forward.operations, *runs)


def forwards(operations: int, *runs: tuple[int, int]) -> Cost:
    """Return the cost of so many networks or circuits, each on so many images, of `operations` each."""
    pictures = sum(number * images for number, images in runs)
    number = sum(number for number, images in runs if images)
    return Cost(forwards=number, measuring=operations * pictures, forwarded=pictures)
