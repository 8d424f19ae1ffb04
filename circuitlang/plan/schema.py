"""The JSON Schema of a plan's YAML, for editors and other programs.

`python -m circuitlang.plan.schema` renews the file that is carried in the package.
"""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path

import msgspec

from circuitlang.plan.model import Plan

FILE = Path(__file__).with_name("plan.schema.json")


def schema() -> str:
    """The schema as JSON text, in the dialect 2020-12."""
    about = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:circuitlang:plan:1",
        "title": "A plan of circuitlang",
    }
    content = {**about, **msgspec.json.schema(Plan)}
    for definition in content["$defs"].values():
        # Docstrings keep their indentation in some versions of Python and not in others.
        definition["description"] = cleandoc(definition["description"])
    return msgspec.json.format(msgspec.json.encode(content)).decode() + "\n"


if __name__ == "__main__":
    FILE.write_text(schema(), encoding="utf-8")
