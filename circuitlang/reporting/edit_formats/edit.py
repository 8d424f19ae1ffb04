import msgspec

from circuitlang.results.edit import EditResult
from circuitlang.results.edits import FILE
from circuitlang.results.outputs import edit_format


@edit_format
def edit(result: EditResult) -> dict[str, bytes]:
    """All of an edit as data, `edit.json`."""
    return {FILE: msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"}
