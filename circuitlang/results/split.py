"""Splits: clusters of a target's images, their circuits, and the tests of whether they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.deferred import np
from circuitlang.plan.model import Choice, Model
from circuitlang.plan.model import Circuit as CircuitPlan
from circuitlang.results.types import Provenance

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of images in a split and its circuit: that one's id and identity, the names of the images it was found on
    and of the held-out ones that are nearest to them, how many kernels it keeps, and the verdict on it, which is empty
    in files of earlier versions."""

    id: str
    identity: str
    train: list[str]
    test: list[str]
    kept: int
    verdict: str = ""


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """The overlap of two parts' circuits, in one layer or (`layer` empty) in all: the kernels that both keep, as a
    share of those that either keeps, and what that would be of kernels drawn at random; None where neither keeps
    any."""

    parts: tuple[int, int]
    layer: str
    iou: float | None
    chance: float | None


class ClusterTest(msgspec.Struct, frozen=True, kw_only=True):
    """The test of whether images form clusters.

    `valley` is how many are between two clusters for each about the centre of one, `cloud` the middle one of the same
    of clouds without kinds, and p the share of clouds, the images themselves counted as one, that have as few.
    `silhouette` is how much nearer images are to their own kind than to the next, from -1 to 1, and `tried` that by
    number of kinds.
    """

    silhouette: float
    valley: float
    cloud: float
    p: float
    tried: dict[int, float]


class SpecificityTest(msgspec.Struct, frozen=True, kw_only=True):
    """The test of whether circuits are specific to their own images, on held-out ones: Pearson's r, mean over the
    parts, of each on its own images and of the others on these, and of the circuit of all images; `least` and `most`
    are what 95% of permutations give of own less other, and p is the share of them, the kinds themselves counted as
    one, that give as much."""

    own: float
    other: float
    whole: float
    least: float
    most: float
    p: float


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """A target's images by kind, and the circuits of the kinds held against one another: what `split.json` holds.

    `vectors` is the criterion that images are told apart by. `silent` are the images of which it says nothing, which
    are in no part. `fidelity[i][j]` is Pearson's r of the circuit of part i on the held-out images of part j, the last
    row that of the circuit of all images, as large as the largest of the parts; None where nothing is held out.
    `shares` are how much of what the images vary the two directions of `points` have, which are [x, y] of each image,
    part by part, those it was found on before those held out. `distinction` is None where fewer than two parts have
    held-out images.
    """

    plan: CircuitPlan
    model: Model
    vectors: Choice
    relevant: int
    whole: int
    kinds: list[Cluster]
    silent: list[str]
    separation: ClusterTest
    distinction: SpecificityTest | None
    fidelity: list[list[float | None]]
    overlaps: list[Overlap]
    shares: tuple[float, float]
    points: list[tuple[float, float]]
    provenance: Provenance
    # Output formats that failed, and why.
    missing: dict[str, str] = {}
    # Output formats that were not asked for.
    unrendered: list[str] = []

    def has(self, name: str) -> bool:
        """Return whether its folder has the files of an output format."""
        return name not in self.missing and name not in self.unrendered

    @property
    def splits(self) -> bool:
        """True if there is evidence that the feature splits: images form clusters, with circuits of their own."""
        return self.separation.p < SIGNIFICANT and self.distinction is not None and self.distinction.p < SIGNIFICANT


# Below this probability chance is no explanation.
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class SplitResult:
    """A finished split, and its images part by part as in `Split.points`, uint8 [h, w, 3]; one that is read back has
    none."""

    split: Split
    pictures: tuple[NDArray[np.uint8], ...] = ()
