"""Plan → jobs: the model loaded, the images read, the targets found, so that every mistake is found before work
begins. `survey` finds the same mistakes without the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine import device
from circuitlang.engine.cache import tensor_cache
from circuitlang.engine.cache.receipts import now
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelNode
from circuitlang.engine.graph.target_verification import wrong_targets
from circuitlang.engine.graph.targets import Target, resolve
from circuitlang.engine.graph.trace_verification import IMAGES, Verified, as_batch, verified
from circuitlang.engine.graph.tracer import trace, trace_with
from circuitlang.engine.graph.tracing_methods import tracing_methods
from circuitlang.engine.images.file_patterns import find
from circuitlang.engine.images.image_receipts import remember_images
from circuitlang.engine.images.image_set import ImageSet, load
from circuitlang.engine.images.memory import memory_set
from circuitlang.engine.models.outputs import choose, outputs
from circuitlang.engine.models.weights import fingerprint, structure
from circuitlang.engine.runtime.circuit_images import (
    check_also,
    check_circuit_concept,
    check_contrast,
    check_edit_concepts,
)
from circuitlang.engine.runtime.concept_probe import ConceptProbe, Probes
from circuitlang.engine.runtime.edited_parts import find_part
from circuitlang.engine.runtime.known_job import KnownJob, known_job
from circuitlang.engine.runtime.model_loading import drawn_model, load_model, outline, remember_graph
from circuitlang.engine.runtime.model_receipts import remember_model
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.runtime.plan_checks import (
    check_criterion,
    collect,
    collect_target,
    refused_findings,
    weights_notes,
)
from circuitlang.engine.runtime.work_request import WorkRequest
from circuitlang.plan.edits import OfChannels
from circuitlang.plan.model import IN_MEMORY, MEMORY, Key, Model, OfClasses, Origins, Plan, digest
from circuitlang.plugins.loaded_model import LoadedModel
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.plugins.progress import no_progress
from circuitlang.plugins.protocols import Masks

# The images of each set, and the problems of those that were left out.
Sets = dict[str, tuple[ImageSet, list[str]]]
# Images are looked at even where there is no model to say how to prepare them.
_ANY = Preprocess(1, 1, (), ())


@dataclass(frozen=True, kw_only=True)
class Job(KnownJob[ImageSet]):
    """A circuit, or a split, that is ready to be computed.

    Attributes:
        subnetwork: What its target depends on.
        among: Kernels [out, in / groups] of the circuit that it is within, as soon as they are found.
    """

    subnetwork: TargetSubnetwork
    probe: ConceptProbe | None
    within: Job | None
    among: Masks | None = field(default=None, compare=False)

    def builder(self, images: ImageSet | None = None) -> Builder:
        """Return the builder of its circuits, from its own images or from others."""
        return Builder.of(self.plan, self.subnetwork, images or self.train, self.among)

    @property
    def fast(self) -> bool:
        """True if the job is scored in TF32."""
        return self.provenance.precision == "tf32"

    def arithmetic(self) -> AbstractContextManager[None]:
        """Compute within the block as this job is scored."""
        return device.arithmetic(self.train.device, self.fast)

    def with_batches(self, size: int) -> Job:
        """The same with so many images at a time."""
        test, contrast, contrast_test = (
            replace(images, batch_size=size) if images else None
            for images in (self.test, self.contrast, self.contrast_test)
        )
        train = replace(self.train, batch_size=size)
        also = {name: replace(images, batch_size=size) for name, images in self.also.items()}
        if self.probe is not None:
            self.probe.batch_size = size
        within = self.within and self.within.with_batches(size)
        return replace(
            self, train=train, test=test, contrast=contrast, contrast_test=contrast_test, also=also, within=within
        )


@dataclass(frozen=True)
class PreparedRun(WorkRequest):
    """A plan with its model, its images and its targets found and sound; `weights` is the model's fingerprint,
    `structure` that of what is computed with them. The plan, what its paths are relative to, where its values came
    from, and the options are what `prepare` was given."""

    model: LoadedModel
    jobs: list[Job]
    sets: Sets
    weights: str
    graph: Graph
    structure: str
    probes: Probes

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        return device.find(self.options.device)

    @property
    def prepared(self) -> str:
        """The preparation of images, as text."""
        return str(self.model.preprocess)


@dataclass(frozen=True)
class ResolvedInputs:
    """The inputs of a plan, found and valid."""

    model: LoadedModel
    graph: Graph
    sets: Sets
    targets: dict[str, Target]
    # Something in the network was found to be in doubt, of which no target of the plan is.
    doubtful: bool = False


def prepare(plan: Plan, folder: Path, origins: Origins, options: Options) -> PreparedRun:
    """Load the model, read the images, find the targets. Raises InputError with everything that is wrong, each at
    the words it is about."""
    if refused := list(refused_findings(plan, origins)):
        raise InputError(refused)
    place = device.find(options.device)
    load: Callable[..., LoadedModel] = partial(load_model, place=place, track=options.track)
    if plan.model.source == IN_MEMORY and options.memory and options.memory.model is not None:
        load = partial(options.memory.load, place)
    begin = now()
    ground = _ground(plan, folder, origins, options, load, lambda loaded: loaded)
    weights = fingerprint(ground.model.module)
    # Some models' files, not the plan, say how images are prepared.
    network = weights, structure(ground.graph.module, place), str(ground.model.preprocess)
    if options.memory is None and not ground.doubtful:
        remember_model(plan.model, folder, ground.model, ground.graph, network[:2], begin)
    # Circuits of one target share a subnetwork; what is edited in it is undone after each use.
    subnetworks: dict[str, TargetSubnetwork] = {}
    probes = Probes(plan, ground.graph, network)

    def ready(known: KnownJob[ImageSet], target: Target) -> Job:
        within = ready(known.within, target) if known.within else None
        probe = probes.of(known.plan.target, target.step, known.concept) if known.concept else None
        # Targets that are written alike may differ: a class by its number, and by a name of digits; a concept by its
        # images that are held out.
        key = f"{known.plan.target!r} {known.concept.digest if known.concept else ''}"
        if key not in subnetworks:
            target = target.learned_by(partial(getattr, probe, "direction")) if probe else target
            subnetworks[key] = TargetSubnetwork(ground.graph, target, known.responses)
        return Job(**{**vars(known), "probe": probe, "within": within, "subnetwork": subnetworks[key]})

    how = network, ground.sets, options.fast, ground.model.notes
    jobs = [ready(known_job(plan, circuit, *how), ground.targets[circuit.id]) for circuit in plan.circuits]
    return PreparedRun(
        plan, folder, origins, options, ground.model, jobs, ground.sets, weights, ground.graph, network[1], probes
    )


def survey(plan: Plan, folder: Path, origins: Origins, options: Options) -> None:
    """Look at all that a run would use, without loading weights; the network is run with random ones.

    Published weights are not downloaded; files on the Hub are. Raises InputError as `prepare` does.
    """
    shapes = partial(outline, track=options.track)
    _ground(plan, folder, origins, options, shapes, partial(drawn_model, plan.model, folder, options.allow_code))


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
    original: LoadedModel | None = None
    with collect(findings, origins, ("model",)):
        loaded = load(plan.model, folder, allow_code=options.allow_code)
        for note in weights_notes(loaded.notes, origins.get(("model",))):
            options.listener.noted(note)
    sets = _sets(plan, folder, loaded.preprocess if loaded else _ANY, origins, options, findings)
    few = _few(sets) if loaded else None
    if loaded:
        with collect(findings, origins, ("model",)):
            original = run(loaded) if few is not None else None
            network = _verified(plan.model, loaded, original, few)
            graph = network.graph
            if loaded.output is not None:
                choose(outputs(graph.module), loaded.output)
            remember_graph(plan.model, graph)
    targets = _targets(plan, loaded, network.graph, origins, findings) if loaded and network else {}
    edited = list(_edited(plan, loaded, network.graph, origins, findings)) if loaded and network else []
    if network and original and few is not None and not network.doubt:
        _check_targets(plan, targets, network.graph, original, few, origins, findings)
    for circuit in plan.circuits:
        with collect_target(findings, origins, ("circuits", circuit.id, "target")):
            check_circuit_concept(circuit, sets)
        with collect(findings, origins, ("circuits", circuit.id, "contrast")):
            check_contrast(circuit, sets)
        with collect(findings, origins, ("circuits", circuit.id, "also")):
            check_also(circuit, sets)
    for edit in plan.edited:
        with collect_target(findings, origins, ("edits", edit.name, "measure")):
            check_edit_concepts(edit, plan.circuits, sets)
    if network and network.doubt:
        steps = [*(target.step for target in targets.values()), *edited]
        doubts = [network.doubt.about(step, network.graph.module) for step in steps]
        with collect(findings, origins, ("model",)):
            if doubt := next(filter(None, doubts), None):
                raise InputError(doubt)
    if findings or loaded is None or network is None:
        raise InputError(findings)
    return ResolvedInputs(loaded, network.graph, sets, targets, bool(network.doubt))


def _verified(model: Model, loaded: LoadedModel, original: LoadedModel | None, images: Tensor | None) -> Verified:
    """Return the traced network, compared with the one that was given on some images. Raises InputError.

    What agreed once is remembered by its content where that is a package's code and weights.
    """
    size = loaded.preprocess.crop, loaded.preprocess.crop
    channels = loaded.preprocess.channels
    if images is None or original is None:
        return Verified(trace(loaded.module, size, channels))
    score_cache = _remembered(model, original, images, "way")
    entry = score_cache.read() if score_cache else None
    if entry is not None:
        method = tracing_methods(original.module)[int(entry["way"])][1]
        return Verified(trace_with(original.module, size, method, channels))
    network = verified(original.module, size, images)
    if score_cache and not network.doubt:
        score_cache.put(None, {"way": torch.tensor(network.graph.module.meta["way"])})
    return network


def _check_targets(
    plan: Plan,
    targets: dict[str, Target],
    graph: Graph,
    original: LoadedModel,
    images: Tensor,
    origins: Origins,
    findings: list[Finding],
) -> None:
    """Add a finding for each circuit whose target is not what the network's own module gives."""
    layers: dict[str, Key] = {}
    for circuit in plan.circuits:
        if circuit.id in targets and not isinstance(circuit.target, OfClasses):
            layers.setdefault(circuit.target.layer, ("circuits", circuit.id, "target"))
    for edit in plan.edited:
        if isinstance(edit.of, OfChannels):
            layers.setdefault(edit.of.layer, ("edits", edit.name, "of"))
        for number, target in enumerate(edit.measure):
            if not isinstance(target, OfClasses):
                layers.setdefault(target.layer, ("edits", edit.name, "measure", str(number)))
    score_cache = _remembered(plan.model, original, images, f"targets {sorted(layers)}") if layers else None
    if not layers or (score_cache and score_cache.read() is not None):
        return
    wrong = wrong_targets(graph, original.module, images, layers)
    for layer, finding in wrong.items():
        with collect_target(findings, origins, layers[layer]):
            raise InputError(finding)
    if score_cache and not wrong:
        score_cache.put(None, {"agree": torch.tensor(True)})


