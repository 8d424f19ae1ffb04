"""Circuits of any size by one criterion, built so that they can be run."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import fx, nn

from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.extraction.extractor import extract
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.loops import backend
from circuitlang.plan.model import Choice
from circuitlang.plugins.protocols import CRITERIA, Batches, Edits, Masks, Scores

# Above this share of kernels, the masked network runs faster than the kernels one by one.
_MANY = 0.5


@dataclass(frozen=True)
class BuiltCircuit:
    """A circuit: the scores it was selected by, its kernels, those of them that are on a path, and what makes the
    network it; in a search also what it reaches of each bound."""

    subnetwork: TargetSubnetwork
    scores: Scores
    masks: Masks
    effective: Masks
    edits: Edits
    values: Sequence[float] = ()

    @cached_property
    def module(self) -> fx.GraphModule:
        """The circuit as a network of its own."""
        return extract(self.subnetwork, self.edits)

    @cached_property
    def sparse_runner(self) -> nn.Module | None:
        """Return a faster way than the masked network to compute the circuit's maps, if there is one."""
        weights = self.subnetwork.weights
        plain = all(weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in weights.values())
        few = count(self.effective) <= _MANY * count(self.subnetwork.relevant)
        if not (plain and few and (sparse := backend.compiled("sparse_runner"))) or self.subnetwork.target.at == "max":
            return None
        network = self.subnetwork.graph.module
        try:
            runner: nn.Module = sparse.Sparse(self.module, _KNOWN.setdefault(network, sparse.Channels()))
        except Exception:  # it can't be cut out; of the circuit that was asked for, that is said where it must be
            return None
        return runner


# Values that circuits of a network have in common on some images, by network.
_KNOWN: MutableMapping[nn.Module, Any] = WeakKeyDictionary()


class CircuitFinder:
    """Finds circuits of any size by one criterion."""

    def __init__(
        self,
        builder: Builder,
        criterion: Choice,
        seed: int,
        score_cache: ScoreCache | None = None,
        contrast: Batches | None = None,
        arithmetic: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.builder, self._criterion, self._seed, self.score_cache = builder, criterion, seed, score_cache
        self._contrast, self._arithmetic = contrast, arithmetic
        self._scores: Scores | None = None

    def __call__(self, size: int, kept: Masks | None = None) -> BuiltCircuit:
        """Return the circuit of `size` kernels, or of kept ones."""
        scores = self._scores_for(size)
        masks = self.builder.select(scores, size) if kept is None else kept
        return BuiltCircuit(
            self.builder.subnetwork, scores, masks, self.builder.connected(masks), self.builder.build(masks)
        )

    def masks(self, size: int) -> Masks:
        """Return the `size` kernels of the circuit, without building it."""
        return self.builder.select(self._scores_for(size), size)

    def _scores_for(self, size: int) -> Scores:
        """Return scores; only criteria that score for a size score again."""
        scores = self._scores
        nested = CRITERIA.load(self._criterion.name).nested
        if scores is None:
            compute = partial(self._score, size)
            scores = self.score_cache.scores(None if nested else size, compute) if self.score_cache else compute()
        self._scores = scores if nested else None
        return scores

    def _score(self, size: int) -> Scores:
        choice = self._criterion.name, self._criterion.parameters
        with self._arithmetic():
            return score(self.builder, *choice, size, self._seed, self._contrast, self.score_cache)
