import msgspec

from circuitlang.results.outputs import split_format
from circuitlang.results.split import SplitResult


@split_format
def split(result: SplitResult) -> dict[str, bytes]:
    """All of a split as data, `split.json`."""
    return {"split.json": msgspec.json.format(msgspec.json.encode(result.split), indent=2) + b"\n"}
