"""Libraries that are imported when they are first used: many commands read results without touching their arrays."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["Deferred", "np"]


class Deferred:
    """Stands for a module, which is imported when an attribute of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self._name), name)
        # It is looked up once.
        self.__dict__[name] = value
        return value


if TYPE_CHECKING:
    import numpy as np
else:
    np = Deferred("numpy")
