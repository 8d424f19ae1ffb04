"""Protocols of criteria, schedules, ablations, metrics and model sources.

An extension is a file with one decorated function, which has the name of the file. A package declares it by an entry
point of the group `circuitlang.criteria`, `.ablations`, `.metrics` or `.models`. Keyword-only parameters, typed `int`,
`float`, `str` or `bool` and with defaults, are the arguments of the extension in the language; its docstring is its
page in the documentation. For example, `slope.py` with a criterion::

    from torch import Tensor

    from circuitlang.plugins.protocols import LayerSignals, criterion

    @criterion()
    def slope(kernels: LayerSignals, *, power: float = 1.0) -> Tensor:
        "Mean absolute weight of a kernel times the gradient of its output channel."
        size = kernels.weight.abs().mean((2, 3))  # [O, I / groups]
        slopes = kernels.gradient.abs().sum((2, 3)) ** power  # [N, O]: image by image
        return size * slopes.sum(0)[:, None]

In shapes, N counts images, O and I output and input channels of a layer, h x w the positions of a kernel, and H x W
those of a map. Torch is imported for types only, because the compiler reads these registries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, Literal, Protocol, TypeVar

from circuitlang.plugins.registry import Registry, Value

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from circuitlang.plugins.loaded_model import LoadedModel, PathResolver

    # A one-pass criterion: a batch's contribution to the scores of a layer [O, I / groups], or to moments
    # [M, O, I / groups] from which `Finish` computes scores, summed over the batch's images. Each image must be reduced
    # by itself, or scores would depend on the batch size.
    Reduction = Callable[Concatenate["LayerSignals", ...], Tensor]
    # A criterion that takes another number of passes: none (magnitude) or several (force).
    Procedure = Callable[Concatenate["Scoring", ...], "Scores"]
    # The ablation values of a layer: the constant output of each kernel once it is removed, [O, I / groups].
    Ablation = Callable[Concatenate["AblationContext", ...], Tensor]
    # A metric of fidelity, from moments of the network's and the circuit's responses: [samples].
    Metric = Callable[["Moments"], Tensor]
    # A transformation of responses, float64 [images, positions], before their moments are taken, such as their ranks.
    Preparation = Callable[[Tensor], Tensor]
    # Builds the network of a name with arguments. Under `torch.device("meta")` only shapes are needed. Raises
    # InputError if the network can't be built.
    ModelSource = Callable[[str, Mapping[str, Any], "PathResolver"], "LoadedModel"]

    # The gradient of the objective with respect to the feature's maps of an image [1, maps, H, W]. The generator
    # follows from the circuit's seed and the content of the image.
    Cotangent = Callable[[Tensor, Generator], Tensor]
    # The scores of a layer [O, I / groups], from the moments of all images [M, O, I / groups].
    Finish = Callable[[Tensor], Tensor]

    R = TypeVar("R", bound=Reduction)
    P = TypeVar("P", bound=Procedure)
    A = TypeVar("A", bound=Ablation)
    M = TypeVar("M", bound=Metric)
    S = TypeVar("S", bound=ModelSource)

T = TypeVar("T")

# Values by the path of a layer's module: float64 scores, a boolean mask or an edit of its kernels [out, in / groups].
Scores = Mapping[str, "Tensor"]
Masks = Mapping[str, "Tensor"]
Edits = Mapping[str, "Edit"]


# The ways in which a criterion takes account of images that a circuit is contrasted with; see `schedule`.
Contrast = Literal["sums", "bases", "own", ""]
# Types of parameters: the name of a registered criterion, and a whole number from 1.
CriterionName = str
Count = int


@dataclass(frozen=True)
class Edit:
    """An edit of a layer.

    Every kernel is multiplied by its gain [out, in / groups], or every weight by its gain [out, in / groups, h, w]; a
    mask is a gain of zeros and ones. Then `offset` [out] is added to the output channels.
    """

    gain: Tensor
    offset: Tensor | None = None


class AblationContext(Protocol):
    """A layer some of whose kernels will be removed."""

    @property
    def weight(self) -> Tensor:
        """The original weight [out, in / groups, h, w]."""

    @property
    def mean_output(self) -> Tensor:
        """The output of each kernel [out, in / groups] in the whole network, averaged over images and positions.

        The first use costs a forward pass over the images, for all layers together.
        """


@dataclass(frozen=True)
class LayerSignals:
    """The input and the gradient of one layer for a batch of N images.

    A linear layer is a 1 x 1 convolution of a 1 x 1 map.

    - `weight` [O, I / groups, h, w] is the original weight, also of kernels that are masked in this pass.
    - `input` [N, I, H, W] is padded already, in the layer's own padding mode.
    - `gradient` [N, O, H', W'] is the gradient of the objective with respect to the layer's output.
    - `shared` holds intermediate values that the criteria of one pass share, by name.

    In the target's layer, O counts only the channels of the target.
    """

    weight: Tensor
    input: Tensor
    gradient: Tensor
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    shared: dict[str, Any] = field(init=False, repr=False, default_factory=dict)


@dataclass(frozen=True)
class LayerActivations:
    """The data of a refit: a layer's input in the circuit and its output in the network, at R sampled positions.

    - `patches` [R, groups, I / groups, h * w] are the inputs of the kernels in the circuit.
    - `wanted` [R, O] are the outputs in the whole network.
    - `weight` [O, I / groups, h, w] and `bias` [O] are the original ones.
    - `rows` [O] are the computed output channels: all of them, except in the target's layer.
    """

    weight: Tensor
    bias: Tensor
    rows: Tensor
    patches: Tensor
    wanted: Tensor


class Batches(Protocol):
    """Images that can be iterated over several times, always in the same order."""

    def __len__(self) -> int: ...

    def batches(self, label: str, /) -> Iterator[Tensor]:
        """Yield the images in batches [N, C, H, W]; `label` names the step for the progress bar."""


class Scoring(Protocol):
    """The interface of schedules to the network up to the target, the images and the budget.

    `relevant` and `weights` [out, in / groups, h, w] are by layer; `budget` is in kernels; `generator` is seeded with
    the seed of the circuit.
    """

    relevant: Masks
    weights: Mapping[str, Tensor]
    budget: int
    generator: Generator

    @property
    def ablation_values(self) -> Mapping[str, Tensor | None]:
        """The ablation values [out, in / groups] of each kernel, by layer.

        They are None where constants make no difference: in the target's layer, and if the circuit is refitted.
        """

    @property
    def contrast(self) -> Batches | None:
        """The images that the circuit is contrasted with, if there are any."""

    def score(self, criterion: str, edits: Edits | Masks | None = None, **parameters: Value) -> Scores:
        """Return the scores by another criterion, in the network with these edits."""

    def on(self, images: Batches) -> Scoring:
        """Return the same interface to other images, with the same network and ablation values, without a contrast."""

    def sensitivities(self) -> Mapping[str, Tensor]:
        """Return the squared gradient of the feature times random signs [out], by layer.

        It is summed over images and positions, in the network with the edits of this schedule, and takes one pass.
        """

    def visit_layer_inputs(self, callback: Callable[[str, LayerActivations], None]) -> None:
        """Call back with the path and the activations of every layer, in order, in the network with the edits of this
        schedule."""

    def stage(self, budget: int, compute: Callable[[Scoring], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        """Return tensors that do not depend on the circuit's size, stored or computed.

        They belong to this schedule, its parameters and a budget, with which `compute` is called.
        """

    def select(self, scores: Scores, budget: int) -> Masks:
        """Return the `budget` best relevant kernels; disconnected ones are replaced if the spec says so."""

    def build(self, masks: Masks) -> Edits:
        """Return the circuit of a mask as the spec describes it, ablated, and refitted layer by layer."""

    def ablated(self, gains: Masks) -> Edits:
        """Return the circuit of kernels multiplied by gains [out, in / groups], ablated but not refitted.

        It is differentiable with respect to the gains.
        """

    def batches(self, label: str) -> Iterator[Tensor]:
        """Yield the images in batches [N, C, H, W]; each call is a pass."""

    def track(self, items: Iterator[T], label: str, total: int) -> Iterator[T]:
        """Pass items on unchanged and show progress, for schedules with steps that are no pass."""

    def feature(self, images: Tensor, edits: Edits | Masks | None = None) -> Tensor:
        """Return the target's maps [N, maps, H, W], differentiable with respect to the gains of the edits."""


