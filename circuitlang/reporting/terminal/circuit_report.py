"""The report a researcher reads in the terminal: the claim first, then what it stands on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuitlang.base.deferred import np
from circuitlang.plan.clauses import claims
from circuitlang.plan.labels import Labels
from circuitlang.reporting.terminal.layout import Claim, ResponsiveTable, empty_table, origin, section, separated
from circuitlang.reporting.text import circuit_sentences, concept_sentences, hypothesis_sentences, verdict_sentences
from circuitlang.results.labelling import named, target_label
from circuitlang.results.sweep import shared_metrics
from circuitlang.results.types import Fidelity, LayerSummary, Result, Summary
from circuitlang.results.verdict import decisive, merit, verdict

_BAR, _NARROW = 24, 8  # of a table without and with the paths of modules
_STRONGEST = 8
_NAME = 28  # letters of a circuit's name that are kept on one line
# Columns that an overview drops if there is no room, in this order.
_SPARED = ("pearson_demeaned", "spearman", "error", "r2")
_EIGHTHS = " ▏▎▍▌▋▊▉█"
# A weight from strongly negative to strongly positive: in shape too, for those who see or print no colour.
_SHAPES = "▼▽▿·▵△▲"
_HEAT = ("#2166ac", "#4393c3", "#92c5de", "#888888", "#fdb863", "#e08214", "#b35806")


def render(result: Result, folder: Path | None = None) -> RenderableType:
    """Render the full report of one circuit; `folder` is where its files are, if they were written."""
    parts: list[RenderableType] = [claim(result.summary), *notes(result.summary), _fidelity(result.summary)]
    for sentence in (verdict_sentences.classification(result.summary), concept_sentences.probe(result.summary)):
        if sentence:
            parts.append(Text(sentence))
    if result.summary.contrast:
        parts.append(_contrast(result.summary, result.summary.contrast))
    if result.summary.also:
        parts.append(_also(result.summary))
    if result.summary.robust:
        parts.append(_robust(result.summary))
    if result.summary.walk:
        parts.append(_walk(result.summary))
    if result.summary.tests:
        parts.append(_tests(result.summary))
    parts.append(_layers(result.summary))
    if result.summary.kept:
        parts.append(_strongest(result))
    if called := named(result.summary):
        parts.append(_labels(called))
    parts.append(origin(result.summary.plan.statement, circuit_sentences.origin(result.summary), folder))
    return separated(parts)


def brief(summary: Summary, cached: bool) -> Text:
    """Summarise a circuit in one line, marked `cached` if it was finished before."""
    metric, value, style = _decisive(summary)
    text = Text.assemble((summary.plan.id, "bold"), "  ", _verdict(summary))
    text.append(f", {summary.kept:,} {summary.noun}s, {metric} ").append(f"{value:.3f}", style)
    if not summary.effective and not summary.unheard:
        text.append(", collapsed", "yellow")
    if cached:
        text.append("  finished before", "dim")
    return text


def overview(summaries: Sequence[Summary]) -> RenderableType:
    """List the circuits of a run, a line each."""
    held_out = all(summary.test for summary in summaries)
    where = "on held-out images" if held_out else "held out where anything was"
    metrics = shared_metrics(summaries)
    table = ResponsiveTable(partial(_overview, summaries), [name for name in _SPARED if name in metrics])
    return section("circuits", f"{len(summaries)} of this run, fidelity {where}", table)


def _overview(summaries: Sequence[Summary], without: Collection[str]) -> Table:
    names = [name for name in shared_metrics(summaries) if name not in without]
    remarks = [circuit_sentences.remarks(summary) for summary in summaries]
    table = empty_table()
    # Names are read more than remarks: these wrap first.
    longest = max((len(summary.plan.id) for summary in summaries), default=0)
    table.add_column("circuit", overflow="fold", min_width=min(longest, _NAME))
    for title in ("kept", "share", *names):
        table.add_column(title, justify="right", no_wrap=True)
    if any(remarks):
        table.add_column("", style="yellow", overflow="fold")
    for summary, remark in zip(summaries, remarks, strict=True):
        values = [f"{summary.judged.metrics[name]:.3f}" for name in names]
        said = [remark] if any(remarks) else []
        table.add_row(summary.plan.id, f"{summary.kept:,}", f"{circuit_sentences.share(summary):.1%}", *values, *said)
    return table


def claim(summary: Summary) -> RenderableType:
    """Render the verdict and the claim about a circuit, in a box."""
    plan = summary.plan
    metric, value, style = _decisive(summary)
    text = _verdict(summary).append(": ")
    text.append(f"{plan.target}", "bold")
    if label := target_label(summary, (summary.labels or Labels()).texts()):
        text.append(f" “{label}”", "bold")
    text.append(f" of {summary.model.name}, on {circuit_sentences.images(summary)}\n", "dim")
    text.append(circuit_sentences.counted(summary), "bold cyan")
    text.append(f" ({circuit_sentences.share(summary):.1%})", "cyan")
    text.append(f" {verdict_sentences.verb(summary)} ")
    text.append(f"{metric} {value:.3f}", f"bold {style}")
    for addition in claims(plan):
        text.append(f", {addition}", "bold magenta")
    text.append(f" {circuit_sentences.where(summary)}")
    if summary.contrast and "pearson" in summary.contrast.metrics:
        text.append(", and at ")
        text.append(f"pearson {summary.contrast.metrics['pearson']:.3f}", "bold")
        text.append(f" {circuit_sentences.contrast(summary)}")
    return Claim(text, plan.id)


def _verdict(summary: Summary) -> Text:
    colour = {"preserved": "green", "partly": "yellow", "constant": "yellow"}.get(verdict(summary), "red")
    return Text().append(verdict_sentences.title(summary), f"bold {colour}")


def notes(summary: Summary) -> Iterator[RenderableType]:
    """Render the caveats about a circuit."""
    for note in circuit_sentences.notes(summary):
        yield Text(f"! {note}", "yellow")


def _fidelity(summary: Summary) -> RenderableType:
    body = Group(
        ResponsiveTable(partial(_metrics, summary), [*reversed(summary.baselines), "without", "in-sample"]),
        *(Text(line, "dim") for line in circuit_sentences.comparisons(summary)),
    )
    return section("fidelity", "circuit's feature map against the network's, all positions", body)


def _metrics(summary: Summary, without: Collection[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1), show_edge=False)
    table.add_column("", no_wrap=True)
    # The only column always stays.
    own = {"in-sample": summary.train, "held-out": summary.test} if summary.test else {"in-sample": summary.train}
    if summary.test and "in-sample" in without:
        del own["in-sample"]
    baselines = summary.baselines | {"without": summary.without}
    others = {name: baseline for name, baseline in baselines.items() if name not in without}
    for title in (*own, "95%"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in others:
        table.add_column(title, justify="right", style="dim", no_wrap=True)
    table.add_row("images", *(str(fidelity.images) for fidelity in own.values()), style="dim")
    for name in sorted(summary.train.metrics):
        style = "bold" if name == "pearson" else ""
        cells = [Text(f"{fidelity.metrics[name]:.3f}", style) for fidelity in own.values()]
        interval = Text(circuit_sentences.interval(summary.judged.intervals.get(name)), "dim")
        table.add_row(Text(name, style), *cells, interval, *(f"{other.metrics[name]:.3f}" for other in others.values()))
    return table


def _contrast(summary: Summary, contrast: Fidelity) -> RenderableType:
    """Return the fidelity on the circuit's own images beside that on the images it is contrasted with."""
    both = {"own": summary.judged, "contrast": contrast}
    table = ResponsiveTable(partial(_side_by_side, both), ["the intervals"])
    return section("contrast", f"{circuit_sentences.where(summary)}, and {circuit_sentences.contrast(summary)}", table)


