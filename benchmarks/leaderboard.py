"""Every criterion and every test of circuits on the same data: `python -m benchmarks.leaderboard`.

Writes docs/leaderboard.json, which has the numbers, and docs/leaderboard.md, which is made from them. Criteria and
tests are those of circuitlang and those of any package that is installed, by the entry points `circuitlang.criteria`
and `circuitlang.tests`. A criterion has its defaults.

Data are the planted networks of `benchmarks/planted.py`, the bundled network, and with `--real` trained networks of
other people, which are passed over where their files are missing. What a row is measured on and the file of its
criterion are hashed: a row that is there is not measured again unless one of them changed. Rows of criteria that are
not installed stay while the data are the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.fidelity import NETS, PHOTOGRAPHS, ROOT, curve, draw, variant
from benchmarks.fidelity import Ground as Network
from benchmarks.leaderboard_page import page
from benchmarks.leaderboard_rows import Board, Numbers, Row, Section, read_board, write_board
from benchmarks.planted import grounds, means
from benchmarks.planted_claims import CLAIMS, Grounds, by_claim, refuted
from benchmarks.planted_networks import SCENARIOS
from circuitlang.base.atomic_files import write_atomically
from circuitlang.base.versions import version
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.fidelity import responses
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.models.weights import fingerprint
from circuitlang.plan.model import digest
from circuitlang.plugins.hypothesis_tests import TESTS
from circuitlang.plugins.protocols import CRITERIA
from circuitlang.plugins.registry import Declaration, Registry

SIZES = (0.01, 0.05, 0.1, 0.2)
METRICS = ("pearson", "r2")
# Networks of each kind: for criteria, and for tests, which are slower.
SEEDS, TEST_SEEDS = 5, 1
# The criterion that finds circuits again for the test of stability.
STABLE_BY = "taylor"
# Digits that are kept: below them, machines differ.
DIGITS = 4


@dataclass(frozen=True)
class Sample:
    """Amounts of a network that are measured: channels, images, half of them held out, and the side of an image."""

    channels: int
    images: int
    pixels: int


SAMPLES = {"bundled": Sample(8, 100, 64), "squeezenet": Sample(4, 48, 128), "resnet18": Sample(4, 48, 128)}
REAL = {"squeezenet": "squeezenet1_0.safetensors", "resnet18": "resnet18.safetensors"}


@dataclass(frozen=True)
class Ground:
    """Data that everything of a registry is measured on; `measure` returns the numbers of one of its names."""

    name: str
    about: str
    data: str
    columns: Sequence[str]
    registry: Registry[Any]
    measure: Callable[[str], Numbers]


def planted(seeds: int, scenarios: Sequence[str] = tuple(SCENARIOS)) -> Ground:
    """Criteria on networks whose circuits are known."""
    there = grounds(seeds, scenarios)

    def measure(name: str) -> Numbers:
        return {scenario: _rounded(means(name, some)) for scenario, some in there.items()}

    about = f"{seeds} networks of each kind"
    return Ground("planted", about, _planted_data(there), ("precision", "recall", "pearson"), CRITERIA, measure)


def claims(seeds: int) -> Ground:
    """Tests of circuits on true and false ones of these networks."""
    there = grounds(seeds)

    def measure(name: str) -> Numbers:
        return {claim: _rounded(share.tolist()) for claim, share in by_claim(refuted(there, STABLE_BY, [name])).items()}

    data = digest("\n".join((_planted_data(there), STABLE_BY, *CLAIMS)).encode())
    return Ground(
        "tests", f"{seeds} planted network{'' if seeds == 1 else 's'} of each kind", data, ("refuted",), TESTS, measure
    )


def network(name: str, sample: Sample) -> Ground:
    """Criteria on channels of a trained network, drawn at random."""
    there = NETS[name](sample.pixels, sample.images, 0)
    channels = list(draw(there, sample.channels, 0))
    columns = [f"{metric} {size:g}" for metric in METRICS for size in SIZES]
    side = there.train.preprocess.crop
    about = f"{len(channels)} channels, {len(there.train)} + {len(there.test)} images of {side} pixels"
    hashes = fingerprint(there.graph.module), there.train.digest, there.test.digest
    data = digest(f"{hashes} {side} {channels} {columns}".encode())
    measure = partial(_network_numbers, there, channels)
    return Ground(name, about, data, (*columns, "passes"), CRITERIA, measure)


def _network_numbers(there: Network, channels: Sequence[tuple[str, int]], criterion: str) -> Numbers:
    plan = variant(f"criterion={criterion}")
    numbers = {}
    for layer, unit in channels:
        subnetwork = TargetSubnetwork(there.graph, Target(there.graph.find(layer), (unit,)))
        original = responses(subnetwork, there.test, ""), responses(subnetwork, there.train, "")
        points = curve(there, subnetwork, original, plan, SIZES)
        values = [point[metric] for metric in METRICS for point in points]
        numbers[f"{layer}:{unit}"] = _rounded([*values, sum(point["together"] for point in points)])
    return numbers


def _planted_data(there: Grounds) -> str:
    parts = (
        f"{scenario} {fingerprint(net.module)} {_hash(net.train)} {_hash(net.test)} {sorted(map(sorted, net.truths))}"
        for scenario, some in there.items()
        for net, _ in some
    )
    return digest("\n".join(parts).encode())


def _hash(images: torch.Tensor) -> str:
    return digest(images.contiguous().numpy().tobytes())


def _rounded(values: Sequence[float]) -> list[float]:
    # No minus before nothing.
    return [round(value, DIGITS) + 0.0 for value in values]


def _code(declaration: Declaration) -> str:
    """A hash of the file of a criterion or test."""
    spec = importlib.util.find_spec(declaration.module)
    if spec is None or spec.origin is None:
        sys.exit(f"{declaration.module} has no file")
    return digest(Path(spec.origin).read_bytes())


def measured(ground: Ground, old: Section | None, names: Sequence[str], again: bool) -> Iterator[Section]:
    """Yield the section of a ground after each row that was measured, and once at least; `names` are the rows that are
    wanted, or none for all."""
    same = old is not None and old.data == ground.data and old.columns == list(ground.columns)
    rows = dict(old.rows) if old and same else {}
    declarations = ground.registry.declarations
    for name in sorted(old.rows.keys() - declarations.keys() - rows.keys()) if old else ():
        print(f"{ground.name}: {name} is dropped, it is of other data and is not installed", file=sys.stderr)
    section = Section(ground.about, ground.data, list(ground.columns), rows)
    for name in names or sorted(declarations):
        code = _code(declarations[name])
        if name in rows and rows[name].code == code and not again:
            continue
        print(f"{ground.name}: {name}", file=sys.stderr, flush=True)
        module = declarations[name].module
        own = module.startswith("circuitlang.")
        rows[name] = Row(code, version("circuitlang"), ground.measure(name), "" if own else module)
        yield section
    yield section


def wanted(real: Sequence[str]) -> Iterator[Callable[[], Ground]]:
    """Yield what makes each kind of data, and say which are missing."""
    yield partial(planted, SEEDS)
    yield partial(claims, TEST_SEEDS)
    yield partial(network, "bundled", SAMPLES["bundled"])
    for name in real:
        if PHOTOGRAPHS.joinpath(REAL[name]).is_file():
            yield partial(network, name, SAMPLES[name])
        else:
            print(f"{name}: skipped, there is no {PHOTOGRAPHS / REAL[name]}", file=sys.stderr)


def update(folder: Path, kinds: Sequence[Callable[[], Ground]], names: Sequence[str] = (), again: bool = False) -> None:
    """Measure the rows that are missing or changed, or those of some names, and write the file after each and the page
    in the end."""
    file = folder / "leaderboard.json"
    board = read_board(file)
    for kind in kinds:
        ground = kind()
        chosen = [name for name in names if name in ground.registry.declarations]
        if names and not chosen:
            continue
        for section in measured(ground, board.sections.get(ground.name), chosen, again):
            board = Board({**board.sections, ground.name: section})
            write_board(file, board)
    write_atomically(folder / "leaderboard.md", page(board).encode(), mode=0o644)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    known = [*CRITERIA.declarations, *TESTS.declarations]
    parser.add_argument("--only", nargs="+", choices=known, default=(), metavar="NAME", help="these rows alone")
    parser.add_argument("--real", nargs="*", choices=REAL, help="real networks, too: these, or all that are there")
    parser.add_argument("--again", action="store_true", help="measure rows that are there as well")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", metavar="FOLDER", help="(default docs)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    real = () if options.real is None else options.real or tuple(REAL)
    update(options.out, list(wanted(real)), options.only, options.again)


if __name__ == "__main__":
    main()
