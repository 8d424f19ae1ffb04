"""The claim of a circuit, as hypothesis tests see it: other circuits are built and run for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Generator, Tensor

from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.random_circuits import random_circuit, random_scores, with_weight
from circuitlang.engine.evaluation.statistics import moments
from circuitlang.plan.clauses import Choice
from circuitlang.plugins.hypothesis_tests import TESTS, HypothesisOutcome
from circuitlang.plugins.protocols import METRICS, Edit, Edits, Masks


def derived_seed(seed: int, number: int) -> int:
    """Return the seed of one of the random choices that a circuit's tests make; `seed` is the circuit's."""
    # Torch's generator takes no notice of more than 32 bits of a seed.
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


@dataclass(frozen=True)
class BuiltClaim:
    """A circuit of a builder; implements `hypothesis_tests.CircuitClaim`.

    `run` returns the responses [images, positions] of the network with edits that make it the circuit of a mask.
    `halves` returns the circuits that are found on two halves of the images, for so many halvings; none for one image.
    `resamples` returns those that are found on so many bootstrap resamples of them, if these cost no pass.
    `drawn` are the random circuits so far.
    """

    builder: Builder
    masks: Masks
    edits: Edits
    network: Tensor
    circuit: Tensor
    run: Callable[[Masks, Edits], Tensor]
    halves: Callable[[int], Sequence[tuple[Masks, Masks]]]
    seed: int
    noun: str
    drawn: list[Masks] = field(default_factory=list)
    resamples: Callable[[int], Iterable[Masks]] = lambda _number: ()

    def test(self, choice: Choice) -> HypothesisOutcome:
        """Run a test."""
        return TESTS.load(choice.name).run(self, **choice.parameters)

    def generator(self, number: int) -> Generator:
        """Return a generator that is seeded with the circuit's seed and a number."""
        return Generator().manual_seed(derived_seed(self.seed, number))

    def error(self, responses: Tensor) -> float:
        """Return the fidelity error of responses [images, positions]."""
        weights = torch.ones(1, len(self.network)).double()
        return float(METRICS.load("error").measure(moments(self.network, responses, weights)))

    def random_circuits(self, number: int) -> Iterator[Masks]:
        """Yield so many random circuits of the same size and layer profile; the first are the same for all tests."""
        while len(self.drawn) < number:
            generator = self.generator(2 + len(self.drawn))
            self.drawn.append(random_circuit(self.builder, self.masks, generator))
        yield from self.drawn[:number]

    def found_on_halves(self, number: int) -> Iterator[tuple[Masks, Masks]]:
        """Yield the circuits that are found on two halves of the images, for so many random halvings."""
        yield from self.halves(number)

    def found_on_resamples(self, number: int) -> Iterator[Masks]:
        """Yield the circuits that are found on so many bootstrap resamples of the images."""
        yield from self.resamples(number)

    def built_error(self, masks: Masks) -> float:
        """Return the error of the circuit of other kernels, built as the spec describes it."""
        return self.error(self.run(masks, self.builder.build(masks)))

    def ablated_error(self, masks: Masks) -> float:
        """Return the error of the network with these kernels ablated."""
        rest = {path: relevant & ~masks[path] for path, relevant in self.builder.in_network.items()}
        return self.error(self.run(rest, self.builder.build(rest, fitted=False)))

    def changed_error(self, masks: Masks) -> float:
        """Return the error of the circuit with kernels added or removed, whose refit stays that of the circuit."""
        edits = {path: self.changed(path, edit, masks[path]) for path, edit in self.edits.items()}
        return self.error(self.run(masks, edits))

    def changed(self, path: str, edit: Edit, mask: Tensor) -> Edit:
        """Return an edit with gains of 0 for kernels that are removed, and 1 for those that are added."""
        own = self.masks[path]
        if torch.equal(own, mask):
            return edit
        gain = edit.gain
        removed, added = (own & ~mask).to(gain.device), (mask & ~own).to(gain.device)
        changed = torch.where(added, torch.ones_like(gain), torch.where(removed, torch.zeros_like(gain), gain))
        if gain.dim() == 4:
            return Edit(changed, edit.offset)
        lost: Tensor = (self.builder.ablation_values[path] * (gain.double() - changed.double()).cpu()).sum(1)
        return Edit(changed, lost if edit.offset is None else edit.offset + lost.to(edit.offset))

    def inflated(self, generator: Generator) -> tuple[Masks, Masks] | None:
        """Return the circuit with a random path through a random kernel outside of it, and it without that kernel.

        The kernel is drawn from the layers in proportion to the circuit's kernels there, and kernels whose weights are
        all zero are not drawn. None if there is no other.
        """
        pool = with_weight(self.builder)
        outside = {path: mask & ~self.masks[path] for path, mask in pool.items()}
        paths = [path for path, mask in outside.items() if mask.any() and self.masks[path].any()]
        if not paths:
            return None
        sizes = torch.tensor([float(self.masks[path].sum()) for path in paths])
        path = paths[int(torch.multinomial(sizes, 1, generator=generator))]
        candidates = outside[path].nonzero()
        place = candidates[int(torch.randint(len(candidates), (1,), generator=generator))]
        through = {name: torch.zeros_like(mask) for name, mask in outside.items()}
        through[path][tuple(place.tolist())] = True
        scores = {name: score * pool[name] for name, score in random_scores(outside, generator).items()}
        added = self.builder.path(scores, self.builder.relevant, through)
        inflated = {name: mask | added[name] | through[name] for name, mask in self.masks.items()}
        return inflated, {name: mask & ~through[name] for name, mask in inflated.items()}

    def single_knock_outs(self) -> Iterator[Masks]:
        """Yield the circuit without one of its kernels, for each of them."""
        for path, mask in self.masks.items():
            for place in mask.nonzero().tolist():
                without = mask.clone()
                without[tuple(place)] = False
                yield {**self.masks, path: without}
