"""An edit of a network: what became of the targets that were measured, and of the classes, as plain values."""

from __future__ import annotations

import msgspec

from circuitlang.plan.edits import Edit
from circuitlang.results.types import Fidelity


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A target in the network and in the edited one.

    `before` and `after` are the mean responses over images and positions; `change` is (after - before) / |before|, None
    where the mean response was 0, and `interval` its 95% interval over images. `fidelity` is that of the edited
    responses to the original ones.
    """

    target: str
    before: float
    after: float
    change: float | None
    interval: tuple[float, float] | None = None
    fidelity: Fidelity


class ChangedClass(msgspec.Struct, frozen=True, kw_only=True):
    """A class before and after an edit: its mean output, its mean probability, and the images of which it is the top
    class. `name` is empty where the weights name none."""

    number: int
    name: str = ""
    output: tuple[float, float]
    probability: tuple[float, float]
    top: tuple[int, int]


class TopClasses(msgspec.Struct, frozen=True, kw_only=True):
    """The number of images whose top class changes from one class to another."""

    before: int
    after: int
    names: tuple[str, str] = ("", "")
    images: int


class ClassTable(msgspec.Struct, frozen=True, kw_only=True):
    """All classes before and after an edit: the share of images whose top class stays the `same_top`, the classes whose
    mean output changes most, and the changes of the top class that are most frequent."""

    images: int
    classes: int
    same_top: float
    changed: list[ChangedClass]
    moves: list[TopClasses] = []


class EditResult(msgspec.Struct, frozen=True, kw_only=True):
    """An edit of a network and its effect: what `edit.json` holds.

    `identity` is a hash of all that it follows from. `edited` counts kernels, weights or channels, as `noun` says, and
    `target` says of an edited circuit what it preserves. `images` were measured on, `patched` are those of the patch.
    """

    identity: str
    model: str
    plan: Edit
    noun: str
    edited: int
    target: str = ""
    images: int
    patched: int = 0
    responses: list[Response]
    classes: ClassTable | None = None
    # Output formats that failed, and why.
    missing: dict[str, str] = {}
    # Output formats that were not asked for.
    unrendered: list[str] = []

    def has(self, name: str) -> bool:
        """Return whether its folder has the files of an output format."""
        return name not in self.missing and name not in self.unrendered

    def flat(self) -> dict[str, float]:
        """Every number by one key, as expectations have it: `conv5:34.change`, `conv5:34.pearson.low`, `same_top`."""
        numbers: dict[str, float] = {"images": self.images}
        if self.classes is not None:
            numbers["same_top"] = self.classes.same_top
        for response in self.responses:
            own: dict[str, float] = {"before": response.before, "after": response.after}
            ends: dict[str, tuple[float, float]] = dict(response.fidelity.intervals)
            if response.change is not None:
                own["change"] = response.change
            if response.interval is not None:
                ends["change"] = response.interval
            own |= response.fidelity.metrics
            for word, (low, high) in ends.items():
                own |= {f"{word}.low": low, f"{word}.high": high}
            numbers |= {f"{response.target}.{word}": value for word, value in own.items()}
        return numbers
