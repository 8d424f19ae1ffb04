import json

from circuitlang.results.outputs import output_format
from circuitlang.results.types import Result
from circuitlang.results.verdict import verdict


@output_format
def metrics(result: Result) -> dict[str, bytes]:
    """Every number of a result and its verdict in one flat, sorted `metrics.json`, for `git diff` and dashboards."""
    # Six digits are more than any measurement here is good for, and keep rounding out of the diff.
    rounded: dict[str, float | str] = {name: round(value, 6) for name, value in result.summary.flat().items()}
    rounded["verdict"] = verdict(result.summary)
    if result.summary.rounding is not None:
        rounded["extracted_difference"] = result.summary.rounding
    return {"metrics.json": (json.dumps(rounded, indent=2, sort_keys=True) + "\n").encode()}
