"""The network's classification with one class's output taken from its circuit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.fidelity import responses
from circuitlang.engine.graph.targets import Target
from circuitlang.plugins.protocols import Batches
from circuitlang.results.types import ClassChange, ClassCheck


def outputs(subnetwork: TargetSubnetwork, images: Batches, label: str) -> Tensor:
    """Return the network's outputs for all classes, float64 [images, classes]; one pass forward.

    `subnetwork` is that of one class, whose output is a number for each image.
    """
    step = subnetwork.target.step
    whole = TargetSubnetwork(subnetwork.graph, Target(step, tuple(range(step.width))))
    return responses(whole, images, label)


def class_check(network: Tensor, unit: int, circuit: Tensor, names: Sequence[str] = ()) -> ClassCheck:
    """Compare the network's outputs [images, classes] with the same whose class `unit` is the circuit's [images].

    Probabilities are the softmax of outputs. A circuit of one class says nothing of the others, whose outputs are
    therefore the network's. Without `names` of all classes, they are called by their numbers.
    """
    mixed = network.clone()
    mixed[:, unit] = circuit
    before, after = network.argmax(1), mixed.argmax(1)
    changes = Counter((one, other) for one, other in zip(before.tolist(), after.tolist(), strict=True) if one != other)

    def name(number: int) -> str:
        return names[number] if names else str(number)

    return ClassCheck(
        agreement=float((after == before).double().mean()),
        network=float(network.softmax(1)[:, unit].mean()),
        circuit=float(mixed.softmax(1)[:, unit].mean()),
        confusion=[
            ClassChange(network=name(one), taken_for=name(other), images=images)
            for (one, other), images in sorted(changes.items(), key=lambda change: (-change[1], change[0]))
        ],
    )
