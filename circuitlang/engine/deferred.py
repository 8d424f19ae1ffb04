"""Torch, imported when it is first used: for modules that are also asked for constants and costs alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["torch"]

if TYPE_CHECKING:
    import torch
else:

    class _Deferred:
        """Stands for a module, which is imported when an attribute of it is asked for."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            value = getattr(import_module(self._name), name)
            # It is looked up once.
            self.__dict__[name] = value
            return value

    torch = _Deferred("torch")
