"""Plan → results: everything prepared, so that every mistake is found before work begins; then circuit by circuit."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from circuitlang.compiler.plan import Circuit as CircuitPlan
from circuitlang.compiler.plan import Key, Origins, Plan, digest
from circuitlang.engine import exemplars
from circuitlang.engine.contracts import ABLATIONS, MODELS, LoadedModel, Masks, Scores, Track, untracked
from circuitlang.engine.graph import Layer, Step
from circuitlang.engine.images import Pictures, find, load
from circuitlang.engine.intervene import Section, Target
from circuitlang.engine.measure import measure, responses
from circuitlang.engine.result import Circuit, Kernels, Provenance, Result, Summary, Wire
from circuitlang.engine.result import Layer as LayerResult
from circuitlang.engine.score import score
from circuitlang.engine.select import budget, count, select
from circuitlang.engine.trace import trace
from circuitlang.engine.weights import fingerprint
from circuitlang.errors import Finding, InputError


@dataclass(frozen=True)
class Options:
    """What has no say in the result: how it is shown, and whether broken pictures stop the run."""

    skip_unreadable: bool = False
    batch_size: int = 16
    track: Track = untracked


@dataclass(frozen=True)
class Job:
    """A circuit that is ready to be computed; `provenance.identity` tells whether it was before."""

    plan: CircuitPlan
    section: Section
    train: Pictures
    test: Pictures | None
    provenance: Provenance


@dataclass(frozen=True)
class Prepared:
    """A plan with its model, its pictures and its targets found and sound."""

    plan: Plan
    model: LoadedModel
    jobs: list[Job]


def prepare(plan: Plan, folder: Path, origins: Origins, options: Options) -> Prepared:
    """Load the model, read the pictures, find the targets. Raises InputError with everything that is wrong, each at
    the words it is about."""
    findings: list[Finding] = []
    with _collect(findings, origins, ("model",)):
        model = _model(plan, folder)
        graph = trace(model.module, (model.preprocess.crop, model.preprocess.crop))
    if findings:
        # Pictures and targets can't be judged without a model; files can.
        for name, images in plan.images.items():
            with _collect(findings, origins, ("images", name)):
                find(images, folder)
        raise InputError(findings)
    sets = _sets(plan, folder, model, origins, options, findings)
    targets: dict[str, Target] = {}
    for circuit in plan.circuits:
        key: Key = ("circuits", circuit.id, "target")
        with _collect(findings, origins, (*key, "layer")):
            step = graph.find(circuit.target.layer)
            with _collect(findings, origins, (*key, "unit")):
                targets[circuit.id] = _channel(step, circuit.target.unit, circuit.target.layer)
    if findings:
        raise InputError(findings)
    weights = fingerprint(model.module)
    # Circuits of one target share a section; what is masked in it is undone after each use.
    sections = {(target.step.name, target.unit): Section(graph, target) for target in targets.values()}
    jobs = []
    for circuit in plan.circuits:
        target = targets[circuit.id]
        train, unreadable = sets[circuit.images]
        test: Pictures | None
        if circuit.test is None:
            train, test = train.split(circuit.holdout, circuit.seed)
        else:
            test, more = sets[circuit.test]
            unreadable = [*unreadable, *more]
        provenance = _provenance(plan, circuit, weights, train, test, unreadable)
        jobs.append(Job(circuit, sections[target.step.name, target.unit], train, test, provenance))
    return Prepared(plan, model, jobs)


def execute(prepared: Prepared, job: Job) -> Result:
    """Find one circuit and measure it."""
    section, plan = job.section, job.plan
    relevant = count(section.relevant)
    asked = budget(plan.size, relevant)
    scores = score(section, job.train, plan.criterion.name, plan.criterion.parameters, asked, plan.seed)
    masks = select(scores, section.relevant, asked)
    units = torch.tensor([plan.target.unit])
    effective = section.graph.live(section.target.step.name, units, masks)
    stand_in = ABLATIONS.load(plan.ablation.name)
    stand_ins = {path: stand_in(weight, **plan.ablation.parameters) for path, weight in section.weights.items()}
    fidelity = {}
    for name, images in (("train", job.train), ("test", job.test)):
        if images is not None:
            original = responses(section, images, "the network's responses")
            circuit = responses(section, images, "the circuit's responses", masks, stand_ins)
            fidelity[name] = measure(original, circuit)
    summary = Summary(
        plan=plan,
        model=prepared.plan.model,
        relevant=relevant,
        asked=asked,
        kept=count(masks),
        effective=count(effective),
        layers=[_layer(section, layer, masks, effective) for layer in section.layers],
        train=fidelity["train"],
        test=fidelity.get("test"),
        provenance=job.provenance,
    )
    found = _circuit(section, scores, masks, effective)
    return Result(summary, found, exemplars.collect(section, job.train, found))


def _model(plan: Plan, folder: Path) -> LoadedModel:
    """The network, with the preprocessing that the model statement overrides."""
    arguments = dict(plan.model.arguments)
    overrides = {word: arguments.pop(word) for word in ("resize", "crop", "mean", "std") if word in arguments}
    if plan.model.source not in MODELS.declarations:
        raise InputError(Finding("E109", f"unknown model source '{plan.model.source}'"))
    source = MODELS.load(plan.model.source)
    model = source(plan.model.name, arguments, lambda path: folder / path)
    changes = {word: tuple(value) if isinstance(value, list) else value for word, value in overrides.items()}
    preprocess = replace(model.preprocess, **changes)  # type: ignore[arg-type]
    if preprocess.crop > preprocess.resize:
        message = f"crop ({preprocess.crop}) is larger than resize ({preprocess.resize})"
        raise InputError(Finding("E203", message, None, "", f"add resize={preprocess.crop}"))
    return replace(model, preprocess=preprocess)


def _sets(
    plan: Plan, folder: Path, model: LoadedModel, origins: Origins, options: Options, findings: list[Finding]
) -> dict[str, tuple[Pictures, list[str]]]:
    """The pictures of every image set, and what is wrong with those that were left out."""
    sets = {}
    for name, images in plan.images.items():
        with _collect(findings, origins, ("images", name)):
            paths = find(images, folder)
            shown = options.track(iter(paths), f"reading {name}", len(paths))
            pictures, bad = load(shown, model.preprocess, options.skip_unreadable)
            sets[name] = replace(pictures, batch_size=options.batch_size, track=options.track), bad
    return sets


def _channel(step: Step, unit: int, layer: str) -> Target:
    if not 0 <= unit < step.width:
        raise InputError(
            Finding("E111", f"{layer} has no channel {unit}", None, f"its channels are 0 to {step.width - 1}")
        )
    return Target(step, unit)


@contextmanager
def _collect(findings: list[Finding], origins: Origins, key: Key) -> Iterator[None]:
    """What goes wrong inside becomes findings at the place that a key of the plan came from."""
    try:
        yield
    except InputError as error:
        for finding in error.findings:
            span = finding.span
            for length in range(len(key), 0, -1):
                span = span or origins.get(key[:length])
            findings.append(replace(finding, span=span))


def _provenance(
    plan: Plan, circuit: CircuitPlan, weights: str, train: Pictures, test: Pictures | None, unreadable: list[str]
) -> Provenance:
    versions = {name: version(name) for name in ("circuitlang", "torch", "torchvision", "pillow")}
    versions["python"] = platform.python_version()
    parts = (plan.identity(circuit), weights, train.digest, test.digest if test else "", versions["circuitlang"])
    return Provenance(
        identity=digest("\n".join(parts).encode()),
        weights=weights,
        train_images=train.digest,
        test_images=test.digest if test else "",
        versions=versions,
        unreadable=unreadable,
    )


def _layer(section: Section, layer: Layer, masks: Masks, effective: Masks) -> LayerResult:
    weight = section.weights[layer.path]
    relevant = section.relevant[layer.path]
    return LayerResult(
        name=layer.name,
        path=layer.path,
        kind=layer.kind,
        out_channels=layer.out_channels,
        in_channels=layer.in_channels,
        groups=layer.groups,
        relevant=int(relevant.sum()),
        zero=int((relevant & (weight == 0).all(-1).all(-1)).sum()),
        kept=int(masks[layer.path].sum()),
        effective=int(effective[layer.path].sum()),
    )


def _circuit(section: Section, scores: Scores, masks: Masks, effective: Masks) -> Circuit:
    weights = section.weights
    kernels = tuple(
        _kernels(layer, scores[layer.path], masks[layer.path], effective[layer.path], weights[layer.path])
        for layer in section.layers
    )
    number = {layer.path: index for index, layer in enumerate(section.layers)}
    wires = []
    for layer in section.layers:
        source, origin, channel = section.graph.feeders(layer)
        renumbered = [number[section.graph.layers[each].path] if each >= 0 else -1 for each in origin.tolist()]
        wires.append(Wire(source.numpy(), torch.tensor(renumbered, dtype=torch.long).numpy(), channel.numpy()))
    return Circuit(kernels, tuple(wires))


def _kernels(layer: Layer, scores: Tensor, mask: Tensor, effective: Tensor, weight: Tensor) -> Kernels:
    row, column = mask.nonzero(as_tuple=True)
    order = torch.sort(scores[row, column], descending=True, stable=True).indices
    row, column = row[order], column[order]
    return Kernels(
        target=row.numpy(),
        source=layer.sources()[row, column].numpy(),
        score=scores[row, column].numpy(),
        weight=weight[row, column].float().cpu().numpy(),
        effective=effective[row, column].numpy(),
    )
