"""Plan → jobs: the model loaded, the pictures read, the targets found, so that every mistake is found before work
begins. `survey` finds the same mistakes without the weights."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
from circuitlang.base.source import Span
from circuitlang.engine import device
from circuitlang.engine.cache import tensor_cache
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.targets import Target, resolve
from circuitlang.engine.graph.trace_verification import IMAGES, Verified, as_batch, verified
from circuitlang.engine.graph.tracer import trace, trace_with
from circuitlang.engine.graph.tracing_methods import tracing_methods
from circuitlang.engine.images.file_patterns import find
from circuitlang.engine.images.image_set import ImageSet, load
from circuitlang.engine.models.input_channels import image_channels
from circuitlang.engine.models.layer_index import remember
from circuitlang.engine.models.outputs import choose, outputs
from circuitlang.engine.models.preprocess_arguments import apart, overridden
from circuitlang.engine.models.sandbox import private_copy, quiet, untouched
from circuitlang.engine.models.weights import fingerprint, require_finite, single, structure
from circuitlang.plan.contrast import contrastable, uncontrasted
from circuitlang.plan.model import Choice, ClassOutput, Key, Model, Origins, Plan, digest
from circuitlang.plan.model import Circuit as CircuitPlan
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.plugins.protocols import (
    CRITERIA,
    MODELS,
    LoadedModel,
    PathResolver,
    TrackProgress,
    no_progress,
    passes_of,
)
from circuitlang.results.types import Part, Provenance

# Of each image set its pictures, and what is wrong with those that were left out.
Sets = dict[str, tuple[ImageSet, list[str]]]
# What can be wrong with a unit of a target, rather than with its layer.
_OF_A_UNIT = ("E111", "E125", "E126")
# Pictures are looked at even where there is no model to say how to prepare them.
_ANY = Preprocess(1, 1, (), ())


def unnoted(_finding: Finding, /) -> None:
    """A note that nobody reads."""


@dataclass(frozen=True)
class Options:
    """What has no say in the result: how it is shown, whether broken pictures stop the run, whether code that the spec
    names may run, whether every channel is visualised or the feature alone, the device and how many pictures it takes
    at a time (None: as many as suit it). And what has: whether scores may be computed in TF32."""

    skip_unreadable: bool = False
    allow_code: bool = False
    visualise: bool = False
    device: str = "auto"
    batch_size: int | None = None
    fast: bool = False
    track: TrackProgress = no_progress
    # Told what is to be known of a sound plan's files, such as where weights were found in one.
    note: Callable[[Finding], None] = unnoted


@dataclass(frozen=True)
class Job:
    """A circuit, or a split, that is ready to be computed; `provenance.identity` tells whether it was before. `part`
    says which of a split it is."""

    plan: CircuitPlan
    subnetwork: TargetSubnetwork
    train: ImageSet
    test: ImageSet | None
    provenance: Provenance
    score_cache: ScoreCache
    # What kernels are scored against, and what is held out of that.
    contrast: ImageSet | None = None
    contrast_test: ImageSet | None = None
    part: Part | None = None

    @property
    def against(self) -> ImageSet | None:
        """What the circuit is measured on as contrast."""
        return self.contrast_test or self.contrast

    @property
    def fast(self) -> bool:
        """Whether it is scored in TF32."""
        return self.provenance.precision == "tf32"

    def arithmetic(self) -> AbstractContextManager[None]:
        """Within it the device computes as this job is scored."""
        return device.arithmetic(self.train.device, self.fast)

    def with_batches(self, size: int) -> Job:
        """The same with so many pictures at a time."""
        test, contrast, contrast_test = (
            replace(each, batch_size=size) if each else None for each in (self.test, self.contrast, self.contrast_test)
        )
        train = replace(self.train, batch_size=size)
        return replace(self, train=train, test=test, contrast=contrast, contrast_test=contrast_test)


@dataclass(frozen=True)
class PreparedRun:
    """A plan with its model, its pictures and its targets found and sound; `weights` is the model's fingerprint,
    `structure` that of what is computed with them. The plan, what its paths are relative to, where its values came
    from, and the options are what `prepare` was given."""

    plan: Plan
    folder: Path
    origins: Origins
    options: Options
    model: LoadedModel
    jobs: list[Job]
    sets: Sets
    weights: str
    structure: str = ""

    @property
    def device(self) -> torch.device:
        """Where the arithmetic is done."""
        return self.jobs[0].train.device


@dataclass(frozen=True)
class ResolvedInputs:
    """What a plan stands on, found and sound."""

    model: LoadedModel
    graph: Graph
    sets: Sets
    targets: dict[str, Target]


def prepare(plan: Plan, folder: Path, origins: Origins, options: Options) -> PreparedRun:
    """Load the model, read the pictures, find the targets. Raises InputError with everything that is wrong, each at
    the words it is about."""
    if refused := list(_refused(plan, origins)):
        raise InputError(refused)
    place = device.find(options.device)
    ground = _ground(plan, folder, origins, options, partial(load_model, place=place), lambda loaded: loaded)
    weights = fingerprint(ground.model.module)
    # What pictures become before they go in is in some models' files, not in the plan.
    network = weights, structure(ground.graph.module, place), str(ground.model.preprocess)
    # Circuits of one target share a subnetwork; what is edited in it is undone after each use.
    subnetworks: dict[str, TargetSubnetwork] = {}
    jobs = []
    for circuit in plan.circuits:
        target = ground.targets[circuit.id]
        train, unreadable = ground.sets[circuit.images]
        test: ImageSet | None
        if circuit.test is None:
            train, test = train.split(circuit.holdout, circuit.seed)
        else:
            test, more = ground.sets[circuit.test]
            test, unreadable = _held_out(test, train), [*unreadable, *more]
        contrast, contrast_test = _contrast(circuit, ground.sets)
        shown = train, test, contrast, contrast_test
        provenance = _provenance(plan, circuit, network, shown, unreadable, options.fast, ground.model.notes)
        # What is written alike may be two: a class by its number, and by a name of digits.
        key = repr(circuit.target)
        by = *network, *provenance.versions.values()
        if key not in subnetworks:
            subnetworks[key] = TargetSubnetwork(
                ground.graph, target, tensor_cache.responses(plan.network(circuit), *by)
            )
        contents = *by, train.digest, _digest(contrast), provenance.precision
        score_cache = tensor_cache.score_cache(plan.basis(circuit), _extensions(circuit), *contents)
        jobs.append(Job(circuit, subnetworks[key], train, test, provenance, score_cache, contrast, contrast_test))
    return PreparedRun(plan, folder, origins, options, ground.model, jobs, ground.sets, weights, network[1])


def _held_out(test: ImageSet, own: ImageSet) -> ImageSet | None:
    """The pictures that a circuit is to be judged by, less those it is found on; if there are any."""
    mine = set(own.digests)
    others = [number for number, each in enumerate(test.digests) if each not in mine]
    return test.take(others) if others else None


def _contrast(circuit: CircuitPlan, sets: Sets) -> tuple[ImageSet | None, ImageSet | None]:
    """What a circuit is contrasted with, less its own pictures, and what of that is held out as of its own."""
    if circuit.contrast is None:
        return None, None
    return _others(circuit, circuit.contrast, sets).split(circuit.holdout, circuit.seed)


def _others(circuit: CircuitPlan, contrast: str, sets: Sets) -> ImageSet:
    """What a set has besides a circuit's own pictures."""
    names = [name for name in (circuit.images, circuit.test) if name is not None]
    own = {each for name in names for each in sets[name][0].digests}
    every, _ = sets[contrast]
    return every.take([number for number, each in enumerate(every.digests) if each not in own])


