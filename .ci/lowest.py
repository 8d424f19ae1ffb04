"""Print the lowest version of every direct dependency that pyproject.toml admits, as constraints for pip."""

import re
import sys
from pathlib import Path

import tomllib

project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
wanted = [*project["dependencies"], *(each for name in sys.argv[1:] for each in project["optional-dependencies"][name])]
for requirement in wanted:
    lowest = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
    if lowest:
        print(f"{lowest[1]}=={lowest[2]}")  # noqa: T201
    elif not requirement.startswith("circuitlang["):
        raise SystemExit(f"no lowest version in {requirement!r}")
