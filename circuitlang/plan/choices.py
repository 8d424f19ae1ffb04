"""The words that some clauses choose from, the same in the language and in a plan."""

from __future__ import annotations

from typing import Literal

Calibrate = Literal["none", "bias", "affine", "kernels"]
Refill = Literal["none", "live"]
Structure = Literal["kernel", "weight", "channel"]
