import json

from circuitlang.engine.result import Result
from circuitlang.output.contracts import output_format


@output_format
def metrics(result: Result) -> dict[str, bytes]:
    """Every number of a result in one flat, sorted `metrics.json`, for `git diff` and dashboards."""
    # Six digits are more than any measurement here is good for, and keep rounding out of the diff.
    rounded = {name: round(value, 6) for name, value in result.summary.flat().items()}
    if result.summary.rounding is not None:
        rounded["extracted_difference"] = result.summary.rounding
    return {"metrics.json": (json.dumps(rounded, indent=2, sort_keys=True) + "\n").encode()}
