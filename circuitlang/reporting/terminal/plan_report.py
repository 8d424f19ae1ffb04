"""Forecast → a tree that is read from top to bottom: the model, the images, the circuits, what it all costs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text
from rich.tree import Tree

from circuitlang.base.diagnostics import listing
from circuitlang.reporting.text.extension_calls import without_defaults

if TYPE_CHECKING:
    from circuitlang.results.forecast import CircuitForecast, EditForecast, Forecast, ImageSet

_STATES = {
    "new": ("new", "cyan"),
    "changed": ("changed: the result that is there is of other inputs", "yellow"),
    "damaged": ("damaged: files were lost or changed, and a run will make it again", "yellow"),
    "incomplete": ("finished, but files are missing that a run will make", "yellow"),
    "finished": ("finished already", "green"),
}
# Circuits that are drawn: nobody reads more, and drawing ten thousand takes longer than all the rest.
_MOST = 200
_WORD = 11
_VALUE = 40
_PREFIXES = ("", "K", "M", "G", "T", "P", "E")


def draw(forecast: Forecast) -> Tree:
    """Draw a forecast as a tree, on a terminal or in a file."""
    tree = Tree(Text("plan", "bold"), guide_style="dim")
    tree.add(Text.assemble(_word("model"), forecast.model, (f"  {forecast.size} x {forecast.size} pixels", "dim")))
    for note in forecast.weights_notes:
        tree.add(Text.assemble(_word("weights"), (f"not a plain state dict: {note}", "yellow")))
    images = tree.add(Text("images"))
    for image in forecast.images:
        images.add(_image_set(image))
    circuits = tree.add(Text("circuits"))
    for circuit in forecast.circuits[:_MOST]:
        _circuit(circuits, circuit)
    if len(forecast.circuits) > _MOST:
        rest = len(forecast.circuits) - _MOST
        circuits.add(Text(f"and {_number(rest, 'circuit')} more, which --json lists", "dim"))
    for names in forecast.comparisons:
        tree.add(Text.assemble(_word("compare"), listing(names)))
    for edit in forecast.edits:
        _edit(tree, edit)
    for expectation in forecast.expectations:
        tree.add(Text.assemble(_word("expect"), expectation))
    if forecast.packed:
        tree.add(Text.assemble(_word("packed"), "a row of circuits.parquet for each circuit, without module and pages"))
    tree.add(_total(forecast))
    return tree


def as_json(forecast: Forecast) -> str:
    """Return the forecast as JSON; operations are plain numbers, `total` is that of the circuits that are due."""
    content = {
        **msgspec.to_builtins(forecast),
        "due": [circuit.id for circuit in forecast.due],
        "due_edits": [edit.name for edit in forecast.due_edits],
        "total": msgspec.to_builtins(forecast.total),
    }
    return msgspec.json.format(msgspec.json.encode(content)).decode() + "\n"


def _image_set(images: ImageSet) -> Text:
    text = Text.assemble((images.name, "bold"), f"  {_number(images.pictures, 'image')}")
    if images.include != (images.name,):
        text.append(f"  {listing(images.include)}", "dim")
    if images.exclude:
        text.append(f"  except {listing(images.exclude)}", "dim")
    for transform in images.transforms:
        text.append(f" as {transform}", "dim")
    if images.limit is not None:
        text.append(f"  limit={images.limit}", "dim")
    return text


def _circuit(tree: Tree, circuit: CircuitForecast) -> None:
    label, style = ("can't be run by this version", "red") if circuit.refused else _STATES[circuit.state]
    branch = tree.add(Text.assemble((circuit.id, "bold"), "  ", (label, style)))
    if circuit.refused:
        branch.add(Text.assemble(_word("because of"), (listing(circuit.refused), "red")))
    settings = [setting for setting in circuit.settings if setting.origin != "default"]
    values = [without_defaults(setting.value) for setting in settings]
    width = min(max(map(len, values), default=0), _VALUE)
    for setting, value in zip(settings, values, strict=True):
        branch.add(Text.assemble(_word(setting.word), f"{value:<{width}}", (f"  {setting.origin}".rstrip(), "cyan")))
    branch.add(Text.assemble(_word("kernels"), *_kernels(circuit)))
    branch.add(Text.assemble(_word("images"), *_image_counts(circuit)))
    if circuit.probed:
        branch.add(Text.assemble(_word("probe"), f"of the concept, on {circuit.probed:,} images"))
    branch.add(Text.assemble(_word("cost"), *_cost(circuit)))
    if circuit.visualising:
        work = _operations(circuit.visualising)
        branch.add(Text.assemble(_word("channels"), (f"images of some, at most {work}", "dim")))
    if defaults := [setting for setting in circuit.settings if setting.origin == "default"]:
        said = "  ".join(f"{default.word}={without_defaults(default.value)}" for default in defaults)
        branch.add(Text.assemble(_word("default"), (said, "dim")))


def _edit(tree: Tree, edit: EditForecast) -> None:
    label, style = _STATES[edit.state]
    branch = tree.add(Text.assemble(_word("edit"), (edit.name, "bold"), f"  {edit.edited}", "  ", (label, style)))
    branch.add(Text.assemble(_word("measure"), listing(edit.measured), f" on {edit.pictures:,} of {edit.images}"))
    forwards = f"{_number(edit.cost.forwards, 'forward')}: {_operations(edit.cost.measuring)}"
    branch.add(Text.assemble(_word("cost"), (forwards, "dim")))


def _kernels(circuit: CircuitForecast) -> Iterable[str | tuple[str, str]]:
    wanted = "as few as hold the bounds" if circuit.asked is None else f"{circuit.asked:,}"
    yield f"{wanted} of {circuit.relevant:,} relevant"


def _image_counts(circuit: CircuitForecast) -> Iterable[str | tuple[str, str]]:
    yield f"found on {circuit.found_on:,} of {circuit.images}, "
    if circuit.contrast is not None:
        yield f"contrasted with {circuit.contrasted_with:,} of {circuit.contrast}, "
    if circuit.test is not None:
        yield f"measured on {circuit.measured_on:,} of {circuit.test}"
    elif circuit.measured_on:
        yield f"measured on {circuit.measured_on:,} held out"
    else:
        yield "measured on the same: nothing is held out", "yellow"
    for name, count in circuit.also.items():
        yield f", and on {count:,} of {name}"


def _cost(circuit: CircuitForecast) -> Iterable[str | tuple[str, str]]:
    cost = circuit.cost
    yield f"{_number(cost.passes, 'pass')}: {_operations(cost.finding)}" if cost.passes else "no pass"
    if circuit.scored:
        source = "in the cache" if circuit.scored == "cache" else f"those of {circuit.scored}"
        yield f", its scores are {source}", "green"
    elif circuit.beside:
        yield f", together with {circuit.beside}", "green"
    elif circuit.continues:
        source = "what is in the cache" if circuit.continues == "cache" else f"the learning of {circuit.continues}"
        yield f", continues {source}", "green"
    yield f", measuring in {_number(cost.forwards, 'forward')}: {_operations(cost.measuring)}", "dim"


def _total(forecast: Forecast) -> Text:
    due, total = len(forecast.due), forecast.total
    text = Text.assemble(_word("total"), (f"{_number(due, 'circuit')} to compute", "bold"))
    if forecast.edits:
        text.append(f", {_number(len(forecast.due_edits), 'edit')} to measure")
    finished = sum(not circuit.refused and circuit.state == "finished" for circuit in forecast.circuits)
    refused = sum(bool(circuit.refused) for circuit in forecast.circuits)
    incomplete = sum(not circuit.refused and circuit.state == "incomplete" for circuit in forecast.circuits)
    if incomplete:
        text.append(f", {incomplete:,} with files to make", "yellow")
    if finished:
        text.append(f", {finished:,} finished", "green")
    if refused:
        text.append(f", {refused:,} that can't be run", "red")
    text.append(f": {_number(total.passes, 'pass')}, {_operations(total.finding + total.measuring)}")
    if refused:
        text.append("; `run` refuses the plan as it is", "red")
    return text


def _word(word: str) -> tuple[str, str]:
    return f"{word:<{_WORD}}", "dim"


def _number(count: float, what: str) -> str:
    """Format a count with its noun."""
    many = f"{what}es" if what.endswith("s") else f"{what}s"
    written = f"{int(count):,}" if count == int(count) else f"{count:,.1f}"
    return f"{written} {what if count == 1 else many}"


def _operations(count: float) -> str:
    """Floating-point operations in three digits."""
    power = 0
    while count >= 999.5 and power + 1 < len(_PREFIXES):
        count, power = count / 1000, power + 1
    return f"{count:.3g} {_PREFIXES[power]}FLOP"