def _also(summary: Summary) -> RenderableType:
    """Tabulate the fidelity on other image sets below that on the circuit's own."""
    table = empty_table()
    table.add_column("", overflow="fold")
    metrics = sorted(summary.judged.metrics)
    for title in ("images", *metrics):
        table.add_column(title, justify="right")
    for name, fidelity in circuit_sentences.also(summary).items():
        cells = (f"{fidelity.metrics[metric]:.3f}" for metric in metrics)
        table.add_row(name, f"{fidelity.images:,}", *cells, style="" if name in summary.also else "dim")
    return section("other images", circuit_sentences.also_caption(summary), table)


def _robust(summary: Summary) -> RenderableType:
    """Tabulate the fidelity of the circuit's kernels under other ablations."""
    table = empty_table()
    table.add_column("ablation", no_wrap=True)
    metrics = sorted(summary.judged.metrics)
    for title in metrics:
        table.add_column(title, justify="right")
    table.add_column(f"a removed {summary.noun} puts out")
    for way, fidelity in circuit_sentences.robust(summary).items():
        cells = ("–" if fidelity is None else f"{fidelity.metrics[metric]:.3f}" for metric in metrics)
        table.add_row(way, *cells, circuit_sentences.ABLATED[way])
    return section("ablations", circuit_sentences.robust_caption(summary), table)


