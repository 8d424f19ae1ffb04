"""The bundled network's layers, read from the header of its weights: no torch needed."""

from __future__ import annotations

import json
from pathlib import Path


def layers() -> dict[str, int]:
    """Output channels by layer, in execution order."""
    content = Path(__file__).with_name("weights.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {
        name.removesuffix(".weight"): int(about["shape"][0])
        for name, about in sorted(header.items())
        if name.endswith(".weight")
    }
