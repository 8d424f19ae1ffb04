"""Rows of packed runs: a circuit's numbers as columns, and the masks of its layers.

A mask has the positions of the kept kernels, output channel times inputs of one plus input, in ascending order, and
their scores as shares of the largest of the circuit, in half precision. A row has no weights: these are the network's.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.deferred import np
from circuitlang.plan.clauses import Circuit as CircuitPlan
from circuitlang.plan.targets import Channel, OfClasses
from circuitlang.results.labelling import target_label
from circuitlang.results.types import LayerSummary, Result, Summary
from circuitlang.results.validation import UnsoundError, sound_summary
from circuitlang.results.verdict import verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The quality of crops in WebP.
_QUALITY = 60
# Numbers that count something; all others are measurements.
_COUNTS = ("relevant", "asked", "kept", "effective", "parameters")


@dataclass(frozen=True)
class PackedMask:
    """The kept kernels of one layer.

    Attributes:
        kernels: Positions, output channel times inputs of one plus input, ascending.
        scores: Scores as shares of the circuit's largest.
        effective: True for kernels on a path from the image to the target.
    """

    kernels: NDArray[np.int64]
    scores: NDArray[np.float16]
    effective: NDArray[np.bool_]


@dataclass(frozen=True)
class PackedCircuit:
    """A circuit of a packed run.

    Attributes:
        summary: Its numbers and its plan.
        masks: Kept kernels of each layer of the summary.
        crops: The parts of images that excite its feature most, side by side in one image file; empty if unknown.
    """

    summary: Summary
    masks: tuple[PackedMask, ...]
    crops: bytes = b""


def pack(result: Result) -> PackedCircuit:
    """Return the part of a result that a packed run keeps."""
    kernels = result.circuit.kernels
    largest = max((float(np.abs(layer.score).max()) for layer in kernels if len(layer.score)), default=0.0) or 1.0
    masks = []
    for layer, kept in zip(result.summary.layers, kernels, strict=True):
        inner = layer.in_channels // layer.groups
        positions = kept.target * inner + kept.source % inner
        order = np.argsort(positions)
        scores = (kept.score / largest).astype(np.float16)
        masks.append(PackedMask(positions[order], scores[order], kept.effective[order]))
    return PackedCircuit(result.summary, tuple(masks), b"" if result.crops is None else _encoded(result.crops))


def _encoded(crops: NDArray[np.uint8]) -> bytes:
    """Return crops [n, side, side, 3] side by side as an image file."""
    if not len(crops):
        return b""
    from PIL import Image, features

    content = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(crops.swapaxes(0, 1).reshape(crops.shape[1], -1, 3)))
    if features.check("webp"):
        image.save(content, "WEBP", quality=_QUALITY)
    else:
        image.save(content, "PNG", optimize=True)
    return content.getvalue()


def row(packed: PackedCircuit) -> dict[str, object]:
    """Return the row of a circuit but for its masks, values by column."""
    summary, plan = packed.summary, packed.summary.plan
    target = plan.target
    # Labels belong to the plan, and change without the circuit.
    stored = msgspec.structs.replace(summary, labels=None)
    return {
        "id": plan.id,
        "label": label(summary),
        "target": str(target),
        "layer": None if isinstance(target, OfClasses) else target.layer,
        "unit": target.unit if isinstance(target, Channel) else None,
        "images": plan.images,
        "criterion": str(plan.criterion),
        "size": size(plan),
        "verdict": verdict(summary),
        **numbers(summary),
        "crops": packed.crops or None,
        "weights": summary.provenance.weights,
        "identity": summary.provenance.identity,
        "summary": msgspec.json.encode(stored).decode(),
    }


def numbers(summary: Summary) -> dict[str, float]:
    """Return every number of `metrics.json` by column, a name in Python: `test.pearson` is `test_pearson`."""
    flat = {re.sub(r"\W", "_", name): value for name, value in summary.flat().items()}
    return {name: int(value) if counts(name) else float(value) for name, value in flat.items()}


def counts(column: str) -> bool:
    """Return whether the numbers of a column count something."""
    return column in _COUNTS or column.endswith("_images")


def label(summary: Summary) -> str | None:
    """Return the label of the channel that a circuit preserves."""
    return target_label(summary, summary.labels.texts()) or None if summary.labels else None


def size(plan: CircuitPlan) -> str:
    """Return the size or the bounds that a circuit was asked for, as the language writes them."""
    if plan.size is not None:
        return str(plan.size)
    return " ".join(f"{bound.metric}{bound.relation}{bound.value:g}" for bound in plan.bounds)


def unpack(summary: str, paths: Sequence[str], masks: Sequence[PackedMask], crops: bytes) -> PackedCircuit:
    """Return the circuit of a row; `paths` are the layers of its masks. Raises ValueError if its parts don't fit."""
    value = read_summary(summary)
    if [*paths] != [layer.path for layer in value.layers]:
        raise UnsoundError("its masks are of other layers than its summary says")
    for layer, mask in zip(value.layers, masks, strict=True):
        _sound(layer, mask, value.plan.structure != "weight")
    return PackedCircuit(value, tuple(masks), crops)


def read_summary(text: str) -> Summary:
    """Return the summary in a row. Raises ValueError if it is none."""
    summary = msgspec.json.decode(text, type=Summary)
    sound_summary(summary)
    return summary


def _sound(layer: LayerSummary, mask: PackedMask, counted: bool) -> None:
    """Raises UnsoundError if a mask doesn't fit its layer, whose numbers are of kernels if they are `counted`."""
    kernels, where = mask.kernels, f"the mask of {layer.name}"
    total = layer.out_channels * layer.in_channels // layer.groups
    if not len(kernels) == len(mask.scores) == len(mask.effective):
        raise UnsoundError(f"{where} has not a score for each kernel")
    if len(kernels) and not (kernels[0] >= 0 and kernels[-1] < total and (np.diff(kernels) > 0).all()):
        raise UnsoundError(f"{where} has kernels that there are not")
    if not np.isfinite(mask.scores).all():
        raise UnsoundError(f"{where} has scores that are not finite")
    if counted and (len(kernels), int(mask.effective.sum())) != (layer.kept, layer.effective):
        raise UnsoundError(f"{where} keeps other kernels than its summary says")
