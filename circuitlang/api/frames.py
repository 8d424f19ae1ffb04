"""Pages in frames, as a notebook shows them."""

from __future__ import annotations

import html
from pathlib import Path


def framed(page: str, path: Path) -> str:
    """Return a page in a frame, which keeps its styles and its script out of the notebook."""
    content, name = html.escape(page), html.escape(str(path))
    style = "width: 100%; height: 720px; border: 1px solid #8884; border-radius: 12px; resize: vertical"
    return f'<iframe srcdoc="{content}" sandbox="allow-scripts" title="{name}" style="{style}"></iframe>'
