"""Validate what was read from a folder as a circuit, a split or a comparison: numbers are in their ranges, and parts
fit one another.

JSON and safetensors say of what type a value is. Everything that shows or uses a finished circuit relies on more than
that, and on this alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from operator import le
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.deferred import np
from circuitlang.plan.model import is_folder_name
from circuitlang.results.comparison import Comparison
from circuitlang.results.split import Split
from circuitlang.results.types import ChannelSources, Circuit, Fidelity, KeptKernels, LayerEdit, LayerSummary, Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from circuitlang.results.edit import EditResult

# No count is larger, and no measurement.
_COUNT, _MEASURED = 1 << 53, 1e30
# All kernels of a circuit's layers, kept or not: as many bytes as its masks take.
_KERNELS = 1 << 31


class UnsoundError(ValueError):
    """A part of a result that doesn't fit the others."""


def sound_summary(summary: Summary) -> None:
    """Raises UnsoundError where `circuit.json` can't be a circuit's."""
    _numbers(msgspec.to_builtins(summary), "")
    _name(summary.plan.id)
    if summary.part is not None:
        _name(summary.part.of)
        _demand(1 <= summary.part.number <= summary.part.parts, "part.number is not one of part.parts")
    _demand(0 <= summary.effective <= summary.kept <= summary.relevant, "it keeps more kernels than there are")
    _demand(len({layer.path for layer in summary.layers}) == len(summary.layers) > 0, "two layers are the same")
    for layer in summary.layers:
        _layer(layer)
    total = sum(layer.out_channels * layer.in_channels // layer.groups for layer in summary.layers)
    _demand(total <= _KERNELS, "its layers have more kernels than any network")
    _fidelities(summary)
    if summary.probe is not msgspec.UNSET:
        probe = summary.probe
        shares = probe.accuracy, probe.p, probe.fitted_accuracy
        _demand(all(0 <= share <= 1 for share in shares), "a share or probability of its probe is none")
        _demand(all(map(le, probe.right, probe.held_out)), "its probe tells more images right than there are")
        _demand(min(*probe.right, *probe.held_out, *probe.fitted) >= 0, "its probe has a negative number of images")
    if summary.classes is not msgspec.UNSET:
        check = summary.classes
        shares = check.agreement, check.network, check.circuit
        _demand(all(0 <= share <= 1 for share in shares), "a share or probability of its class is none")
        _demand(all(change.images > 0 for change in check.confusion), "a confusion of classes is one of no image")
    for name, outcome in summary.tests.items():
        _demand(outcome.p is None or 0 <= outcome.p <= 1, f"the p of {name} is no probability")
        for share in (outcome.share, outcome.bootstrap):
            _demand(share is msgspec.UNSET or 0 <= share <= 1, f"a share of {name} is none")
        _demand(outcome.p is None or outcome.statistic is not None, f"{name} has a p without a statistic")
    bounds = len(summary.plan.bounds)
    _demand(all(len(trial.values) == bounds for trial in summary.walk), "a size of the walk lacks a bound")
    tried = {trial.kernels for trial in summary.walk}
    _demand(summary.plan.size is not None or summary.asked in tried, "its own size is not among those of the walk")


def _layer(layer: LayerSummary) -> None:
    where = f"layer {layer.name}"
    sizes = layer.out_channels, layer.in_channels, layer.groups
    _demand(min(sizes) > 0, f"{where} has no channels")
    _demand(layer.in_channels % layer.groups == 0, f"{where} has groups of unequal size")
    _demand(0 <= layer.effective <= layer.kept <= layer.relevant, f"{where} keeps more kernels than it has")
    shares = [] if layer.shares is msgspec.UNSET else layer.shares
    _demand(len(shares) <= layer.kept, f"{where} has shares of more kernels than it keeps")
    _demand(all(0 <= share <= 1 for share in shares), f"a share of {where} is none")
    _demand(layer.zero >= 0, f"{where} has a negative number of kernels")


def _fidelities(summary: Summary) -> None:
    names = summary.train.metrics.keys()
    _demand([*summary.also] == summary.plan.also, "it was measured on other images besides than its plan says")
    robust = summary.robust or {}
    _demand({*robust} <= {*(summary.plan.robust or ())}, "it was measured under other ablations than its plan says")
    _demand(names >= {"pearson", "error"}, "pearson or error was not measured")
    measured = [("train", summary.train), ("without", summary.without), *summary.baselines.items()]
    optional = ("test", summary.test), ("contrast", summary.contrast), *summary.also.items()
    measured += robust.items()
    measured += [(where, measurement) for where, measurement in optional if measurement is not None]
    for where, measurement in measured:
        _demand(measurement.metrics.keys() == names, f"{where} was measured by other metrics than train")
        _fidelity(where, measurement)


def _fidelity(where: str, fidelity: Fidelity) -> None:
    _demand(fidelity.intervals.keys() <= fidelity.metrics.keys(), f"{where} has an interval of something else")
    _demand(all(low <= high for low, high in fidelity.intervals.values()), f"{where} has an interval upside down")
    _demand(fidelity.images >= 0, f"{where} has a negative number of images")


def sound_circuit(summary: Summary, circuit: Circuit) -> None:
    """Raises UnsoundError where arrays don't fit one another or the summary's layers."""
    channels = [layer.out_channels for layer in summary.layers]
    for layer, kernels, wire, change in zip(
        summary.layers, circuit.kernels, circuit.wires, circuit.changes, strict=True
    ):
        _kernels(layer, kernels)
        _change(layer, kernels, change)
        shared = layer.shares is msgspec.UNSET or len(layer.shares) == len(kernels.target)
        _demand(shared, f"layer {layer.name} has not a share for each kernel")
        _wire(layer.name, wire, layer.in_channels, channels)
        if summary.plan.structure != "weight":
            same = (len(kernels.target), int(kernels.effective.sum())) == (layer.kept, layer.effective)
            _demand(same, f"layer {layer.name} keeps other kernels than circuit.json says")
    _wire("target", circuit.target, _COUNT, channels)


def _kernels(layer: LayerSummary, kernels: KeptKernels) -> None:
    where, n = f"{layer.path}.kernel", len(kernels.target) if kernels.target.ndim else 0
    _array(f"{where}.target", kernels.target, np.int64, (n,), layer.out_channels)
    _array(f"{where}.source", kernels.source, np.int64, (n,), layer.in_channels)
    _array(f"{where}.score", kernels.score, np.float64, (n,))
    _array(f"{where}.weight", kernels.weight, np.float32, (n, None, None))
    _array(f"{where}.effective", kernels.effective, np.bool_, (n,))
    inner = layer.in_channels // layer.groups
    which = kernels.target * inner + kernels.source % inner
    _demand(_are_distinct(which), f"{where} has a kernel twice")
    group = kernels.target // max(layer.out_channels // layer.groups, 1)
    _demand(bool((kernels.source // inner == group).all()), f"{where} has a kernel from another group")


def _change(layer: LayerSummary, kernels: KeptKernels, change: LayerEdit) -> None:
    where, m = f"{layer.path}.change", len(change.rows) if change.rows.ndim else 0
    _array(f"{where}.rows", change.rows, np.int64, (m,), layer.out_channels)
    _array(f"{where}.offset", change.offset, np.float32, (m,))
    n, *size = kernels.weight.shape
    _array(f"{where}.gain", change.gain, np.float32, (n,) if change.gain.ndim == 1 else (n, *size))
    constants = len(change.constant) if change.constant.ndim else 0
    inner = layer.in_channels // layer.groups
    _array(f"{where}.constant", change.constant, np.int64, (constants,), layer.out_channels * inner)
    _demand(_are_distinct(change.rows), f"{where} has a row twice")


def _wire(where: str, wire: ChannelSources, inputs: int, channels: list[int]) -> None:
    k = len(wire.source) if wire.source.ndim else 0
    _array(f"{where}.wire.source", wire.source, np.int64, (k,), inputs)
    _array(f"{where}.wire.origin", wire.origin, np.int64, (k,), len(channels), -1)
    _array(f"{where}.wire.channel", wire.channel, np.int64, (k,), _COUNT)
    most = np.array([*channels, _COUNT])[wire.origin]
    _demand(bool((wire.channel < most).all()), f"{where}.wire.channel names channels that there are not")


def _are_distinct(numbers: NDArray[np.int64]) -> bool:
    """Return whether no number is there twice, without NumPy's `unique`, which imports masked arrays."""
    ordered = np.sort(numbers)
    return bool((ordered[1:] != ordered[:-1]).all())


def _array(
    name: str, array: NDArray[np.generic], kind: type, shape: tuple[int | None, ...], below: int = 0, least: int = 0
) -> None:
    """An array of a type and a shape; whole numbers from `least` to less than `below`, others finite."""
    fits = array.ndim == len(shape) and all(
        asked in (None, size) for asked, size in zip(shape, array.shape, strict=True)
    )
    _demand(array.dtype == kind and fits, f"{name} is {array.dtype}{[*array.shape]}")
    if array.dtype == np.int64 and array.size:
        low, high = int(array.min()), int(array.max())
        _demand(least <= low and high < below, f"{name} has numbers from {low} to {high}")
    elif array.dtype != np.bool_:
        _demand(bool(np.isfinite(array).all()), f"{name} has numbers that are not finite")


def sound_split(split: Split) -> None:
    """Raises UnsoundError where `split.json` can't be a split's."""
    _numbers(msgspec.to_builtins(split), "")
    _name(split.plan.id)
    for kind in split.kinds:
        _name(kind.id)
    parts = len(split.kinds)
    _demand(parts > 1, "there are not two parts")
    _demand(len({kind.id for kind in split.kinds}) == parts, "two parts are the same")
    rows = [len(row) for row in split.fidelity]
    _demand(rows == [parts] * (parts + 1), "the fidelity is not of each part on each part")
    images = sum(len(kind.train) + len(kind.test) for kind in split.kinds)
    _demand(len(split.points) == images, "there is not a point for each image")
    overlaps = [(overlap.parts, overlap.layer) for overlap in split.overlaps]
    pairs = {(first, second) for first in range(1, parts + 1) for second in range(first + 1, parts + 1)}
    layers = {layer for _, layer in overlaps}
    whole = {(pair, layer) for pair in pairs for layer in layers}
    _demand("" in layers and set(overlaps) == whole, "there is not an overlap of each pair in each layer")


def sound_comparison(comparison: Comparison) -> None:
    """Raises UnsoundError where `comparison.json` can't be a comparison's."""
    _numbers(msgspec.to_builtins(comparison), "")
    members = len(comparison.members)
    pairs = [(first, second) for first in range(members) for second in range(first + 1, members)]
    _demand(members > 1, "there are not two circuits")
    _demand([(pair.first, pair.second) for pair in comparison.pairs] == pairs, "there is not each pair once")
    measured = [pair.agreement for pair in comparison.pairs if pair.agreement is not None]
    _demand(all("pearson" in pair.metrics for pair in measured), "a pair lacks pearson")
    paths = {path for pair in comparison.pairs for path in pair.overlap.layers}
    _demand(paths <= comparison.layers.keys(), "a pair has a layer that has no name")


def sound_edit(edit: EditResult) -> None:
    """Raises UnsoundError where `edit.json` can't be an edit's."""
    _numbers(msgspec.to_builtins(edit), "")
    _name(edit.plan.folder)
    _demand(edit.images > 0 <= edit.edited, "it was measured on no image")
    _demand(
        [response.target for response in edit.responses] == [str(target) for target in edit.plan.measure],
        "other targets were measured than its plan says",
    )
    for response in edit.responses:
        _fidelity(response.target, response.fidelity)
        _demand(
            response.interval is None or response.interval[0] <= response.interval[1],
            f"{response.target} has an interval upside down",
        )
    _demand((edit.classes is not None) == edit.plan.classes, "the table of classes is not as its plan says")
    if edit.classes is not None:
        _demand(0 <= edit.classes.same_top <= 1, "same_top is no share")
        numbers = [changed.number for changed in edit.classes.changed]
        numbers += [number for move in edit.classes.moves for number in (move.before, move.after)]
        _demand(all(0 <= number < edit.classes.classes for number in numbers), "there is no such class")


def _numbers(value: object, where: str) -> None:
    """Every number is one that can be counted or measured."""
    for place, number in _all_numbers(value, where):
        most = _COUNT if isinstance(number, int) else _MEASURED
        _demand(abs(number) < most and not (isinstance(number, float) and math.isnan(number)), f"{place} is too large")


def _all_numbers(value: object, where: str) -> Iterator[tuple[str, int | float]]:
    items: Iterable[tuple[object, object]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    elif isinstance(value, (int, float)):
        yield where, value
    for key, part in items:
        yield from _all_numbers(part, f"{where}.{key}".lstrip("."))


def _name(text: str) -> None:
    _demand(is_folder_name(text), "its id can't be the name of a folder")


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UnsoundError(otherwise)