def _side_by_side(both: Mapping[str, Fidelity], without: Collection[str]) -> Table:
    table = empty_table()
    table.add_column("", no_wrap=True)
    for title in both:
        table.add_column(title, justify="right", no_wrap=True)
        if not without:
            table.add_column("95%", justify="right", no_wrap=True, style="dim")
    counts = [
        cell
        for fidelity in both.values()
        for cell in ([str(fidelity.images)] if without else [str(fidelity.images), ""])
    ]
    table.add_row("images", *counts, style="dim")
    for name in sorted(both["contrast"].metrics):
        cells = []
        for fidelity in both.values():
            cells.append(f"{fidelity.metrics[name]:.3f}")
            cells += [] if without else [circuit_sentences.interval(fidelity.intervals.get(name))]
        table.add_row(Text(name, "bold" if name == "pearson" else ""), *cells)
    return table


def _tests(summary: Summary) -> RenderableType:
    """Tabulate the tests of the circuit."""
    table = empty_table()
    table.add_column("test", no_wrap=True)
    for title in ("statistic", "p"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict")
    for row in hypothesis_sentences.rows(summary):
        table.add_row(row.test, row.statistic, row.p, row.verdict)
    return section("tests", hypothesis_sentences.caption(summary), table)


def _walk(summary: Summary) -> RenderableType:
    """Tabulate the sizes that were tried, largest first, with the chosen one in bold."""
    bounds = summary.plan.bounds
    table = empty_table()
    for title in ("allowed", "share", *(f"{bound.sample}.{bound.metric}" for bound in bounds), ""):
        table.add_column(title, justify="right" if title else "left")
    for tried, (held, says) in reversed(list(zip(summary.walk, circuit_sentences.outcomes(summary), strict=True))):
        values = [Text(f"{value:.3f}", "green" if ok else "red") for value, ok in zip(tried.values, held, strict=True)]
        share = f"{tried.kernels / summary.relevant:.1%}"
        table.add_row(
            f"{tried.kernels:,}", share, *values, says, style="bold" if tried.kernels == summary.asked else ""
        )
    return section("search", circuit_sentences.search(summary), table)


def _layers(summary: Summary) -> RenderableType:
    paths = ["module"] if any(layer.path != layer.name for layer in summary.layers) else []
    table = ResponsiveTable(partial(_by_layer, summary), ["bars", "zero", *paths])
    return section(f"{summary.noun}s", circuit_sentences.budget(summary), table)


def _by_layer(summary: Summary, without: Collection[str]) -> Table:
    table = empty_table()
    table.add_column("layer")
    paths = any(layer.path != layer.name for layer in summary.layers) and "module" not in without
    if paths:
        table.add_column("module", style="dim")
    counts = [name for name in ("relevant", "zero", "kept", "effective") if name not in without]
    for title in counts:
        table.add_column(title, justify="right", style="dim" if title == "zero" else "")
    table.add_column(" share", no_wrap=True)
    wide = 0 if "bars" in without else _NARROW if paths else _BAR
    for layer in summary.layers:
        path = [layer.path] if paths else []
        numbers = [f"{getattr(layer, name):,}" for name in counts]
        table.add_row(layer.name, *path, *numbers, _bar(layer, wide))
    table.add_section()
    totals = [f"{sum(getattr(layer, name) for layer in summary.layers):,}" for name in counts]
    table.add_row(Text("all", "bold"), *([""] if paths else []), *(Text(total, "bold") for total in totals))
    return table


def _strongest(result: Result) -> RenderableType:
    table = empty_table()
    for title in ("layer", "from", "", "to", "weights", " score"):
        table.add_column(title, justify="right" if title in ("from",) else "left")
    for share, number, index in strongest(result):
        kernels = result.circuit.kernels[number]
        weight = kernels.weight[index]
        sign = "+" if float(weight.sum()) >= 0 else "-"
        table.add_row(
            result.summary.layers[number].name,
            str(kernels.source[index]),
            Text("→", "dim"),
            str(kernels.target[index]),
            _heat(weight, sign),
            Text.assemble(" ", _filled(share, 16), f" {share:.2f}"),
        )
    return section("strongest kernels", "score of the strongest is 1; + excites, - inhibits", table)


def _labels(called: Sequence[tuple[str, str]]) -> RenderableType:
    table = empty_table()
    for title in ("channels", ""):
        table.add_column(title, overflow="fold")
    for row in called:
        table.add_row(*row)
    return section("labels", "names that people gave to channels and groups of them", table)


def strongest(result: Result) -> list[tuple[float, int, int]]:
    """Return the strongest kernels: score as a share of the highest, number of the layer, index in the layer."""
    ranked = [
        (float(score), number, index)
        for number, kernels in enumerate(result.circuit.kernels)
        for index, score in enumerate(kernels.score[:_STRONGEST])
    ]
    ranked.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    return [(score / ranked[0][0], number, index) for score, number, index in ranked[:_STRONGEST]]


def _bar(layer: LayerSummary, width: int) -> Text:
    """Kept kernels as a share of the relevant; the part that is effective is solid."""
    kept = layer.kept / layer.relevant if layer.relevant else 0
    effective = layer.effective / layer.relevant if layer.relevant else 0
    solid = _filled(effective, width)
    rest = max(0, round(kept * width) - len(solid.plain.rstrip()))
    return Text.assemble(" ", (solid.plain.rstrip(), "cyan"), ("░" * rest, "cyan"), (f" {kept:.1%}", "dim"))


def _filled(share: float, width: int) -> Text:
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    return Text(("█" * full + (_EIGHTHS[part] if part else "")).ljust(width), "cyan")


def _heat(weight: np.ndarray, sign: str) -> Text:
    """Return the kernel's sign and a strip of its weights, row by row, in the diagram's colours."""
    text = Text(f"{sign} ")
    largest = float(np.abs(weight).max()) or 1.0
    rows = weight if weight.shape[0] <= 3 else weight[:0]
    for row in rows:
        for value in row:
            level = round((float(value) / largest + 1) * 3)
            text.append(_SHAPES[level], _HEAT[level])
        text.append(" ")
    if not len(rows):
        text.append(f"{weight.shape[0]}x{weight.shape[1]}", "dim")
    return text


def _decisive(summary: Summary) -> tuple[str, float, str]:
    """Return the name and the value of the metric that decides on a circuit, and the colour of its merit."""
    name = decisive(summary)
    return name, summary.judged.metrics.get(name, 0.0), _grade(merit(summary, summary.judged))


def _grade(value: float) -> str:
    return "green" if value >= 0.9 else "yellow" if value >= 0.6 else "red"
