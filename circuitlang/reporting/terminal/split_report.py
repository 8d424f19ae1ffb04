"""The terminal's report of a split: the verdict first, then what it stands on."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuitlang.reporting.terminal.layout import Claim, origin, section, separated
from circuitlang.reporting.text import split_sentences
from circuitlang.results.split import Split

# Pairs of parts that have a column each; of more their mean is shown.
_PAIRS = 3


def render(split: Split, folder: Path | None = None) -> RenderableType:
    """Render the report of a split; `folder` is where its files are, if they were written."""
    parts: list[RenderableType] = [_claim(split)]
    parts += [Text(f"! {note}", "yellow") for note in split_sentences.notes(split)]
    parts += [_parts(split), _overlaps(split), origin(split.plan.statement, split_sentences.origin(split), folder)]
    return separated(parts)


def _claim(split: Split) -> RenderableType:
    text = Text()
    text.append(f"{split.plan.target}", "bold")
    text.append(f" of {split.model.name}, on {split.plan.images}\n", "dim")
    sentence = split_sentences.conclusion(split)
    style = "bold green" if split_sentences.is_clear(split) else "bold yellow"
    text.append(sentence[:1].upper() + sentence[1:], style)
    for line in split_sentences.evidence(split):
        text.append(f"\n{line}", "dim")
    return Claim(text, split.plan.id)


def _parts(split: Split) -> RenderableType:
    """Tabulate fidelity: a row for each circuit, a column for the images of each part."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("circuit of", no_wrap=True)
    for title in ("images", "held out", "kept", *(f"on {number}" for number, _ in enumerate(split.kinds, 1))):
        table.add_column(title, justify="right", no_wrap=True)
    for number, kind in enumerate(split.kinds):
        cells = [
            _number(value, "bold" if place == number else "") for place, value in enumerate(split.fidelity[number])
        ]
        table.add_row(f"part {number + 1}", f"{len(kind.train)}", f"{len(kind.test)}", f"{kind.kept:,}", *cells)
    found_on, held_out = (sum(map(len, names)) for names in zip(*((k.train, k.test) for k in split.kinds), strict=True))
    cells = [_number(value, "dim") for value in split.fidelity[-1]]
    table.add_section()
    table.add_row("all images", f"{found_on}", f"{held_out}", f"{split.whole:,}", *cells, style="dim")
    lines = Group(table, Text(f"silhouette: {split_sentences.tried(split)}", "dim"))
    return section("parts", "pearson of each circuit on the held-out images of each part", lines)


def _number(value: float | None, style: str) -> Text:
    return Text("-" if value is None else f"{value:.3f}", style)


def _overlaps(split: Split) -> RenderableType:
    pairs = list(dict.fromkeys(overlap.parts for overlap in split.overlaps))
    layers = list(dict.fromkeys(overlap.layer for overlap in split.overlaps))
    overlaps = {(overlap.parts, overlap.layer): (overlap.iou, overlap.chance) for overlap in split.overlaps}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer")
    shown = [[pair] for pair in pairs] if len(pairs) <= _PAIRS else [pairs]
    titles = [f"{one} and {other}" for one, other in pairs] if len(pairs) <= _PAIRS else ["mean of pairs"]
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
        table.add_column("chance", justify="right", no_wrap=True, style="dim")
    for layer in [*layers[1:], layers[0]]:
        if not layer:
            table.add_section()
        cells = [
            _number(_mean([overlaps[pair, layer][place] for pair in some]), "") for some in shown for place in (0, 1)
        ]
        table.add_row(Text(layer or "all", "" if layer else "bold"), *cells)
    return section("overlap", "kernels that both keep, of those that either keeps", table)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
