"""The folder of the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return CIRCUITLANG_CACHE if it is set, or else the platform's cache directory; it may not exist yet."""
    import platformdirs

    chosen = os.environ.get("CIRCUITLANG_CACHE")
    return Path(chosen or platformdirs.user_cache_dir("circuitlang", appauthor=False))
