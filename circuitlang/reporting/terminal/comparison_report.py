"""A comparison of circuits, for the terminal: what they share, what chance alone would have them share, how alike their
maps are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuitlang.base.diagnostics import listing
from circuitlang.reporting.terminal.layout import Claim, empty_table, section, separated
from circuitlang.reporting.text import circuit_sentences
from circuitlang.reporting.text.extension_calls import without_defaults
from circuitlang.results.comparison import COLUMNS, Agreement, Comparison, Member, Pair, columns, letter
from circuitlang.results.overlap import Part

# Below this, probabilities differ by what nobody could tell.
_LEAST = 1e-12
_CHANCE = (
    "chance: the mean IoU of two circuits that have, layer by layer, as many {noun}s as these, drawn uniformly and "
    "independently from the relevant ones; p: how probable it is that such share so many or more"
)


def render(comparison: Comparison, folder: Path | None = None) -> RenderableType:
    """Render the report of a comparison; `folder` is where its files are, if they were written."""
    parts: list[RenderableType] = [_claim(comparison), _members(comparison)]
    if len(comparison.members) == 2:
        parts.append(_layers(comparison, comparison.pairs[0]))
    else:
        parts += [_matrices(comparison), _layers_of_all(comparison)]
    if folder is not None:
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column(overflow="fold")
        grid.add_row("files", Text(f"{folder}/", "bold"))
        grid.add_row("", "  ".join(names))
        parts.append(grid)
    return separated(parts)


def claims(comparison: Comparison) -> list[str]:
    """State the findings in sentences: all of them for two circuits, else the pairs that share most and least."""
    if len(comparison.members) == 2:
        (pair,) = comparison.pairs
        return [shared(comparison, pair), agreement(pair)]
    overlapping = [pair for pair in comparison.pairs if pair.overlap.total.iou is not None]
    if not overlapping:
        return ["None of these circuits keeps anything."]
    ranked = sorted(overlapping, key=lambda pair: -(pair.overlap.total.iou or 0))
    if len(overlapping) == 1:
        return [shared(comparison, ranked[0])]
    return [f"Most alike: {shared(comparison, ranked[0])}", f"Least alike: {shared(comparison, ranked[-1])}"]


def title(comparison: Comparison) -> str:
    """Return the circuits' names."""
    return listing([member.name for member in comparison.members], limit=3)


def shared(comparison: Comparison, pair: Pair) -> str:
    """State how much two circuits share, against chance."""
    names = [comparison.members[index].name for index in (pair.first, pair.second)]
    total = pair.overlap.total
    if total.iou is None:
        return f"{names[0]} and {names[1]} keep nothing."
    if total.shared == total.union:
        return f"{names[0]} and {names[1]} are the same {total.shared:,} {comparison.noun}s."
    both = f"{total.shared:,} of {total.union:,} {comparison.noun}s"
    said = f"{names[0]} and {names[1]} share {both}: IoU {total.iou:.3f}"
    if total.expected_iou is None:
        return f"{said}."
    return f"{said}, by chance {total.expected_iou:.3f} (p {probability(total.p)})."


def agreement(pair: Pair) -> str:
    """State how alike the maps of two circuits are, or why that can't be said."""
    values = pair.agreement
    if values is None:
        return f"Their maps are not compared: {pair.silent}."
    first, *others = [f"{name} {value:.3f}{_interval(values, name)}" for name, value in values.metrics.items()]
    number = f"{values.pictures} image{'' if values.pictures == 1 else 's'}"
    where = f"{number} held out from both" if values.held_out else f"{number} that aren't held out from both"
    return f"Their maps are alike by {first} on {where}" + (f"; {', '.join(others)}." if others else ".")


def _interval(values: Agreement, name: str) -> str:
    """Return the interval of the first metric; those of all metrics would be too much to read."""
    if name not in values.intervals or name != next(iter(values.metrics)):
        return ""
    return f" ({circuit_sentences.interval(values.intervals[name])})"


def probability(p: float | None) -> str:
    """Format a probability as `= 0.01` or `< 0.001`."""
    if p is None:
        return "–"
    if p < _LEAST:
        return f"< {_LEAST:.0e}"
    return f"= {p:.2g}"


def count(number: float) -> str:
    """Format an expected count, with a decimal below 100."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


def share(value: float | None) -> str:
    """Intersection over union; nothing where there is nothing."""
    return "–" if value is None else f"{value:.3f}"


def fidelity(member: Member) -> str:
    """State the fidelity of one circuit."""
    return "–" if member.pearson is None else f"{member.pearson:.3f}"


def count_of(number: int, member: Member) -> str:
    """Format a count, with its unit where that isn't kernels."""
    return f"{number:,}" if member.noun == "kernel" else f"{number:,} {member.noun}s"


