from circuitlang.results.outputs import output_format
from circuitlang.results.types import Result


@output_format
def module(result: Result) -> dict[str, bytes]:
    """The circuit as a network of its own, `module.pt2`: `torch.export.load` reads it without circuitlang, and
    `model file("module.pt2")` as the model of another spec."""
    return {"module.pt2": result.module} if result.module else {}
