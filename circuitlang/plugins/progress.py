"""The interface by which long steps show their progress."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class TrackProgress(Protocol):
    """Shows progress: passes items on unchanged, with a label for the step and the total number of items."""

    def __call__(self, items: Iterator[T], label: str, total: int, /) -> Iterator[T]: ...


def no_progress(items: Iterator[T], _label: str, _total: int, /) -> Iterator[T]:
    """Pass items on without showing progress."""
    return items