def survey(plan: Plan, folder: Path, origins: Origins, options: Options) -> None:
    """Look at all that a run would use, without downloading or loading weights; the network is run with random ones.
    Raises InputError as `prepare` does."""
    _ground(plan, folder, origins, options, outline, partial(_drawn, plan.model, folder, options.allow_code))


def _drawn(model: Model, folder: Path, allow_code: bool, _loaded: LoadedModel) -> LoadedModel | None:
    """A network with random weights, the same every time, in the place of those that it would have to load; None where
    it is not known how to ask for them."""
    arguments = {
        word: value for word, value in model.arguments.items() if word not in ("weights", "state", "pretrained")
    }
    if model.source not in ("torchvision", "timm", "python", "bundled", "file"):
        return None
    if model.source in ("torchvision", "timm"):
        arguments["weights"] = "none"
    try:
        return load_model(msgspec.structs.replace(model, arguments=arguments), folder, allow_code)
    except InputError:
        # Builders that need weights, or other arguments for them.
        return None


def load_model(model: Model, folder: Path, allow_code: bool = False, place: torch.device | None = None) -> LoadedModel:
    """The network, with the preprocessing that the model statement overrides, on a device if one is given. Raises
    InputError."""
    said, arguments = apart(model.arguments)
    output = _output(arguments.pop("output", None))
    if model.source not in MODELS.declarations:
        raise InputError(Finding("E109", f"unknown model source '{model.source}'"))
    source = MODELS.load(model.source)
    loaded = source(model.name, arguments, PathResolver(folder, allow_code, _shape(said)))
    module = require_finite(single(loaded.module, place), str(model))

    def channels(crop: int, count: int) -> int:
        with untouched(module), quiet():
            return image_channels(private_copy(module).eval(), (crop, crop), count)

    preprocess = overridden(loaded.preprocess, said, channels)
    return replace(loaded, module=module, preprocess=preprocess, output=output)