def chance(comparison: Comparison) -> str:
    """State what chance means here."""
    said, first = _CHANCE.format(noun=comparison.noun), comparison.members[0]
    if not first.zero:
        return said
    zero = f"{first.zero:,} of the {first.relevant:,} relevant {first.noun}s of {first.name}"
    return f"{said}. {zero} are zero in the network: of those that aren't, chance would share more"


def _claim(comparison: Comparison) -> RenderableType:
    first, *rest = claims(comparison)
    text = Text(first, "bold")
    for line in rest:
        text.append(f"\n{line}", "")
    return Claim(text, f"compare {title(comparison)}")


def _members(comparison: Comparison) -> RenderableType:
    table = empty_table()
    table.add_column("", style="bold")
    for name in ("circuit", "target", "on", "kept", "pearson", "found by"):
        right = name in ("kept", "pearson")
        table.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for number, member in enumerate(comparison.members):
        table.add_row(
            letter(number),
            member.name,
            member.target,
            member.images,
            count_of(member.kept, member),
            fidelity(member),
            Text(without_defaults(member.how), "dim"),
        )
    return section("circuits", f"of {comparison.model}; pearson with the network's map", table)


def _layers(comparison: Comparison, pair: Pair) -> RenderableType:
    table = empty_table()
    for name in ("layer", "A", "B", "shared", "only A", "only B", "IoU", "chance", "p"):
        table.add_column(name, justify="left" if name == "layer" else "right", no_wrap=name != "layer")
    for path, part in pair.overlap.layers.items():
        table.add_row(comparison.layers[path], *_cells(part))
    table.add_section()
    table.add_row("all", *_cells(pair.overlap.total), style="bold")
    caption = chance(comparison)
    return Group(section(f"{comparison.noun}s", "kept, layer by layer", table), Text(caption, "dim"))


def _cells(part: Part) -> Iterator[str]:
    for number in (part.first, part.second, part.shared, part.only_first, part.only_second):
        yield f"{number:,}"
    yield share(part.iou)
    yield share(part.expected_iou)
    yield probability(part.p).removeprefix("= ")


def _matrices(comparison: Comparison) -> RenderableType:
    def overlapping(pair: Pair) -> str:
        return share(pair.overlap.total.iou)

    def alike(pair: Pair) -> str:
        return share(pair.agreement.metrics.get("pearson") if pair.agreement else None)

    parts = [
        section("overlap", "intersection over union", _matrix(comparison, overlapping)),
        section("maps", "pearson of two circuits' maps, on images held out from both", _matrix(comparison, alike)),
    ]
    reasons = dict.fromkeys(pair.silent for pair in comparison.pairs if pair.silent)
    notes = [Text(f"–: {reason}", "dim") for reason in reasons]
    if any(pair.agreement and not pair.agreement.held_out for pair in comparison.pairs):
        notes.append(Text("some have no such image, and are compared on those they are judged by", "dim"))
    return Group(parts[0], Text(), parts[1], *notes)


def _matrix(comparison: Comparison, say: Callable[[Pair], str]) -> Table:
    table = empty_table()
    table.add_column("", style="bold")
    numbers = range(len(comparison.members))
    shown = list(numbers)[: 2 * COLUMNS]
    for number in shown[:-1]:
        table.add_column(letter(number), justify="right", no_wrap=True)
    for row in numbers:
        if row:
            cells = [say(comparison.pair(column, row)) if column < row else "" for column in shown[:-1]]
            table.add_row(letter(row), *cells)
    return table


def _layers_of_all(comparison: Comparison) -> RenderableType:
    pairs = columns(comparison)
    table = empty_table()
    table.add_column("layer")
    for pair in pairs:
        table.add_column(f"A {letter(pair.second)}", justify="right", no_wrap=True)
    for path, name in comparison.layers.items():
        parts = [pair.overlap.layers.get(path) for pair in pairs]
        table.add_row(name, *(share(part.iou if part else None) for part in parts))
    table.add_section()
    table.add_row("all", *(share(pair.overlap.total.iou) for pair in pairs), style="bold")
    table.add_row("chance", *(share(pair.overlap.total.expected_iou) for pair in pairs), style="dim")
    p = (probability(pair.overlap.total.p).removeprefix("= ") for pair in pairs)
    table.add_row("p", *p, style="dim")
    caption = chance(comparison)
    return Group(section(f"{comparison.noun}s", "intersection over union, layer by layer", table), Text(caption, "dim"))
