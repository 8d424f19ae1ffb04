"""Versions of installed packages, each looked up once."""

from __future__ import annotations

from functools import cache


@cache
def version(package: str) -> str:
    """Return the version of a package; empty if it is not installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(package)
    except PackageNotFoundError:
        return ""
