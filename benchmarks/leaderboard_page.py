"""The leaderboard as a page: docs/leaderboard.md, from the numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from statistics import fmean, median

from benchmarks.leaderboard_rows import Board, Row, Section
from circuitlang.results.sweep import area

_HEAD = """# Leaderboard

Every criterion with its defaults, on the same data; written by one command, which measures the rows that are missing:

```sh
python -m benchmarks.leaderboard          # planted circuits, tests, the bundled network: nine minutes
python -m benchmarks.leaderboard --real   # SqueezeNet and ResNet-18 as well, where their weights are
```

Rows are sorted, best first. `random` and `magnitude` are baselines, which look at no
image. The numbers of every channel and network are in [leaderboard.json](leaderboard.json).

## Your criterion

A criterion of your own gets on this page without a change to circuitlang: write it in one file, declare it by the entry
point `circuitlang.criteria` in your package's `pyproject.toml`, as [CONTRIBUTING](https://github.com/circuitlang/circuitlang/blob/main/CONTRIBUTING.md)
shows, and

```sh
pip install your-package
python -m benchmarks.leaderboard --only your_criterion --real
```

measures your row alone. Propose the changed `leaderboard.json` and `leaderboard.md`; your package need not be installed
when others renew the page. A row is measured again when its data or the file of its criterion change. Tests of circuits
come the same way, by the entry point `circuitlang.tests`.
"""

_PLANTED = """## Planted circuits

Precision / recall of the planted kernels, {about}.
A criterion gets as many kernels as are planted. *Mean* is over all kinds of networks, which
[Planted circuits](planted.md) describes.
"""

_NETWORK = """{about}.
Kernels are scored on one half of the images; r and r2 compare the circuit's map with the network's on the other half,
medians over the channels. r has its sign. *CPR* is the area below r over the logarithm of
the size, divided by its width, and *CMD* the area between r2 and 1: after the circuit performance ratio and the
circuit-model distance of MIB (Mueller et al. 2025), with the correlation as performance and the squared error, as a
share of the feature's variance, as distance. *Passes* are those of all four sizes together.
"""

_TESTS = """## Tests of a circuit

How often a test refutes a circuit, by how wrong it is: the true circuit, circuits some of whose kernels are swapped for
others that don't matter, circuits that lack kernels or have more, and random ones.
Measured on {about}.
A good test has 0% in the first row, and 100% where the circuit lost what it needs. A circuit that is too
large still preserves the feature, and minimality alone is about that. Where the rest of the network makes part of the
feature as well, necessity refutes the true circuit too. [Tests of a circuit](concepts/tests-of-a-circuit.md) says what
each claims.
"""

# Columns of scenarios in one table.
_WIDTH = 5
_TITLES = {"bundled": "The bundled network", "squeezenet": "SqueezeNet 1.0", "resnet18": "ResNet-18"}
_UNMEASURED = "Not measured here: `python -m benchmarks.leaderboard --real {name}` does it where the weights are.\n"


def page(board: Board) -> str:
    """The page, Markdown."""
    sections = board.sections
    blocks = [_HEAD]
    if "planted" in sections:
        blocks += [_PLANTED.format(about=sections["planted"].about), *_planted(sections["planted"])]
    for name, title in _TITLES.items():
        blocks.append(f"## {title}\n")
        if name in sections:
            blocks += [_NETWORK.format(about=sections[name].about), *_network(sections[name])]
        else:
            blocks.append(_UNMEASURED.format(name=name))
    if "tests" in sections:
        blocks += [_TESTS.format(about=sections["tests"].about), _tests(sections["tests"])]
    return "\n".join(blocks)


def _planted(section: Section) -> Iterator[str]:
    """Yield tables of at most `_WIDTH` kinds of networks, the first with the means."""
    place = {column: number for number, column in enumerate(section.columns)}
    scenarios = list(next(iter(section.rows.values())).numbers)

    def numbers(row: Row, scenario: str) -> tuple[float, float]:
        return row.numbers[scenario][place["precision"]], row.numbers[scenario][place["recall"]]

    def mean(row: Row) -> tuple[float, float]:
        pairs = [numbers(row, scenario) for scenario in scenarios]
        return fmean(precision for precision, _ in pairs), fmean(recall for _, recall in pairs)

    order = _sorted(section, lambda row: (mean(row)[1], mean(row)[0]))
    for start in range(0, len(scenarios), _WIDTH):
        shown = scenarios[start : start + _WIDTH]
        title = ["criterion", *(["mean"] if not start else []), *shown]
        yield _table(
            title,
            (
                [
                    _named(name, row),
                    *([_pair(mean(row))] if not start else []),
                    *(_pair(numbers(row, s)) for s in shown),
                ]
                for name, row in order
            ),
        )


def _network(section: Section) -> Iterator[str]:
    """Yield a table of r and one of r2."""
    place = {column: number for number, column in enumerate(section.columns)}
    sizes = [float(column.partition(" ")[2]) for column in section.columns if column.startswith("pearson ")]

    def middle(row: Row, column: str) -> float:
        return median(numbers[place[column]] for numbers in row.numbers.values())

    def values(row: Row, metric: str) -> list[float]:
        return [middle(row, f"{metric} {size:g}") for size in sizes]

    def mean(row: Row, metric: str) -> float:
        return area(list(zip(sizes, values(row, metric), strict=True))) or 0.0

    order = _sorted(section, lambda row: (mean(row, "pearson"), mean(row, "r2")))
    labels = [f"{size:g}" for size in sizes]
    by_r = (
        [
            _named(name, row),
            *map(_number, (mean(row, "pearson"), *values(row, "pearson"))),
            f"{middle(row, 'passes'):g}",
        ]
        for name, row in order
    )
    by_r2 = ([_named(name, row), *map(_number, (1 - mean(row, "r2"), *values(row, "r2")))] for name, row in order)
    yield _table(["criterion", "CPR", *(f"r, {label}" for label in labels), "passes"], by_r)
    yield _table(["criterion", "CMD", *(f"r2, {label}" for label in labels)], by_r2)


def _tests(section: Section) -> str:
    """Return a table with a column for each test, the one that refutes the fewest true circuits first."""
    claims = list(next(iter(section.rows.values())).numbers)

    def false(row: Row) -> float:
        return fmean(row.numbers[claim][0] for claim in claims if claim != "true")

    order = _sorted(section, lambda row: (-row.numbers["true"][0], false(row)))
    shares = ([claim, *(f"{row.numbers[claim][0]:.0%}" for _, row in order)] for claim in claims)
    return _table(["the circuit is", *(_named(name, row) for name, row in order)], shares)


def _sorted(section: Section, key: Callable[[Row], tuple[float, ...]]) -> list[tuple[str, Row]]:
    """The rows, the highest first and the same ones by name, as they are printed."""
    return sorted(section.rows.items(), key=lambda item: ([-round(value, 2) for value in key(item[1])], item[0]))


def _named(name: str, row: Row) -> str:
    return f"`{name}` ({row.module.partition('.')[0]})" if row.module else f"`{name}`"


def _pair(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.2f} / {pair[1]:.2f}"


def _number(value: float) -> str:
    # No minus before nothing.
    return f"{round(value, 2) + 0.0:.2f}"


def _table(title: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in chain([title], rows)]
    return "\n".join([lines[0], f"|---|{'---:|' * (len(title) - 1)}", *lines[1:]]) + "\n"
