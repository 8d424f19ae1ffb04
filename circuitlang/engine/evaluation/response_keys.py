"""Names of the network's responses in the cache of a target."""

from __future__ import annotations

from circuitlang.engine.images.hashed_images import HashedImages


def responses_key(images: HashedImages) -> str:
    """Return the name of the feature's responses to images."""
    return f"responses, {images.digest}"


def strongest_key(images: HashedImages) -> str:
    """Return the name of the places where every channel responds most."""
    return f"strongest responses, {images.digest}"
