"""The protocol of hypothesis tests: claims about a circuit that the images it is judged by can refute.

A test is a file with one decorated function, as any extension (see `plugins/protocols.py`). A package declares it by an
entry point of the group `circuitlang.tests`. Torch is imported for types only, because the compiler reads the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Concatenate, Literal, Protocol, TypeVar

import msgspec

from circuitlang.plugins.registry import Registry

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from circuitlang.plugins.protocols import Masks

    HypothesisTest = Callable[Concatenate["CircuitClaim", ...], "HypothesisOutcome"]

    H = TypeVar("H", bound=HypothesisTest)


class HypothesisOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a test.

    `statistic` is the number that the test is about, `p` its p-value if it has one, `verdict` what they show, in words.
    `share` is that of other circuits which have a kernel of the circuit, on average, and `bootstrap` the overlap of
    circuits of resampled images. A test that was left out has none of them, and its verdict is the reason.
    """

    verdict: str
    statistic: float | None = None
    p: float | None = None
    # Absent from files where a test has none.
    share: float | msgspec.UnsetType = msgspec.UNSET
    bootstrap: float | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True)
class Runs:
    """The cost of a test.

    Attributes:
        circuits: Circuits, or ablated networks, that are run on the images a circuit is judged by.
        built: Those among them that are built as the spec says, with a refit where it asks for one.
        halvings: Times that a circuit is found on each half of the images that the circuit was found on.
    """

    circuits: int = 0
    built: int = 0
    halvings: int = 0


class CircuitClaim(Protocol):
    """A circuit whose claim is tested, on the images that it is judged by.

    - `network` and `circuit` are the responses of either, float64 [images, positions].
    - `masks` are the circuit's kernels [out, in / groups], or single weights [out, in / groups, h, w], by layer.
    - `noun` is the unit that is counted: kernel or weight.
    """

    @property
    def network(self) -> Tensor: ...

    @property
    def circuit(self) -> Tensor: ...

    @property
    def masks(self) -> Masks: ...

    @property
    def noun(self) -> str: ...

    def generator(self, number: int) -> Generator:
        """Return a generator that is seeded with the circuit's seed and a number."""

    def error(self, responses: Tensor) -> float:
        """Return the fidelity error of responses [images, positions]."""

    def random_circuits(self, number: int) -> Iterator[Masks]:
        """Yield so many random circuits with as many kernels in every layer, and as many of these with weights that are
        all zero, connected where the circuit's `refill` connects its own. All tests see the same ones."""

    def found_on_halves(self, number: int) -> Iterator[tuple[Masks, Masks]]:
        """Yield the circuits of the same size that are found on two halves of the images, for so many random halvings.

        Nothing if there is one image alone; copies of an image stay in one half.
        """

    def found_on_resamples(self, number: int) -> Iterator[Masks]:
        """Yield the circuits of the same size that are found on so many bootstrap resamples of the images.

        Nothing if there is one image alone, and for criteria whose scores are no sums over images.
        """

    def built_error(self, masks: Masks) -> float:
        """Return the error of the circuit of other kernels, built as the spec describes it."""

    def ablated_error(self, masks: Masks) -> float:
        """Return the error of the network with these kernels ablated."""

    def changed_error(self, masks: Masks) -> float:
        """Return the error of the circuit with kernels added or removed, whose refit stays that of the circuit."""

    def inflated(self, generator: Generator) -> tuple[Masks, Masks] | None:
        """Return the circuit with a random path through a random kernel outside of it, and it without that kernel.

        None if the circuit has all relevant kernels.
        """

    def single_knock_outs(self) -> Iterator[Masks]:
        """Yield the circuit without one of its kernels, for each of them."""


@dataclass(frozen=True)
class HypothesisTestEntry:
    """A registered test; `better` is the side of p on which a circuit is better, `runs` computes its cost."""

    run: HypothesisTest
    better: Literal["higher", "lower"]
    runs: Callable[..., Runs]


TESTS: Registry[HypothesisTestEntry] = Registry(
    "test", "circuitlang.engine.evaluation.hypothesis_tests", "circuitlang.tests"
)


def hypothesis_test(
    better: Literal["higher", "lower"], *, runs: Callable[..., Runs] = lambda _kernels, **_parameters: Runs()
) -> Callable[[H], H]:
    """Register a test.

    `better` is the side of p on which a circuit is better: "lower" if its claim is the alternative that a small p
    speaks for, "higher" if its claim is the null hypothesis that a small p rejects. `runs` computes the cost from the
    number of kernels of the circuit, None where it is searched for, and all parameters.
    """

    def register(function: H) -> H:
        TESTS.add(function.__name__, function.__module__, HypothesisTestEntry(function, better, runs))
        return function

    return register
