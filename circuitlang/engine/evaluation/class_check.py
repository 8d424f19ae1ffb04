"""The network's classification with one class's output taken from its circuit."""

from __future__ import annotations

from torch import Tensor

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.fidelity import responses
from circuitlang.engine.graph.targets import Target
from circuitlang.plugins.protocols import Batches
from circuitlang.results.types import ClassCheck


def outputs(subnetwork: TargetSubnetwork, images: Batches, label: str) -> Tensor:
    """Return the network's outputs for all classes, float64 [images, classes]; one pass forward.

    `subnetwork` is that of one class, whose output is a number for each image.
    """
    step = subnetwork.target.step
    whole = TargetSubnetwork(subnetwork.graph, Target(step, tuple(range(step.width))))
    return responses(whole, images, label)


def class_check(network: Tensor, unit: int, circuit: Tensor) -> ClassCheck:
    """Compare the network's outputs [images, classes] with the same whose class `unit` is the circuit's [images].

    Probabilities are the softmax of outputs. A circuit of one class says nothing of the others, whose outputs are
    therefore the network's.
    """
    mixed = network.clone()
    mixed[:, unit] = circuit
    return ClassCheck(
        agreement=float((mixed.argmax(1) == network.argmax(1)).double().mean()),
        network=float(network.softmax(1)[:, unit].mean()),
        circuit=float(mixed.softmax(1)[:, unit].mean()),
    )
