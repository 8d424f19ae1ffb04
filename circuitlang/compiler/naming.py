"""Ids of circuits and names of image sets in a plan."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from circuitlang.compiler.placed import PlacedImages
from circuitlang.plan.clauses import PRESERVE, Clause, Slug
from circuitlang.plan.model import Circuit, Images, digest

# Letters of what every circuit of a plan repeats: its statement, and the names of its image sets.
LONGEST = 1000
# Clauses with a slug in the ids of circuits, in the order of their slugs.
_SLUGS = sorted(
    ((clause, clause.slug) for clause in PRESERVE.values() if clause.slug), key=lambda entry: entry[1].order
)


def image_set_name(placed: PlacedImages, sets: dict[str, Images]) -> str:
    """Return the name of an image set in the plan, and add it to `sets`; different sets never share a name."""
    name = placed.name
    if len(name) > LONGEST:
        name = f"{name[:LONGEST]}… {digest(name.encode(errors='surrogatepass'))[:8]}"
    while sets.setdefault(name, placed.images) != placed.images:
        name += "'"
    return name


def ids(circuits: Sequence[Circuit]) -> list[str]:
    """Return an id for each circuit, which is the name of its folder.

    It is the name in the spec with what tells the members of a sweep apart, or else the circuit's values, as many as it
    takes to be unique.
    """
    always = [list(filter(None, map(_slug, _always(circuit)))) for circuit in circuits]
    added = [list(map(_slug, _to_tell_apart(circuit))) for circuit in circuits]
    names: list[str] = []
    for count in range(len(added[0]) + 1 if added else 0):
        names = [
            "-".join([circuit.name, *map(_slug, circuit.values.values())])
            if circuit.name
            else "-".join([*own, *filter(None, more[:count])])
            for circuit, own, more in zip(circuits, always, added, strict=True)
        ]
        if len(set(names)) == len(names):
            return names
    taken: Counter[str] = Counter()
    for index, name in enumerate(names):
        taken[name] += 1
        names[index] = name if taken[name] == 1 else f"{name}-{taken[name]}"
    return names


def _always(circuit: Circuit) -> Iterator[str]:
    """Yield what every id has, in the order in which it is worth saying."""
    yield str(circuit.target)
    yield f"into_{circuit.into}" if circuit.into else ""
    yield from (_text(circuit, clause, slug) for clause, slug in _SLUGS if slug.presence == "every")
    yield _amount(circuit)
    for clause, slug in _SLUGS:
        if slug.presence == "changed" and not clause.is_default(circuit):
            yield _text(circuit, clause, slug)


def _to_tell_apart(circuit: Circuit) -> Iterator[str]:
    """Yield what is added to an id if it isn't unique, first what is worth most; as many texts for every circuit."""
    yield circuit.images
    yield from (_text(circuit, clause, slug) for clause, slug in _SLUGS if slug.presence == "apart")
    yield "_".join(f"{word}{value}" for word, value in circuit.criterion.parameters.items())


def _text(circuit: Circuit, clause: Clause, slug: Slug) -> str:
    value = getattr(circuit, clause.key)
    return "" if value is None else slug.text.format(value)


def _amount(circuit: Circuit) -> str:
    return circuit.size.slug if circuit.size else "_".join(bound.slug for bound in circuit.bounds)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("_.")
