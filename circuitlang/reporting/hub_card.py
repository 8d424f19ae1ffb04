"""The page of a repository of the Hugging Face Hub, `README.md`: what the circuits in it claim, how far the claims
hold, what they follow from and how to use them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from circuitlang.base.hub_address import HubAddress
from circuitlang.base.printable import lines
from circuitlang.base.versions import version
from circuitlang.reporting.text import circuit_sentences, hypothesis_sentences, verdict_sentences
from circuitlang.reporting.text.markdown_text import escaped
from circuitlang.results.shared_folder import SharedFolder
from circuitlang.results.sweep import shared_metrics
from circuitlang.results.types import Fidelity, Summary
from circuitlang.results.verdict import METRIC

# Circuits of a run that are listed; of more, the best.
MOST = 50


def hub_card(shared: SharedFolder, address: HubAddress, licence: str = "") -> str:
    """Return the page of a folder of results, Markdown with the YAML header that the Hub reads.

    `licence` is an identifier of the Hub, such as `mit`; without one the page says that none is given.
    """
    parts = [_header(licence), f"# {escaped(shared.name)}\n", *_body(shared)]
    parts += [_use(shared, address), _licence(licence)]
    return "\n".join(parts)


def _header(licence: str) -> str:
    tags = ["circuitlang", "circuit", "interpretability", "pruning"]
    # JSON is YAML.
    rows = {"license": licence, "library_name": "circuitlang", "tags": tags}
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in rows.items() if value), "---", ""])


def _body(shared: SharedFolder) -> Iterator[str]:
    summaries = shared.summaries
    if shared.kind == "circuit":
        yield from _circuit(summaries[0])
    elif summaries:
        yield from _circuits(shared)
    elif shared.kind == "atlas":
        yield "An atlas of a network: a page for each channel, with its circuit. Open `index.html` of a copy.\n"
    else:
        yield f"A {shared.kind} of circuits; `report.txt` says what was found.\n"


def _circuit(summary: Summary) -> Iterator[str]:
    yield f"{_headline(summary)}\n"
    yield from _notes(summary)
    yield "## Claim\n"
    yield _code(summary.plan.statement)
    yield f"of {escaped(str(summary.model))}, on images {escaped(circuit_sentences.images(summary))}.\n"
    yield f"## Fidelity\n\nThe circuit's map against the network's, {circuit_sentences.where(summary)}.\n"
    yield _fidelity(summary)
    if summary.tests:
        yield f"## Tests\n\n{hypothesis_sentences.caption(summary).capitalize()}.\n"
        yield _table(("test", "statistic", "p", "verdict"), hypothesis_sentences.rows(summary))
    yield "## Provenance\n"
    yield _table(("", ""), [*circuit_sentences.origin(summary).items(), *_hashes(summary)])


def _headline(summary: Summary) -> str:
    """Return the verdict and the claim in a sentence."""
    kept = f"{circuit_sentences.counted(summary)} ({circuit_sentences.share(summary):.1%})"
    measured = f"{METRIC} {summary.judged.metrics[METRIC]:.3f} {circuit_sentences.where(summary)}"
    title = verdict_sentences.title(summary)
    return f"**{title.capitalize()}**: {kept} {verdict_sentences.verb(summary)} {measured}."


def _notes(summary: Summary) -> Iterator[str]:
    notes = circuit_sentences.notes(summary)
    if notes:
        yield "\n".join(f"- {escaped(note)}" for note in notes) + "\n"


def _fidelity(summary: Summary) -> str:
    columns: dict[str, Fidelity] = {"in-sample": summary.train, **summary.baselines, "without": summary.without}
    if summary.test:
        columns = {"held-out": summary.test, **columns}
    columns |= {f"on {name}": measured for name, measured in summary.also.items()}
    columns |= {f"ablation={way}": measured for way, measured in (summary.robust or {}).items()}
    rows = [
        [metric, circuit_sentences.interval(summary.judged.intervals.get(metric)), *(
            f"{measured.metrics[metric]:.3f}" for measured in columns.values()
        )]
        for metric in summary.judged.metrics
    ]  # fmt: skip
    text = _table(("metric", "95%", *columns), rows)
    return text + "\n" + " ".join(circuit_sentences.comparisons(summary)[:1]).capitalize() + ".\n"


def _hashes(summary: Summary) -> Iterator[tuple[str, str]]:
    provenance = summary.provenance
    contents = {
        "weights": provenance.weights,
        "images scored on": provenance.train_images,
        "images held out": provenance.test_images,
        "images contrasted with": provenance.contrast_images,
        "circuit": provenance.identity,
    }
    yield from ((f"SHA-256, {name}", content) for name, content in contents.items() if content)
    yield "versions", ", ".join(f"{name} {number}" for name, number in provenance.versions.items() if number)


def _circuits(shared: SharedFolder) -> Iterator[str]:
    """Yield the parts of the page of a run: how many circuits hold, and a row for each, or for the best."""
    summaries = shared.summaries
    counts = Counter(verdict_sentences.title(summary) for summary in summaries)
    verdicts = "; ".join(f"{title}: {count:,}" for title, count in counts.most_common())
    number = f"{len(summaries):,} circuit{'' if len(summaries) == 1 else 's'}"
    yield f"**{verdicts.capitalize()}** of {number} of {escaped(_model(shared))}.\n"
    shown = summaries
    if len(summaries) > MOST:
        shown = tuple(sorted(summaries, key=lambda summary: -summary.judged.metrics[METRIC])[:MOST])
        yield f"Listed are the {MOST} circuits with the highest {METRIC}.\n"
    yield "## Claims\n"
    yield _code("\n".join(dict.fromkeys(summary.plan.statement.strip() for summary in shown)))
    yield "## Fidelity\n"
    metrics = [name for name in (METRIC, "r2", "error") if name in shared_metrics(shown)]
    yield _table(
        ("circuit", "target", "images", "kept", *metrics, "verdict"),
        [
            (
                summary.plan.id,
                str(summary.plan.target),
                circuit_sentences.images(summary),
                f"{summary.kept:,} ({circuit_sentences.share(summary):.1%})",
                *(f"{summary.judged.metrics[name]:.3f}" for name in metrics),
                verdict_sentences.title(summary),
            )
            for summary in shown
        ],
    )
    held_out = sum(summary.test is not None for summary in summaries)
    yield f"Fidelity is held-out for {held_out:,} of {len(summaries):,}, and on the circuit's own images else.\n"
    tests = [(summary.plan.id, *row) for summary in shown for row in hypothesis_sentences.rows(summary)]
    if tests:
        yield "## Tests\n"
        yield _table(("circuit", "test", "statistic", "p", "verdict"), tests)
    yield "## Provenance\n"
    yield from _shared_provenance(shared)


def _shared_provenance(shared: SharedFolder) -> Iterator[str]:
    first = shared.summaries[0].provenance
    weights = {summary.provenance.weights for summary in shared.summaries}
    rows = [("SHA-256, weights", content) for content in sorted(weights)]
    rows.append(("versions", ", ".join(f"{name} {number}" for name, number in first.versions.items() if number)))
    yield _table(("", ""), rows)
    place = "row of `circuits.parquet`" if shared.kind == "packed run" else "`circuit.json`"
    yield f"Hashes of the images of each circuit are in its {place}.\n"


def _model(shared: SharedFolder) -> str:
    return str(shared.plan.model) if shared.plan else str(shared.summaries[0].model)


def _use(shared: SharedFolder, address: HubAddress) -> str:
    commands = [f"circuitlang pull {HubAddress(address.repo, address.kind)}"]
    if shared.kind != "atlas":
        commands.append(f"circuitlang show runs/{address.name}")
    text = "\n".join(("```sh", *commands, "```"))
    again = "The first command prints the commit that it took; name it to get the same files again."
    return f"## Use\n\n{text}\n\n{again}\nMade by circuitlang {version('circuitlang')}.\n"


def _licence(licence: str) -> str:
    own = f"{escaped(licence)}." if licence else "None was stated."
    return f"## Licence\n\n{own} The network's weights and the images on pages keep the licences of their authors.\n"


def _table(title: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(map(escaped, cells))} |" for cells in (title, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(title)}", *lines[1:]]) + "\n"


def _code(text: str) -> str:
    """Return a fenced block that nothing in the text can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{lines(text).strip()}\n{fence}\n"
