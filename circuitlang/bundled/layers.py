"""The bundled network's layers, read from the header of its weights: no torch needed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from circuitlang.plan.layers import Layers

# The modules of the network that are no layers, and the layer whose channels each has.
_BESIDE = {**{f"relu{number}": f"conv{number}" for number in range(1, 6)}, "pool1": "conv1", "pool2": "conv2"}
_BESIDE |= {"pool5": "conv5", "flatten": "conv5"}


def layers() -> Layers:
    """Output channels by layer, in execution order, then those of what stands between the layers."""
    content = Path(__file__).with_name("weights.safetensors").read_bytes()
    header = msgspec.json.decode(content[8 : 8 + int.from_bytes(content[:8], "little")])
    widths = {
        name.removesuffix(".weight"): int(about["shape"][0])
        for name, about in sorted(header.items())
        if name.endswith(".weight")
    }
    return Layers({**widths, **{name: widths[of] for name, of in _BESIDE.items()}}, tuple(widths))