@dataclass(frozen=True)
class Criterion:
    """A registered one-pass criterion."""

    reduce: Reduction
    cotangent: Cotangent
    finish: Finish
    nested: bool = True

    def passes(self, **_parameters: Value) -> float:
        """Return the number of passes, which is 1."""
        return 1


@dataclass(frozen=True)
class Stage:
    """A part of a schedule's work: its passes and forward passes, over `images` images at most unless that is None.

    A pass sees `least` images at least, so that fewer than those come several times in it, and has `beside` forward
    passes beside its own.

    All but the last are the same for circuits of every size that have a stage of this budget; see `Scoring.stage`.
    """

    budget: int
    passes: float
    images: int | None = None
    forwards: int = 0
    least: int = 1
    beside: int = 0


@dataclass(frozen=True)
class Schedule:
    """A registered criterion that arranges its own passes; `passes` computes their number from its parameters."""

    run: Procedure
    passes: Callable[..., float]
    nested: bool
    contrast: Contrast = ""
    stages: Callable[..., Sequence[Stage]] | None = None


@dataclass(frozen=True)
class Moments:
    """Moments of the network's responses f and the circuit's responses c over images and positions, float64 [samples].

    There is one sample for the value of a metric, and many bootstrap samples for its interval. Responses are in the
    units of the feature's map.
    """

    mean_f: Tensor
    mean_c: Tensor
    variance_f: Tensor
    variance_c: Tensor
    covariance: Tensor
    # The mean of (f - c)^2.
    difference: Tensor