def _shape(said: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Channels, height and width of images, as far as the model statement says how they are prepared."""
    size = said.get("crop", said.get("resize"))
    channels = said.get("image_channels", len(said.get("mean", said.get("std", (0, 0, 0)))))
    return (channels, size, size) if size else None


def _output(value: object) -> int | str | None:
    """What the model statement says of the output. Raises InputError where a plan was written by hand."""
    if value is None or (isinstance(value, (int, str)) and not isinstance(value, bool)):
        return value
    raise InputError(Finding("E202", f"output can't be {value!r}", None, "the number or the name of an output"))


def outline(model: Model, folder: Path, allow_code: bool = False) -> LoadedModel:
    """The network without its weights: tensors have shapes and nothing in them. Raises InputError."""
    with torch.device("meta"):
        return load_model(model, folder, allow_code)


def read_model(model: Model, folder: Path, allow_code: bool = False) -> tuple[LoadedModel, Graph]:
    """The network without its weights and what was found by tracing it, which is remembered for the compiler. Raises
    InputError."""
    loaded = outline(model, folder, allow_code)
    size = loaded.preprocess.crop, loaded.preprocess.crop
    try:
        graph = trace(loaded.module, size, loaded.preprocess.channels)
    except InputError:
        # Code may look at the values of weights.
        drawn = _drawn(model, folder, allow_code, loaded)
        if drawn is None:
            raise
        graph = trace(drawn.module, size, loaded.preprocess.channels)
    if loaded.output is not None:
        choose(outputs(graph.module), loaded.output)
    remember(model, graph.widths(), [layer.name for layer in graph.layers])
    return loaded, graph


def weights_notes(loaded: LoadedModel, place: Span | None) -> list[Finding]:
    """Return the warnings about weights that are not a plain state dict."""
    return [Finding("W305", "the weights are not a plain state dict", place, note) for note in loaded.notes]


def _ground(
    plan: Plan,
    folder: Path,
    origins: Origins,
    options: Options,
    load: Callable[..., LoadedModel],
    run: Callable[[LoadedModel], LoadedModel | None],
) -> ResolvedInputs:
    """`load` gives the network, `run` one like it with weights, to be run; without it the network is traced alone."""
    findings: list[Finding] = []
    loaded: LoadedModel | None = None
    network: Verified | None = None
    with collect(findings, origins, ("model",)):
        loaded = load(plan.model, folder, allow_code=options.allow_code)
        for note in weights_notes(loaded, origins.get(("model",))):
            options.note(note)
    sets = _sets(plan, folder, loaded.preprocess if loaded else _ANY, origins, options, findings)
    if loaded:
        with collect(findings, origins, ("model",)):
            network = _verified(plan.model, loaded, run, _few(sets))
            graph = network.graph
            if loaded.output is not None:
                choose(outputs(graph.module), loaded.output)
            remember(plan.model, graph.widths(), [layer.name for layer in graph.layers])
    targets = _targets(plan, loaded, network.graph, origins, findings) if loaded and network else {}
    for circuit in plan.circuits:
        with collect(findings, origins, ("circuits", circuit.id, "contrast")):
            _check_contrast(circuit, sets)
    if network and network.doubt:
        doubts = [network.doubt.about(target.step, network.graph.module) for target in targets.values()]
        with collect(findings, origins, ("model",)):
            if found := next(filter(None, doubts), None):
                raise InputError(found)
    if findings or loaded is None or network is None:
        raise InputError(findings)
    return ResolvedInputs(loaded, network.graph, sets, targets)


def _verified(
    model: Model, loaded: LoadedModel, run: Callable[[LoadedModel], LoadedModel | None], images: Tensor | None
) -> Verified:
    """The traced network, compared with the one that was given on some images; what agreed once is remembered by its
    content where that is a package's code and weights. Raises InputError."""
    size = loaded.preprocess.crop, loaded.preprocess.crop
    channels = loaded.preprocess.channels
    given = run(loaded) if images is not None else None
    if images is None or given is None:
        return Verified(trace(loaded.module, size, channels))
    score_cache = _remembered(model, given, size)
    found = score_cache.read() if score_cache else None
    if found is not None:
        method = tracing_methods(given.module)[int(found["way"])][1]
        return Verified(trace_with(given.module, size, method, channels))
    network = verified(given.module, size, images)
    if score_cache and not network.doubt:
        score_cache.put(None, {"way": torch.tensor(network.graph.module.meta["way"])})
    return network


def _remembered(model: Model, given: LoadedModel, size: tuple[int, int]) -> ScoreCache | None:
    """Where it is kept in which way a network was read; None for code that may change."""
    try:
        edition = version(model.source)
    except PackageNotFoundError:
        return None
    contents = fingerprint(given.module), str(size), edition, version("torch")
    return tensor_cache.responses(digest(f"way {model}".encode()), *contents)


def _few(sets: Sets) -> Tensor | None:
    """A few of a plan's images, as the network's input; None where there are none."""
    pool = [(pictures, number) for pictures, _ in sets.values() for number in range(len(pictures))]
    chosen = pool[:: max(1, len(pool) // IMAGES)][:IMAGES]
    batches = [replace(pictures.take([number]), track=no_progress).batches("") for pictures, number in chosen]
    return as_batch([batch for each in batches for batch in each])


def _targets(
    plan: Plan, model: LoadedModel, graph: Graph, origins: Origins, findings: list[Finding]
) -> dict[str, Target]:
    targets: dict[str, Target] = {}
    # That the model statement names no output was said of the statement.
    named = not any(finding.code == "E314" for finding in findings)
    for circuit in plan.circuits:
        with collect(findings, origins, ("circuits", circuit.id, "criterion")):
            check_criterion(circuit.criterion)
        if isinstance(circuit.target, ClassOutput) and not named:
            continue
        with collect_target(findings, origins, circuit.id):
            targets[circuit.id] = resolve(circuit.target, graph, model.classes, model.output)
    return targets


def _check_contrast(circuit: CircuitPlan, sets: Sets) -> None:
    """Raises InputError where nothing is left to contrast with, or a plan was written by hand and its criterion can't
    be contrasted."""
    if circuit.contrast is None:
        return
    criterion = circuit.criterion
    if not contrastable(criterion.name, criterion.parameters, CRITERIA.declarations):
        raise InputError(uncontrasted(criterion.name, CRITERIA.declarations))
    names = {circuit.images, circuit.test or circuit.images, circuit.contrast}
    if names <= sets.keys() and not _others(circuit, circuit.contrast, sets):
        message = f"nothing is left to contrast {circuit.images} with"
        raise InputError(Finding("E301", message, None, f"every image of {circuit.contrast} is one of its own"))


def check_criterion(choice: Choice) -> None:
    """Raises InputError where a plan was written by hand and names what isn't there."""
    known = CRITERIA.declarations
    if choice.name not in known:
        raise InputError(_unknown(choice.name))
    parameters = known[choice.name].parameters
    for word, value in choice.parameters.items():
        parameter = known[choice.name].parameter(word)
        if parameter is None:
            cure = did_you_mean(word, [each.name for each in parameters])
            raise InputError(Finding("E105", f"{choice.name} has no parameter '{word}'", None, "", cure))
        if not parameter.accepts(value):
            raise InputError(Finding("E202", f"{word} of {choice.name} can't be {value!r}", None, parameter.type))
        if parameter.type == "CriterionName" and value not in known:
            raise InputError(_unknown(str(value)))


def _unknown(criterion: str) -> Finding:
    known = CRITERIA.declarations
    label = f"there are {listing(sorted(known))}"
    return Finding("E103", f"unknown criterion '{criterion}'", None, label, did_you_mean(criterion, known))


def _sets(
    plan: Plan, folder: Path, preprocess: Preprocess, origins: Origins, options: Options, findings: list[Finding]
) -> Sets:
    sets: Sets = {}
    for name, images in plan.images.items():
        with collect(findings, origins, ("images", name)):
            paths = find(images, folder)
            shown = options.track(iter(paths), f"reading {name}", len(paths))
            pictures, bad = load(shown, preprocess, options.skip_unreadable)
            place = device.find(options.device)
            size = options.batch_size or device.batch_size(place)
            sets[name] = replace(pictures, batch_size=size, device=place, track=options.track), bad
    return sets


def _refused(plan: Plan, origins: Origins) -> Iterator[Finding]:
    """What the language can say and this version can't do yet."""
    for circuit in plan.circuits:
        for word, reason in refusals(circuit).items():
            span = origins.get(("circuits", circuit.id, word)) or origins.get(("circuits", circuit.id))
            yield Finding("E320", f"this version can't run {reason}", span, "it can be checked and planned")


def refusals(circuit: CircuitPlan) -> dict[str, str]:
    """Why this version can't run a circuit, by the part of it that is about; empty where it can."""
    mixed = circuit.structure == "weight" and circuit.ablation.name != "zero"
    reasons = {
        "ablation": f"ablation={circuit.ablation} with structure=weight" if mixed else "",
    }
    return {word: reason for word, reason in reasons.items() if reason}


@contextmanager
def collect(findings: list[Finding], origins: Origins, key: Key) -> Iterator[None]:
    """What goes wrong inside becomes findings at the place that a key of the plan came from."""
    try:
        yield
    except InputError as error:
        for finding in error.findings:
            span = finding.span
            for length in range(len(key), 0, -1):
                span = span or origins.get(key[:length])
            findings.append(replace(finding, span=span))


@contextmanager
def collect_target(findings: list[Finding], origins: Origins, circuit: str) -> Iterator[None]:
    """`collect`, at the layer of a circuit's target or, for what is wrong about a unit of it, at that."""
    key: Key = ("circuits", circuit, "target")
    try:
        yield
    except InputError as error:
        for finding in error.findings:
            with collect(findings, origins, (*key, "unit" if finding.code in _OF_A_UNIT else "layer")):
                raise InputError(finding) from None


def _provenance(
    plan: Plan,
    circuit: CircuitPlan,
    network: tuple[str, str, str],
    pictures: Sequence[ImageSet | None],
    unreadable: list[str],
    fast: bool,
    notes: tuple[str, ...],
) -> Provenance:
    """Where a circuit comes from; `network` has hashes of the weights and of what is computed with them, and how
    pictures are prepared; `pictures` are those it is found on, judged by, contrasted with, and judged by as contrast.
    """
    train, test, *contrast = map(_digest, pictures)
    versions = {name: version(name) for name in ("circuitlang", "torch", "torchvision", "pillow")}
    versions["python"] = platform.python_version()
    # Without a pass nothing is multiplied; for a split there is one whatever its criterion.
    multiplied = circuit.into is not None or passes_of(circuit.criterion.name, circuit.criterion.parameters) > 0
    precision: Literal["float32", "tf32"] = "tf32" if fast and multiplied else "float32"
    code = versions["circuitlang"], tensor_cache.outside(_extensions(circuit))
    parts = (plan.identity(circuit), *network, train, test, *contrast, *code, precision)
    return Provenance(
        identity=digest("\n".join(parts).encode()),
        weights=network[0],
        train_images=train,
        test_images=test,
        contrast_images="-".join(filter(None, contrast)),
        precision=precision,
        versions=versions,
        unreadable=unreadable,
        weights_notes=[*notes],
    )


def _extensions(circuit: CircuitPlan) -> set[str]:
    """The names of what has a say in a circuit and may lie outside the engine."""
    choices = circuit.criterion, circuit.ablation
    words = {value for choice in choices for value in choice.parameters.values() if isinstance(value, str)}
    return {*words, *(choice.name for choice in choices)}


def _digest(pictures: ImageSet | None) -> str:
    return pictures.digest if pictures else ""
