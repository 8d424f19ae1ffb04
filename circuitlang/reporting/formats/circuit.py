import msgspec
from safetensors.numpy import save

from circuitlang.results.outputs import output_format
from circuitlang.results.types import Result


@output_format
def circuit(result: Result) -> dict[str, bytes]:
    """The circuit itself: `circuit.json` (what it is, how it was found) and `circuit.safetensors` (its kernels).

    By layer path: `PATH.kernel.target`, `.source`, `.score`, `.weight`, `.effective` of the n kept kernels, strongest
    first; `PATH.change.rows`, `.gain`, `.offset`, `.constant`, what is done to the layer; and `PATH.wire.source`,
    `.origin`, `.channel`, what carries each input channel; `target.wire.source` and so on say it of the target's units.
    """
    arrays = {}
    parts = result.circuit
    for layer, kernels, wire, change in zip(
        result.summary.layers, parts.kernels, parts.wires, parts.changes, strict=True
    ):
        arrays.update({f"{layer.path}.kernel.{name}": array for name, array in vars(kernels).items()})
        arrays.update({f"{layer.path}.change.{name}": array for name, array in vars(change).items()})
        arrays.update({f"{layer.path}.wire.{name}": array for name, array in vars(wire).items()})
    arrays.update({f"target.wire.{name}": array for name, array in vars(parts.target).items()})
    summary = msgspec.json.format(msgspec.json.encode(result.summary), indent=2)
    return {"circuit.json": summary + b"\n", "circuit.safetensors": save(arrays)}
