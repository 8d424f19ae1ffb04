"""The bundled drawings: image sets that a spec names without any files, as `bundled.dogs`. No torch needed."""

from __future__ import annotations

from pathlib import Path

# The sets by name; a test compares them with the classes of the bundled network.
SETS = (
    "birds", "boats", "butterflies", "cars", "cats", "clocks", "cups", "dogs", "faces", "fish", "flowers", "houses",
    "planes", "trees",
)  # fmt: skip
# The beginning of a pattern that stands for a bundled set in a plan.
PATTERN = "bundled:"


def set_files(name: str) -> list[Path]:
    """Return the images of a set, sorted: carried in the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    carried = package / "images"
    folder = carried if carried.exists() else package.parents[1] / "examples" / "images"
    return sorted((folder / name).glob("*.png"))
