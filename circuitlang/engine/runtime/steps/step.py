"""Steps: the pieces of work that a run is made of, of which circuits share many.

A step is known by its key, which says all that it follows from. What is in the cache, or was made for an earlier
circuit, is not made again, and neither is what only it needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from circuitlang.engine.runtime.amounts import TOGETHER
from circuitlang.engine.runtime.network_costs import Forward
from circuitlang.results.forecast import Cost

T = TypeVar("T")
# The maker of what is in the cache.
CACHE = "cache"


@dataclass(frozen=True)
class SharedPass:
    """A pass over images that steps of several targets are done in together.

    Attributes:
        images: The images, and what else steps have in common that are done in one pass.
        target: The target of the step.
        forward: Operations up to the target; what leads to several targets is computed once.
        going: The part of the step's cost that goes forward.
        gradient: What the backward pass begins with; those of one target that begin alike share it. None without one.
    """

    images: str
    target: str
    forward: Forward
    going: Cost
    gradient: Hashable = None


@dataclass(frozen=True)
class Step:
    """A piece of work.

    Attributes:
        kind: A word for what it makes.
        key: All that it follows from, as far as a plan says it; empty for what no two circuits share.
        cost: Its cost, without what it needs.
        needs: Steps that are made first, unless it is there.
        together: The pass in which it is done with others; None if it is done by itself.
    """

    kind: str
    key: str
    cost: Cost
    needs: tuple[Step, ...] = ()
    together: SharedPass | None = None


@dataclass(frozen=True)
class Remaining:
    """The steps of a circuit or an edit that are left when its turn comes.

    Attributes:
        cost: Cost of the steps that it makes, less what is computed for others in the same passes.
        makers: The maker of the others, by kind: `CACHE`, or the id of an earlier circuit; of several the last one.
        beside: The first circuit of those that steps are done together with, by kind, unless it is itself.
    """

    cost: Cost
    makers: Mapping[str, str]
    beside: Mapping[str, str]


class Ledger:
    """The maker of each step of a run, one circuit after another.

    Args:
        there: Keys of steps whose outcome is in the cache.
    """

    def __init__(self, there: Collection[str] = ()) -> None:
        self._makers = dict.fromkeys(there, CACHE)
        self._passes: defaultdict[str, _SharedPasses] = defaultdict(_SharedPasses)

    def take(self, name: str, steps: Iterable[Step]) -> Remaining:
        """Return what is left of the steps of the next circuit, which makes it."""
        cost, makers, beside = Cost(), dict[str, str](), dict[str, str]()
        for step in self._made(name, steps, makers):
            cost += step.cost
            if step.together is not None:
                first, spared = self._passes[step.together.images].join(name, step.together, step.cost)
                cost -= spared
                if first != name:
                    beside[step.kind] = first
        return Remaining(cost, makers, beside)

    def _made(self, name: str, steps: Iterable[Step], makers: dict[str, str]) -> Iterator[Step]:
        for step in steps:
            if maker := self._makers.get(step.key):
                makers[step.kind] = maker
                continue
            yield from self._made(name, step.needs, makers)
            if step.key:
                self._makers[step.key] = name
            yield step


class _SharedPasses:
    """Passes over the same images, each for as many targets as are taken together."""

    def __init__(self) -> None:
        # The first circuit of the pass in which a target is, by target.
        self._first: dict[str, str] = {}
        # The targets whose backward pass is known, with what it begins with.
        self._backward: set[tuple[str, Hashable]] = set()
        # The steps of the network that the last pass computes.
        self._computed: set[str] = set()

    def join(self, name: str, own: SharedPass, cost: Cost) -> tuple[str, Cost]:
        """Return the first circuit of the pass that another one joins with a step, and what that spares."""
        known = own.gradient is not None and (own.target, own.gradient) in self._backward
        self._backward.add((own.target, own.gradient))
        if own.target in self._first:
            return self._first[own.target], cost if known else own.going
        first = name
        if len(self._first) % TOGETHER:
            first = next(reversed(self._first.values()))
        else:
            self._computed.clear()
        self._first[own.target] = first
        others = own.forward.steps.keys() - {own.forward.own}
        there = sum(own.forward.steps[step] for step in others & self._computed)
        self._computed |= others
        share = there / own.forward.operations
        # An image has been forward, if only a part of the way.
        going = own.going
        spared = replace(going * share, forwards=going.forwards, forwarded=going.forwarded)
        return first, spared if share else Cost()


def parts(items: Iterable[T], target: Callable[[T], Hashable], most: int = TOGETHER) -> Iterator[list[T]]:
    """Yield items that are done together, in their order: those of so many targets, of each all that there are."""
    of: dict[Hashable, list[T]] = {}
    for item in items:
        of.setdefault(target(item), []).append(item)
    groups = list(of.values())
    for start in range(0, len(groups), most):
        yield [item for group in groups[start : start + most] for item in group]