@dataclass(frozen=True)
class MetricEntry:
    """A registered metric; `better` is the side on which a value is better."""

    measure: Metric
    better: Literal["higher", "lower"]
    prepare: Preparation


CRITERIA: Registry[Criterion | Schedule] = Registry(
    "criterion", "circuitlang.engine.attribution.criteria", "circuitlang.criteria"
)
ABLATIONS: Registry[Ablation] = Registry("ablation", "circuitlang.engine.circuits.ablations", "circuitlang.ablations")
METRICS: Registry[MetricEntry] = Registry("metric", "circuitlang.engine.evaluation.metrics", "circuitlang.metrics")
MODELS: Registry[ModelSource] = Registry("model source", "circuitlang.engine.models.sources", "circuitlang.models")


def absolute(feature: Tensor, _: Generator) -> Tensor:
    """Return the cotangent of the sum of absolute values, the objective of Hamblin et al. 2022: the feature's sign."""
    return feature.sign()


def signs(feature: Tensor, generator: Generator) -> Tensor:
    """Return a cotangent of independent random signs."""
    return feature.new_empty(feature.shape, device="cpu").bernoulli_(0.5, generator=generator).to(feature) * 2 - 1


def as_they_are(scores: Tensor) -> Tensor:
    """Return the sums themselves as scores."""
    return scores


def criterion(cotangent: Cotangent = absolute, finish: Finish = as_they_are) -> Callable[[R], R]:
    """Register a one-pass criterion.

    `cotangent` begins the backward pass; `finish` computes scores from the sums over all images.
    """

    def register(reduction: R) -> R:
        CRITERIA.add(reduction.__name__, reduction.__module__, Criterion(reduction, cotangent, finish))
        return reduction

    return register


def schedule(
    contrast: Contrast = "",
    *,
    passes: Callable[..., float],
    nested: bool = False,
    stages: Callable[..., Sequence[Stage]] | None = None,
) -> Callable[[P], P]:
    """Register a criterion that arranges its own passes.

    `passes` computes the number of passes from all parameters; a pass is one forward and one backward pass over the
    images, and `passes_of` returns that of another criterion. `nested` says that scores are the same for every budget.

    `contrast` says how scores are contrasted with other images: "sums" if scores are sums over images, so that scores
    on the other images are subtracted; "bases" if other criteria compute them, which are contrasted then; "own" if the
    criterion takes the images of `Scoring.contrast` into account itself; "" if a contrast is impossible.

    `stages` computes from the number of relevant kernels, the budget and all parameters what circuits of several sizes
    share; see `Stage`.
    """

    def register(procedure: P) -> P:
        CRITERIA.add(procedure.__name__, procedure.__module__, Schedule(procedure, passes, nested, contrast, stages))
        return procedure

    return register


def passes_of(name: str, parameters: Mapping[str, Value] | None = None) -> float:
    """Return the number of passes over the images that a criterion takes with these parameters, or their defaults.

    Raises KeyError if there is no criterion of that name.
    """
    return CRITERIA.load(name).passes(**complete(name, parameters or {}))


def complete(name: str, parameters: Mapping[str, Value]) -> dict[str, Value]:
    """Return the parameters of a criterion, with the defaults of those that are not given."""
    defaults = {parameter.name: parameter.default for parameter in CRITERIA.declarations[name].parameters}
    return {**defaults, **parameters}


def ablation(function: A) -> A:
    """Register an ablation."""
    ABLATIONS.add(function.__name__, function.__module__, function)
    return function


def metric(better: Literal["higher", "lower"], of: Preparation = lambda responses: responses) -> Callable[[M], M]:
    """Register a metric.

    `better` is the side on which a value is better; `of` transforms responses before their moments are taken.
    """

    def register(function: M) -> M:
        METRICS.add(function.__name__, function.__module__, MetricEntry(function, better, of))
        return function

    return register


def model_source(function: S) -> S:
    """Register a model source."""
    MODELS.add(function.__name__, function.__module__, function)
    return function
