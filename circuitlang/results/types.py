"""Results of a run, as plain values and arrays without torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from circuitlang.base.deferred import np
from circuitlang.plan.labels import Labels
from circuitlang.plan.model import Circuit as CircuitPlan
from circuitlang.plan.model import Model
from circuitlang.plugins.hypothesis_tests import HypothesisOutcome

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LayerSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A layer of the circuit and its part of the budget.

    `name` is what users write (`conv5`), `path` the module's (`features.10`). `relevant` kernels have a path from
    the image to the target; `zero` of them have no weight but zero in the network already. `shares` are of the kept
    kernels, in the order of the circuit's arrays: the share of the circuits found on other images that have each.
    """

    name: str
    path: str
    kind: str
    out_channels: int
    in_channels: int
    groups: int
    relevant: int
    zero: int
    kept: int
    effective: int
    # Absent from files where it is not measured.
    shares: list[float] | msgspec.UnsetType = msgspec.UNSET


class Fidelity(msgspec.Struct, frozen=True, kw_only=True):
    """The fidelity of a circuit on some images: metrics by name, and their 95% intervals
    over images."""

    images: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = {}


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """The provenance of a result: contents by hash, never paths or times. `precision` is that of the scores."""

    identity: str
    weights: str
    train_images: str
    test_images: str
    contrast_images: str = ""
    also_images: dict[str, str] = {}
    precision: Literal["float32", "tf32"] = "float32"
    versions: dict[str, str]
    unreadable: list[str] = []
    # The place of the weights in their file, if it is not a plain state dict.
    weights_notes: list[str] = []


class SizeTrial(msgspec.Struct, frozen=True, kw_only=True):
    """A size that was tried in the search for the smallest circuit, and its value for each of the plan's bounds."""

    kernels: int
    values: list[float]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a split a circuit is: the `number`-th, from 1, of `parts`; `of` is the id of the split in its
    plan, `split` its identity."""

    of: str
    number: int
    parts: int
    split: str


class PrecisionCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of reduced precision: scores in TF32 against the same in single precision, both by a few of the images
    that the circuit was found on.

    `difference` is the largest of any relevant kernel, as a share of the largest score, and `spearman` the correlation
    of ranks. Circuits of the circuit's size are selected by either: of the `kept` kernels of that by TF32, `exchanged`
    are not in the other.
    """

    images: int
    difference: float
    spearman: float
    kept: int
    exchanged: int


class ClassChange(msgspec.Struct, frozen=True, kw_only=True):
    """A number of images that are `taken_for` another class than in the `network`; classes by name, or by number."""

    network: str
    taken_for: str
    images: int


class ClassCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The network's classification with the output for one class taken from its circuit, on the judged images.

    `agreement` is the share of images whose class of the largest output is the network's own, and `confusion` says what
    the others are taken for, the most frequent first; `network` and `circuit` are the mean probabilities of the class.
    """

    agreement: float
    network: float
    circuit: float
    confusion: list[ClassChange] = []


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """The linear probe that a concept's direction is the weights of.

    Pairs are of the concept's images and of those that it is told from. `right` of the `held_out` ones are told right.
    `accuracy` is their share, either side counting as much as the other, so that chance is one half, and `p` is the
    probability of as many by chance, by Fisher's exact test. `fitted_accuracy` is that share of the `fitted` images.
    `direction` has the coefficient of each channel of the layer, float32 in base64.
    """

    accuracy: float
    p: float
    fitted_accuracy: float
    held_out: tuple[int, int]
    right: tuple[int, int]
    fitted: tuple[int, int]
    penalty: float
    direction: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A result without its arrays: what `circuit.json` holds.

    `without` is the fidelity of the network less the circuit, whose error is called necessity: 0 where the network
    can do without, 1 and more where nothing of the feature is left. `baselines` are circuits of the same size by other
    criteria, built in the same way. Both are measured on the held-out images, where there are any. `walk` are the
    sizes that were tried where none was given, smallest first. `parameters` are the numbers of the circuit's module,
    `extracted_difference` the most by which its maps differ from those of the circuit in the network, as a share of
    the largest value. `contrast` is the fidelity on what the circuit is contrasted with: on images that no kernel was
    scored by, where any were held out. `also` is the fidelity on the other image sets that the plan names, less the
    images that the circuit was found on. With `structure=weight` single weights are counted instead of kernels. `part`
    is there where the circuit is one of a split, `reduced` where it was scored in reduced precision. `unheard` says
    that the feature is the same everywhere on all images that it was found on: there is nothing to preserve.
    `responses` are the numbers that fidelity is of, a feature's at all positions on all images. `constant` are the
    kernels that every circuit has and no budget counts, for they read channels that no path from the image leads to.
    `tests` are the outcomes of the tests that the plan asks for, by name. `robust` is the fidelity of the circuit's
    kernels under the ablations that the plan names. `probe` is that of a concept. `classes` compares classifications
    where the target is a class.
    """

    plan: CircuitPlan
    model: Model
    relevant: int
    asked: int
    kept: int
    effective: int
    layers: list[LayerSummary]
    train: Fidelity
    test: Fidelity | None
    contrast: Fidelity | None = None
    contrast_held_out: bool = False
    also: dict[str, Fidelity] = {}
    without: Fidelity
    baselines: dict[str, Fidelity]
    walk: list[SizeTrial] = []
    parameters: int | None
    extracted_difference: float | None
    provenance: Provenance
    part: Part | None = None
    reduced: PrecisionCheck | None = None
    unheard: bool = False
    responses: int = 0
    missing: dict[str, str] = {}
    # Output formats that were not asked for.
    unrendered: list[str] = []
    constant: int = 0
    # Nothing else depends on them, so that they change without the circuit.
    labels: Labels | None = None
    tests: dict[str, HypothesisOutcome] = {}
    # Absent from files where nothing is asked for.
    robust: dict[str, Fidelity] | msgspec.UnsetType = msgspec.UNSET
    # Only where the target is a concept.
    probe: Probe | msgspec.UnsetType = msgspec.UNSET
    # Only where the target is a class.
    classes: ClassCheck | msgspec.UnsetType = msgspec.UNSET

    def has(self, name: str) -> bool:
        """Return whether its folder has the files of an output format."""
        return name not in self.missing and name not in self.unrendered

    @property
    def asked_as(self) -> str:
        """The id by which the plan asks for it: of a part, that of the split."""
        return self.part.of if self.part else self.plan.id

    @property
    def noun(self) -> str:
        """The unit that is counted: kernels, or single weights."""
        return "weight" if self.plan.structure == "weight" else "kernel"

    @property
    def judged(self) -> Fidelity:
        """The fidelity that counts: held-out, where anything was held out."""
        return self.test or self.train

    @property
    def rounding(self) -> float | None:
        """A power of ten that the module's difference does not exceed, which is alike on all machines."""
        exact = self.extracted_difference
        if exact is None:
            return None
        return float(f"1e{math.ceil(math.log10(exact))}") if exact > 0 else 0.0

    def flat(self) -> dict[str, float]:
        """Every number by one key, as in `metrics.json`: `kept`, `train.images`, `test.pearson`, ..."""
        numbers: dict[str, float] = {name: getattr(self, name) for name in ("relevant", "asked", "kept", "effective")}
        also = ((f"also.{name}", fidelity) for name, fidelity in self.also.items())
        robust = ((f"robust.{name}", fidelity) for name, fidelity in (self.robust or {}).items())
        samples = ("train", self.train), ("test", self.test), ("contrast", self.contrast), *also, *robust
        for sample, fidelity in samples:
            if fidelity is not None:
                numbers[f"{sample}.images"] = fidelity.images
                numbers.update({f"{sample}.{name}": value for name, value in fidelity.metrics.items()})
                for name, (low, high) in fidelity.intervals.items():
                    numbers.update({f"{sample}.{name}.low": low, f"{sample}.{name}.high": high})
        for sample, fidelity in (("without", self.without), *self.baselines.items()):
            numbers.update({f"{sample}.{name}": value for name, value in fidelity.metrics.items()})
        numbers["necessity"] = self.without.metrics["error"]
        if self.parameters is not None and self.extracted_difference is not None:
            numbers |= {"parameters": self.parameters, "extracted_difference": self.extracted_difference}
        for name, outcome in self.tests.items():
            own = {word: getattr(outcome, word) for word in ("p", "statistic", "share", "bootstrap")}
            numbers |= {f"tests.{name}.{word}": value for word, value in own.items() if isinstance(value, float)}
        if self.probe is not msgspec.UNSET:
            numbers |= {"probe_accuracy": self.probe.accuracy, "probe_p": self.probe.p}
        if self.classes is not msgspec.UNSET:
            numbers |= {f"class.{name}": getattr(self.classes, name) for name in ("agreement", "network", "circuit")}
        numbers["score_difference"] = self.reduced.difference if self.reduced else 0.0
        return numbers


@dataclass(frozen=True)
class KeptKernels:
    """The kept kernels of one layer, strongest first; n of them, each `h` x `w` (1 x 1 in a linear layer).

    `source[n]` is the input channel in the whole layer (not within its group); `weight` is what the circuit has, which
    refits and the removal of single weights make another than the network's.
    """

    target: NDArray[np.int64]
    source: NDArray[np.int64]
    score: NDArray[np.float64]
    weight: NDArray[np.float32]
    effective: NDArray[np.bool_]


@dataclass(frozen=True)
class ChannelSources:
    """The sources of one layer's input channels without a kernel in between: through pooling, add, concatenation.

    Input channel `source[k]` carries channel `channel[k]` of `layers[origin[k]]`, or of the image where origin is -1.
    """

    source: NDArray[np.int64]
    origin: NDArray[np.int64]
    channel: NDArray[np.int64]


