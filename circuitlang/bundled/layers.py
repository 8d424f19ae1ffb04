"""The bundled network's layers, read from the header of its weights: no torch needed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from circuitlang.plan.layers import Layers, NamedModule, Stage

# The network's modules in order: class, height and width of its map, and the side of the activation.
_MODULES: dict[str, tuple[str, tuple[int, ...], Stage]] = {
    "conv1": ("Conv2d", (32, 32), "before"),
    "relu1": ("ReLU", (32, 32), "after"),
    "pool1": ("MaxPool2d", (16, 16), "after"),
    "conv2": ("Conv2d", (16, 16), "before"),
    "relu2": ("ReLU", (16, 16), "after"),
    "pool2": ("MaxPool2d", (8, 8), "after"),
    "conv3": ("Conv2d", (8, 8), "before"),
    "relu3": ("ReLU", (8, 8), "after"),
    "conv4": ("Conv2d", (8, 8), "before"),
    "relu4": ("ReLU", (8, 8), "after"),
    "conv5": ("Conv2d", (8, 8), "before"),
    "relu5": ("ReLU", (8, 8), "after"),
    "pool5": ("AdaptiveAvgPool2d", (1, 1), "after"),
    "flatten": ("Flatten", (), "after"),
    "fc1": ("Linear", (), "before"),
}


def layers() -> Layers:
    """Output channels by layer, in execution order, then those of what stands between the layers; and all modules."""
    content = Path(__file__).with_name("weights.safetensors").read_bytes()
    header = msgspec.json.decode(content[8 : 8 + int.from_bytes(content[:8], "little")])
    shapes: dict[str, list[int]] = {
        name.removesuffix(".weight"): about["shape"]
        for name, about in sorted(header.items())
        if name.endswith(".weight")
    }
    beside: dict[str, int] = {}
    modules = []
    width = 0
    for path, (kind, positions, stage) in _MODULES.items():
        if path not in shapes:
            beside[path] = width
            modules.append(NamedModule(path, kind, (width, *positions), stage))
            continue
        width, inner, *size = shapes[path]
        modules.append(NamedModule(path, kind, (width, *positions), stage, path, width * inner, tuple(size) or (1, 1)))
    return Layers({**{path: shape[0] for path, shape in shapes.items()}, **beside}, tuple(shapes), tuple(modules))
