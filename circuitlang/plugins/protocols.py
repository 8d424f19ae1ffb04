"""Protocols of criteria, schedules, ablations, metrics and model sources.

To add one, write a file in the folder of its kind with one decorated function of the file's name. Its keyword
parameters, typed `int`, `float`, `str` or `bool` and with defaults, are its arguments in the language; its docstring
is its page. Torch is imported here for types only: the compiler reads what there is from these registries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, Protocol, TypeVar

from circuitlang.plugins.registry import Registry, Value

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from circuitlang.plugins.preprocess import Preprocess

    # One pass: a batch's contribution to the scores of a layer [O, I / groups], or to moments [M, O, I / groups] that
    # scores follow from, summed over the batch's images. Each image is reduced by itself, or the score would depend on
    # the batch size.
    Reduction = Callable[Concatenate["LayerSignals", ...], Tensor]
    # Any way to scores that isn't one pass: none (magnitude), or many (force).
    Procedure = Callable[Concatenate["Scoring", ...], "Scores"]
    # What stands in for each kernel of a layer where it is removed: constants [O, I / groups].
    Ablation = Callable[Concatenate["AblationContext", ...], Tensor]
    # How well a feature is preserved, from the moments of the network's and the circuit's responses.
    Metric = Callable[["Moments"], Tensor]
    # What is made of responses, float64 [images, positions], before their moments are taken: their ranks, say.
    Preparation = Callable[[Tensor], Tensor]
    # Builds the network of a name with arguments. Under `torch.device("meta")` shapes are enough (see
    # `weights.outlining`). Raises InputError where that isn't possible.
    ModelSource = Callable[[str, Mapping[str, Any], "PathResolver"], "LoadedModel"]

    # The gradient of the objective with respect to the feature's maps of an image [1, maps, H, W]; the generator
    # follows from the circuit's seed and what is in the image.
    Cotangent = Callable[[Tensor, Generator], Tensor]
    # From the moments of all images [M, O, I / groups], the scores of a layer.
    Finish = Callable[[Tensor], Tensor]

    R = TypeVar("R", bound=Reduction)
    P = TypeVar("P", bound=Procedure)
    A = TypeVar("A", bound=Ablation)
    M = TypeVar("M", bound=Metric)
    S = TypeVar("S", bound=ModelSource)

T = TypeVar("T")

# By the path of a layer's module: a number, or yes and no, for each of its kernels [out, in / groups].
Scores = Mapping[str, "Tensor"]
Masks = Mapping[str, "Tensor"]
Edits = Mapping[str, "Edit"]


# A parameter of this type takes the name of a registered criterion, one of that a whole number from 1.
CriterionName = str
Count = int


@dataclass(frozen=True)
class Edit:
    """An edit of a layer: every kernel is multiplied by its gain [out, in / groups] (or every weight, [out, in /
    groups, h, w]), and a constant [out] is added to every output. A mask is a gain of zeros and ones."""

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

        Asking costs a forward pass over the images, once for all layers.
        """


@dataclass(frozen=True)
class LayerSignals:
    """The input and the gradient of one layer for a batch of N images.

    A linear layer is a 1 x 1 convolution of a 1 x 1 map. `weight` [O, I / groups, h, w] is the original weight, also
    of kernels that are masked in this pass; `input` [N, I, H, W] is padded already, in the layer's own padding mode;
    `gradient` [N, O, H', W'] is that of the objective with respect to the layer's output. In the layer of the target
    O counts the target's rows alone. `shared` is what criteria of one pass have worked out of it for one another.
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
    """The data of a refit: in R places a layer's input in the circuit, and its output in the whole network.

    `patches` is [R, groups, inner, taps], `wanted` [R, O]; `weight` [O, inner, h, w] and `bias` [O] are the layer's,
    `rows` [O] the output channels that are computed: all, but of the target's layer the target's alone.
    """

    weight: Tensor
    bias: Tensor
    rows: Tensor
    patches: Tensor
    wanted: Tensor


class Batches(Protocol):
    """Images that can be gone through again and again, always in the same order."""

    def __len__(self) -> int: ...

    def batches(self, label: str, /) -> Iterator[Tensor]:
        """The images, some [N, C, H, W] at a time; `label` says what for."""


class Scoring(Protocol):
    """The network up to the target, the images and the budget, as a schedule sees them."""

    relevant: Masks
    weights: Mapping[str, Tensor]
    budget: int
    generator: Generator

    @property
    def ablation_values(self) -> Mapping[str, Tensor | None]:
        """Ablation values of each kernel, by layer; None where a constant makes no difference: in
        the target's layer, and where the circuit is refitted."""

    def score(self, criterion: str, edits: Edits | Masks | None = None, **parameters: Value) -> Scores:
        """The scores by another criterion; where edits are given, in the network so edited."""

    def sensitivities(self) -> Mapping[str, Tensor]:
        """The squared gradient of the feature times random signs, by layer and output channel [out].

        It is summed over images and positions, in the network that is scored in, and takes one pass.
        """

    def visit_layer_inputs(self, see: Callable[[str, LayerActivations], None]) -> None:
        """Show every layer, by its path and in order, what goes into it in the network that is scored in."""

    def select(self, scores: Scores, budget: int) -> Masks:
        """The `budget` best relevant kernels, dead ones replaced where the spec says so."""

    def build(self, masks: Masks) -> Edits:
        """The circuit of these kernels, as the spec wants it: ablated, and refitted."""

    def ablated(self, gains: Masks) -> Edits:
        """The circuit of kernels multiplied by gains [out, in / groups], ablated as the spec wants it but not refitted;
        differentiable with respect to gains that are."""

    def batches(self, label: str) -> Iterator[Tensor]:
        """The images, in batches [N, C, H, W]; a pass for each call."""

    def feature(self, images: Tensor, edits: Edits | Masks | None = None) -> Tensor:
        """The target's maps [N, maps, H, W], differentiable with respect to gains that are."""