@dataclass(frozen=True)
class LayerEdit:
    """The edit that makes a layer of the network the circuit's: all of its kernels in `rows`, the output channels that
    the target depends on, are removed but for the kept ones.

    These, in the order of `Kernels`, are multiplied by `gain` [n], or weight by weight [n, h, w]; `offset` is added to
    the bias of each of the rows. `constant` are kernels that stay as they are in every circuit, for they read channels
    that are the same for all images: their numbers, output channel times inputs of one plus input.
    """

    rows: NDArray[np.int64]
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    constant: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Circuit:
    """The kept kernels of every layer, in execution order, how the layers are wired, and what is done to them. Aligned
    with `layers`.

    `target` says which channels carry the target's units, numbered from 0.
    """

    kernels: tuple[KeptKernels, ...]
    wires: tuple[ChannelSources, ...]
    target: ChannelSources
    changes: tuple[LayerEdit, ...] = ()


@dataclass(frozen=True)
class ExampleImage:
    """A judged image, uint8 [h, w, 3], and the feature's maps of it, [maps, rows, columns], in the network and in the
    circuit; `kept` is its number in `Witness.pictures`."""

    name: str
    picture: NDArray[np.uint8]
    network: NDArray[np.float32]
    circuit: NDArray[np.float32]
    kept: float


@dataclass(frozen=True)
class FidelityExamples:
    """Examples of a circuit's fidelity among the images it is judged by.

    `network[n]` and `circuit[n]` are some of the `responses` that the fidelity is taken of, and `slope` * network +
    `offset` is the line that fits all of those best. `pictures` is one number for each image: the Pearson correlation
    of its maps (`correlations`; NaN where the network's don't vary), or, where a map is one position, how far off it is
    in standard deviations of the network's responses. `most` and `least` are the images at the two ends, outermost
    first.
    """

    network: NDArray[np.float64]
    circuit: NDArray[np.float64]
    responses: int
    slope: float
    offset: float
    pictures: NDArray[np.float64]
    correlations: bool
    most: tuple[ExampleImage, ...]
    least: tuple[ExampleImage, ...]


@dataclass(frozen=True)
class ActivationMaps:
    """Activation maps of n images in the network and in the circuit.

    `pictures[n, h, w, 3]` and `names` are the images, the strongest response to the feature first; `maps[layer,
    channel]` is `[n, 2, h, w]`, in the network and in the circuit, and `feature` the same of the feature itself, of
    several units the mean. In maps `ZERO` is zero, 254 and 0 are plus and minus what `scales[layer, channel]` and
    `scale` say: the largest value of any of the maps of that channel, so that all of them can be compared.
    `similarity[n]` is the correlation of the feature's two maps, nan where one of them is flat.
    """

    ZERO: ClassVar[int] = 127

    pictures: NDArray[np.uint8]
    names: tuple[str, ...]
    maps: dict[tuple[int, int], NDArray[np.uint8]]
    scales: dict[tuple[int, int], float]
    feature: NDArray[np.uint8]
    scale: float
    similarity: NDArray[np.float64]

    def values(self) -> NDArray[np.float64]:
        """The feature's maps [n, 2, h, w], to within a hundredth of the largest value."""
        return (self.feature.astype(np.float64) - self.ZERO) / self.ZERO * self.scale


@dataclass(frozen=True)
class FeatureVisualisations:
    """Images that were made to excite a unit: uint8 `[2, h, w, 3]`, through the network and through the circuit.

    `target` is of the feature, `channels[layer, channel]` of channels with an effective kernel, where asked for. With
    `budget` there are those that the budget of a run allows, in the network alone, `[1, h, w, 3]`.
    """

    target: NDArray[np.uint8]
    channels: dict[tuple[int, int], NDArray[np.uint8]] = field(default_factory=dict)
    budget: bool = False


@dataclass(frozen=True)
class PathFidelity:
    """The fidelity of the strongest paths alone: those of the first `steps` of `results.connections`, which have
    `kernels` kernels."""

    steps: int
    kernels: int
    metrics: dict[str, float]


@dataclass(frozen=True, eq=False)
class Result:
    """One finished circuit: what was asked, what was found, how good it is.

    `module` is the circuit as a network of its own, as torch.export.save writes it. `exemplars[layer, channel]` is the
    part of an image that excites a channel most, uint8 `[h, w, 3]`. `contributions` are what the kept kernels of each
    layer carry in each image that activation maps are shown of, [kernels, images]; of very many kernels in all of these
    images, [kernels, 1]. These, the fidelity of paths and of examples, the activation maps and the visualisations are
    for the pages that a run writes; a result that is read back has none.

    `content` is the circuit, or reads it: a run in which all is finished needs no arrays.
    """

    summary: Summary
    content: Circuit | Callable[[], Circuit]
    exemplars: dict[tuple[int, int], NDArray[np.uint8]] = field(default_factory=dict)
    module: bytes = b""
    fidelity_examples: FidelityExamples | None = None
    activation_maps: ActivationMaps | None = None
    visualisations: FeatureVisualisations | None = None
    contributions: tuple[NDArray[np.float32], ...] = ()
    path_fidelity: tuple[PathFidelity, ...] = ()
    # The parts of images that excite the feature most, uint8 [n, side, side, 3]: of a circuit that is to be packed.
    crops: NDArray[np.uint8] | None = None

    @cached_property
    def circuit(self) -> Circuit:
        """The kernels and what they read. Raises InputError if they must be read and can't be."""
        return self.content() if callable(self.content) else self.content
