"""The fidelity of a circuit on images, and of the network without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from circuitlang.engine.runtime.steps.circuit_amounts import CircuitAmounts
from circuitlang.engine.runtime.steps.step import Step

if TYPE_CHECKING:
    from circuitlang.engine.runtime.found_circuit import FoundCircuit

# The circuit on each image, and the network without it on those that judge it.
_CIRCUIT, _WITHOUT = 1, 1


class FidelityOnImages:
    """Fidelity on every set of images, as `measurement.Measurement`."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield a step: the circuit is run on all images, and the network without it on those that judge it."""
        images = amounts.images
        sets = images.found_on, images.measured_on, amounts.against, *images.also.values()
        yield Step(
            "fidelity", "", amounts.forwards(*((_CIRCUIT, number) for number in sets), (_WITHOUT, amounts.judged_on))
        )

    def measure(self, circuit: FoundCircuit) -> dict[str, Any]:
        """Return the fidelity on each set of images, and that of the network without the circuit."""
        built, judge = circuit.built, circuit.judge
        return {
            "train": circuit.train(built),
            "test": circuit.test(built) if circuit.test else None,
            "contrast": circuit.contrast(built) if circuit.contrast else None,
            "contrast_held_out": circuit.job.contrast_test is not None,
            "also": {name: evaluate(built) for name, evaluate in circuit.also.items()},
            "without": judge(circuit.complement),
            "unheard": circuit.train.constant,
            "responses": judge.responses,
        }
