import msgspec

from circuitlang.results.comparison import FILE
from circuitlang.results.outputs import ComparisonResult, comparison_format


@comparison_format
def comparison(result: ComparisonResult) -> dict[str, bytes]:
    """All of a comparison as data, `comparison.json`."""
    return {FILE: msgspec.json.format(msgspec.json.encode(result.comparison), indent=2) + b"\n"}
