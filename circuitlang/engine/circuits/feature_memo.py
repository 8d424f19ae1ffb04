"""Values that all circuits of a feature share, in memory and in the cache."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.plugins.protocols import Scores

T = TypeVar("T")


class FeatureMemo:
    """Values that follow from the network and the target alone; tensors are stored in a cache too, if there is one."""

    def __init__(self, cache: ScoreCache | None = None) -> None:
        self._cache = cache
        self._values: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return a value, made when it is first asked for; `key` says all that it follows from beside the feature."""
        if key not in self._values:
            self._values[key] = make()
        value: T = self._values[key]
        return value

    def read(self, name: str) -> Scores | None:
        """Return tensors on the CPU that were stored before, maybe by another run."""
        if name not in self._values and self._cache and (stored := self._cache.derived(name).read()) is not None:
            self._values[name] = stored
        tensors: Scores | None = self._values.get(name)
        return tensors

    def store(self, name: str, tensors: Scores) -> None:
        """Store tensors for `read`."""
        self._values[name] = tensors
        if self._cache:
            self._cache.keep(name, tensors)

    def has(self, name: str) -> bool:
        """Return whether `read` would return tensors."""
        return name in self._values or (self._cache is not None and self._cache.derived(name).has(None))

    @property
    def held(self) -> int:
        """The number of values in memory."""
        return len(self._values)

    def clear(self) -> None:
        """Free the memory that the values take."""
        self._values.clear()
