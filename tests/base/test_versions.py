"""The versions of installed packages, as `importlib.metadata` has them, and as folders of the path may have them."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from pathlib import Path

import pytest

from circuitlang.base.versions import version


@pytest.mark.parametrize(
    "package", ["numpy", "PyYAML", "typing_extensions", "typing.extensions", "pytest-xdist", "six", "no-such"]
)
def test_a_version_is_that_of_the_installer(package: str) -> None:
    version.cache_clear()
    try:
        expected = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        expected = ""
    assert version(package) == expected


@pytest.mark.parametrize("kind", ["dist-info", "egg-info", "two", "archive", "unversioned"])
def test_the_first_package_of_the_path_counts(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"egg-info": "numpy.egg-info", "unversioned": "numpy.dist-info"}.get(kind, "numpy-0.5.dist-info")
    name = "PKG-INFO" if kind == "egg-info" else "METADATA"
    text = "Metadata-Version: 2.1\nName: numpy\nVersion: 0.5\n\nVersion: 7\n"
    place = tmp_path / "site"
    if kind == "archive":
        with zipfile.ZipFile(place, "w") as archive:
            archive.writestr(f"{named}/{name}", text)
    else:
        for folder in [named, *(["NumPy-0.5.dist-info"] if kind == "two" else [])]:
            place.joinpath(folder).mkdir(parents=True)
            place.joinpath(folder, name).write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "nowhere"), str(place), *sys.path])
    version.cache_clear()
    try:
        assert version("numpy") == importlib.metadata.version("numpy") == "0.5"
    finally:
        version.cache_clear()
