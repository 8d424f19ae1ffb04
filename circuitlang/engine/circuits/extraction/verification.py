"""Compare an extracted module with the circuit in the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.engine.deferred import torch
from circuitlang.plugins.protocols import Batches, Edits

if TYPE_CHECKING:
    from torch import nn

    from circuitlang.engine.circuits.subnetwork import TargetSubnetwork

# The number of images that a module is compared on.
CHECKED = 16
# The most by which a module may differ from the network it was cut out of; rounding alone stays far below.
_TOLERANCE = 1e-4


def verify(subnetwork: TargetSubnetwork, edits: Edits, module: nn.Module, images: Batches) -> float:
    """Return the largest difference between a module and the edited network, as a share of the largest value.

    Raises CircuitError where it is more than rounding can explain.
    """
    apart, largest = 0.0, 0.0
    with torch.no_grad(), subnetwork.edited(edits):
        for batch in images.batches("checking the module"):
            expected, actual = subnetwork.maps(batch), module(batch)
            # In this order: whatever is compared to NaN stays NaN.
            apart = max(float((actual - expected).abs().max()), apart)
            largest = max(float(expected.abs().max()), largest)
    difference = apart / largest if largest else apart
    if not difference <= _TOLERANCE:
        message = f"the circuit's module differs from the circuit in the network by {difference:.1e}"
        label = f"at most {_TOLERANCE:.0e} of the largest value is rounding"
        raise CircuitError(Finding("E350", message, None, label, "report the network and the spec as a bug"))
    return difference
