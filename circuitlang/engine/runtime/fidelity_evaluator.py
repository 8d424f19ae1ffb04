"""The fidelity of circuits on some images."""

from __future__ import annotations

import torch
from torch import Tensor

from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation import fidelity_examples, reference_responses
from circuitlang.engine.evaluation.fidelity import measure, responses
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.runtime.circuit_finder import BuiltCircuit
from circuitlang.results.types import Fidelity, FidelityExamples


class FidelityEvaluator:
    """Compares circuits with the network on some images."""

    def __init__(self, subnetwork: TargetSubnetwork, images: ImageSet, label: str, seed: int) -> None:
        self._subnetwork, self._images, self._label, self._seed = subnetwork, images, label, seed
        self._original = reference_responses.responses(subnetwork, images, f"the network on {label}")
        # Keys are the circuits' numbers; circuits are kept so that no other gets the same number.
        self._seen: dict[int, tuple[BuiltCircuit, Tensor]] = {}

    @property
    def strength(self) -> Tensor:
        """The strongest response to each image in the network [images]."""
        return self._original.amax(1)

    @property
    def network(self) -> Tensor:
        """The network's responses, float64 [images, positions]."""
        return self._original

    @property
    def constant(self) -> bool:
        """Return whether the network responds to all images alike, everywhere; a single number says nothing of that."""
        return self.responses > 1 and bool((self._original == self._original.flatten()[:1]).all())

    @property
    def responses(self) -> int:
        """The number of responses that fidelity is computed from."""
        return self._original.numel()

    def __call__(self, built: BuiltCircuit, intervals: bool = True) -> Fidelity:
        """Return the fidelity of a circuit."""
        return measure(self._original, self.responses_of(built), self._seed if intervals else None)

    def fidelity(self, responses: Tensor) -> Fidelity:
        """Return the fidelity of responses [images, positions]."""
        return measure(self._original, responses, self._seed)

    def examples(self, built: BuiltCircuit) -> FidelityExamples:
        """Return examples of a circuit's fidelity."""
        return fidelity_examples.collect(
            self._subnetwork, self._images, self._original, self.responses_of(built), self._seed
        )

    def responses_of(self, built: BuiltCircuit) -> Tensor:
        """Return the responses of a circuit, float64 [images, positions], and keep them."""
        if id(built) not in self._seen:
            self._seen[id(built)] = built, self.run(built)
        return self._seen[id(built)][1]

    def run(self, built: BuiltCircuit) -> Tensor:
        """Return the responses of a circuit, float64 [images, positions], without keeping them."""
        label = f"circuits on {self._label}"
        if not count(built.effective):
            # A collapsed circuit answers every image with the same map. What that map, made of biases and padding, has
            # in common with the feature is position, and preserves nothing.
            circuit = responses(self._subnetwork, self._images, label, built.edits)
            return circuit.mean().expand_as(circuit)
        digest = self._images.digest
        if built.sparse_runner is None:
            return responses(self._subnetwork, self._images, label, built.edits)
        batches = enumerate(self._images.batches(label))
        return torch.cat(
            [built.sparse_runner(batch, (digest, number)).flatten(1).double() for number, batch in batches]
        )
