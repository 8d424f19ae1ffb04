"""Edits of the network that a plan asks for: a circuit, channels or a kernel, scaled or patched from other images."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from circuitlang.plan.targets import Target, concept_sets

# The beginning of the names of folders of edits.
FOLDER = "edit-"
# The layer of a kernel's source that is the image itself.
IMAGE = "image"


class OfCircuit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="circuit", tag_field="kind"):
    """The kernels that a circuit of the plan keeps, by its id."""

    circuit: str

    def __str__(self) -> str:
        return self.circuit


class OfChannels(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="channels", tag_field="kind"):
    """Channels of a layer; `group` is the name of the group that says which."""

    layer: str
    units: list[int]
    group: str = ""

    def __str__(self) -> str:
        if self.group:
            return f'"{self.group}"'
        units = str(self.units[0]) if len(self.units) == 1 else f"[{', '.join(map(str, self.units))}]"
        return f"{self.layer}:{units}"


class OfKernel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="kernel", tag_field="kind"):
    """The kernel of a layer's channel that reads a channel of another layer, or of the image."""

    layer: str
    unit: int
    source_layer: str
    source: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.unit} <- {self.source_layer}:{self.source}"


Edited = OfCircuit | OfChannels | OfKernel


class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The network with a part of it multiplied by `scale`, or taken from the images `patch`, and what is measured.

    One of `scale` and `patch` is there. The first of the images is paired with the first of the patch, and so on; where
    these are fewer, they begin again. `classes` asks for the table of classes. `statement` is the text that asked for
    it, and has no say.
    """

    name: str
    of: Edited
    scale: float | None = None
    patch: str | None = None
    images: str
    measure: list[Target] = []
    classes: bool = False
    statement: str = ""

    @property
    def folder(self) -> str:
        """The name of its folder in that of its run."""
        return f"{FOLDER}{self.name}"

    @property
    def image_sets(self) -> dict[str, str]:
        """The names of its image sets, by the word that introduces each."""
        return {"images": self.images, **({"patch": self.patch} if self.patch is not None else {})}

    @property
    def used_sets(self) -> tuple[str, ...]:
        """The names of all image sets that its effect follows from."""
        return *self.image_sets.values(), *(name for target in self.measure for name in concept_sets(target))

    @property
    def how(self) -> str:
        """The change, as a clause of the language."""
        return f"scale={self.scale:.15g}" if self.scale is not None else f"patch={self.patch}"

    def targets(self) -> Iterator[tuple[str, Target]]:
        """Yield the targets that are measured, by their text."""
        return ((str(target), target) for target in self.measure)
