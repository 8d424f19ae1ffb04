"""Torch, imported when it is first used: for modules that are also asked for constants and costs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuitlang.base.deferred import Deferred

__all__ = ["torch"]

if TYPE_CHECKING:
    import torch
else:
    torch = Deferred("torch")