@dataclass(frozen=True)
class Criterion:
    """A registered one-pass criterion."""

    reduce: Reduction
    cotangent: Cotangent
    finish: Finish
    nested: bool = True

    def passes(self, **_parameters: Value) -> float:
        """One, whatever the parameters."""
        return 1


@dataclass(frozen=True)
class Schedule:
    """A registered criterion of its own number of passes, which follows from its parameters."""

    run: Procedure
    passes: Callable[..., float]
    nested: bool
    contrast: Literal["sums", "bases", ""] = ""


@dataclass(frozen=True)
class Moments:
    """The network's responses f and the circuit's c, averaged over images and positions, float64 [samples].

    There are several samples where images are drawn again and again, which is how a metric gets its interval.
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


@dataclass(frozen=True)
class PathResolver:
    """Turns a path of the spec into one of this machine; says whether code that the spec names may run, and of what
    shape (channels, height, width) the model statement says images are, if it does."""

    folder: Path
    allow_code: bool = False
    images: tuple[int, int, int] | None = None

    def __call__(self, path: str) -> Path:
        return self.folder / path


@dataclass(frozen=True)
class LoadedModel:
    """A network ready for use: in evaluation mode of its own accord or not, it is never changed.

    `weights` names what it was filled with: a file without its folder, or published weights by their own name where
    the spec says DEFAULT. `classes` are those that these weights name. `output` says which of several outputs has them,
    by its number or name. `notes` say how the weights were found where that isn't plain.
    """

    module: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...] = ()
    weights: str = ""
    output: int | str | None = None
    notes: tuple[str, ...] = ()


class TrackProgress(Protocol):
    """Shows progress: passes items on, knowing what is done with them and how many will come."""

    def __call__(self, items: Iterator[T], label: str, total: int, /) -> Iterator[T]: ...


def no_progress(items: Iterator[T], _label: str, _total: int, /) -> Iterator[T]:
    """Progress that nobody sees."""
    return items


CRITERIA: Registry[Criterion | Schedule] = Registry(
    "criterion", "circuitlang.engine.attribution.criteria", "circuitlang.criteria"
)
ABLATIONS: Registry[Ablation] = Registry("ablation", "circuitlang.engine.circuits.ablations", "circuitlang.ablations")
METRICS: Registry[MetricEntry] = Registry("metric", "circuitlang.engine.evaluation.metrics", "circuitlang.metrics")
MODELS: Registry[ModelSource] = Registry("model source", "circuitlang.engine.models.sources", "circuitlang.models")


def absolute(feature: Tensor, _: Generator) -> Tensor:
    """The cotangent of the sum of absolute values, the paper's objective: the sign of the feature."""
    return feature.sign()


def signs(feature: Tensor, generator: Generator) -> Tensor:
    """A cotangent of independent random signs: a random direction in which the feature map may be wrong."""
    return feature.new_empty(feature.shape, device="cpu").bernoulli_(0.5, generator=generator).to(feature) * 2 - 1


def as_they_are(scores: Tensor) -> Tensor:
    """Return the sums themselves as scores."""
    return scores


def criterion(cotangent: Cotangent = absolute, finish: Finish = as_they_are) -> Callable[[R], R]:
    """Register a one-pass criterion: scored with a cotangent on the feature map, `finish` makes scores of the sums."""

    def register(reduction: R) -> R:
        CRITERIA.add(reduction.__name__, reduction.__module__, Criterion(reduction, cotangent, finish))
        return reduction

    return register


def schedule(
    contrast: Literal["sums", "bases", ""] = "", *, passes: Callable[..., float], nested: bool = False
) -> Callable[[P], P]:
    """Register a criterion that arranges its own passes; `passes` says how many, given all of its parameters, `nested`
    whether the scores are the same for every budget.

    `contrast` says what can be taken from the scores for other images: where they are "sums" over images, theirs; where
    they are those of "bases", criteria that it names and that score in turn, what is taken from these; else nothing.

    A pass is one forward and one backward over the images; what another criterion costs is asked of `passes_of`.
    """

    def register(procedure: P) -> P:
        CRITERIA.add(procedure.__name__, procedure.__module__, Schedule(procedure, passes, nested, contrast))
        return procedure

    return register


def passes_of(name: str, given: Mapping[str, Value] | None = None) -> float:
    """The passes over the images that a criterion takes with these parameters; defaults stand in for those not given.

    Raises KeyError where there is no criterion of that name.
    """
    defaults = {parameter.name: parameter.default for parameter in CRITERIA.declarations[name].parameters}
    return CRITERIA.load(name).passes(**{**defaults, **(given or {})})


def ablation(function: A) -> A:
    """Register an ablation."""
    ABLATIONS.add(function.__name__, function.__module__, function)
    return function


def metric(better: Literal["higher", "lower"], of: Preparation = lambda responses: responses) -> Callable[[M], M]:
    """Register a metric, `of` what is made of the network's and of the circuit's responses."""

    def register(function: M) -> M:
        METRICS.add(function.__name__, function.__module__, MetricEntry(function, better, of))
        return function

    return register


def model_source(function: S) -> S:
    """Register a model source."""
    MODELS.add(function.__name__, function.__module__, function)
    return function
