import json

from circuitlang.engine.result import Result
from circuitlang.output.contracts import output_format


@output_format
def metrics(result: Result) -> dict[str, bytes]:
    """Every number of a result in one flat, sorted `metrics.json`, for `git diff` and dashboards."""
    summary = result.summary
    flat: dict[str, float | int] = {name: getattr(summary, name) for name in ("relevant", "asked", "kept", "effective")}
    for name, fidelity in (("train", summary.train), ("test", summary.test)):
        if fidelity is not None:
            flat[f"{name}.images"] = fidelity.images
            # Six digits are more than any measurement here is good for, and keep rounding out of the diff.
            flat.update({f"{name}.{metric}": round(value, 6) for metric, value in fidelity.metrics.items()})
    return {"metrics.json": (json.dumps(flat, indent=2, sort_keys=True) + "\n").encode()}