def _remembered(model: Model, original: LoadedModel, images: Tensor, what: str) -> ScoreCache | None:
    """Return where a fact about a network's code and weights is stored; None for code that may change."""
    if model.source == IN_MEMORY:
        return None
    try:
        edition = version(model.source)
    except PackageNotFoundError:
        return None
    contents = fingerprint(original.module), str(tuple(images.shape[2:])), edition, version("torch")
    return tensor_cache.responses(digest(f"{what} {model}".encode()), *contents)


def _few(sets: Sets) -> Tensor | None:
    """A few of a plan's images, as the network's input; None where there are none."""
    pool = [(pictures, number) for pictures, _ in sets.values() for number in range(len(pictures))]
    chosen = pool[:: max(1, len(pool) // IMAGES)][:IMAGES]
    batches = [replace(pictures.take([number]), track=no_progress).batches("") for pictures, number in chosen]
    return as_batch([batch for part in batches for batch in part])


def _targets(
    plan: Plan, model: LoadedModel, graph: Graph, origins: Origins, findings: list[Finding]
) -> dict[str, Target]:
    targets: dict[str, Target] = {}
    # A missing output was reported at the model statement.
    named = not any(finding.code == "E314" for finding in findings)
    for circuit in plan.circuits:
        with collect(findings, origins, ("circuits", circuit.id, "criterion")):
            check_criterion(circuit.criterion)
        if isinstance(circuit.target, OfClasses) and not named:
            continue
        with collect_target(findings, origins, ("circuits", circuit.id, "target")):
            targets[circuit.id] = resolve(circuit.target, graph, model.classes, model.output)
    return targets


def _edited(
    plan: Plan, model: LoadedModel, graph: Graph, origins: Origins, findings: list[Finding]
) -> Iterator[ChannelNode]:
    """Yield the steps that edits measure, and add a finding for what an edit names and the network lacks."""
    for edit in plan.edited:
        with collect_target(findings, origins, ("edits", edit.name, "of")):
            find_part(edit, graph)
        for number, target in enumerate(edit.measure):
            with collect_target(findings, origins, ("edits", edit.name, "measure", str(number))):
                yield resolve(target, graph, model.classes, model.output).step
        if edit.classes:
            with collect(findings, origins, ("edits", edit.name)):
                yield graph.output(model.output)


def _sets(
    plan: Plan, folder: Path, preprocess: Preprocess, origins: Origins, options: Options, findings: list[Finding]
) -> Sets:
    sets: Sets = {}
    for name, images in plan.images.items():
        with collect(findings, origins, ("images", name)):
            bad: list[str] = []
            held = options.memory.images if options.memory else {}
            if held and any(pattern.startswith(MEMORY) for pattern in images.include):
                pictures = memory_set(images, held, preprocess)
            else:
                paths = find(images, folder, options.track)
                shown = options.track(iter(paths), f"reading {name}", len(paths))
                begin = now()
                pictures, bad = load(shown, preprocess, options.skip_unreadable, images.transformed)
                remember_images(paths, str(preprocess), pictures, bad, begin)
            place = device.find(options.device)
            size = options.batch_size or device.batch_size(place)
            sets[name] = replace(pictures, batch_size=size, device=place, track=options.track), bad
    return sets
