"""Labels: names that people give to channels, and groups of channels. Nothing that is computed depends on them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The name of a channel; `file` is the name of the file that says so."""

    layer: str
    unit: int
    text: str
    file: str = ""


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Channels of a layer that belong together; `file` is the name of the file that says so."""

    name: str
    layer: str
    units: list[int]
    file: str = ""


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The labels and the groups of a network's channels."""

    channels: list[Label] = []
    groups: list[Group] = []

    def texts(self) -> Mapping[tuple[str, int], str]:
        """Return the labels by layer, as it is written, and channel."""
        return {(label.layer, label.unit): label.text for label in self.channels}
