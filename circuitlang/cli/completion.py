"""Completion of arguments in shells: specs, circuits of specs, finished results, words of the language and models.

Every function takes what Click passes to `shell_complete` and returns the values that begin with the incomplete word.
They read few files and import no torch. Mistakes in specs and unreadable folders complete to nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from circuitlang.base.diagnostics import CircuitError

# Folders of specs are searched no deeper, and no more entries are looked at, as each key press waits for this.
_DEPTH = 4
_ENTRIES = 5000


def specs(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a spec by its path, also in folders below; anything else as the shell completes files."""
    folder, name = os.path.split(incomplete)
    entries = islice(_below(Path(folder or "."), name), _ENTRIES)
    paths = sorted(path for path in entries if path.endswith(".circuit"))
    if not paths:
        return [CompletionItem(incomplete, type="file")]
    # The text that is there already stays as it is written, `./specs` too.
    prefix = incomplete[: len(incomplete) - len(name)]
    return [CompletionItem(prefix + path) for path in paths]


def _below(folder: Path, name: str, depth: int = _DEPTH) -> Iterator[str]:
    """Yield the paths of visible entries below a folder, relative to it; of the folder's own those that begin so."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(".") or not entry.name.startswith(name):
                continue
            yield entry.name
            if depth and entry.is_dir(follow_symlinks=False):
                yield from (f"{entry.name}/{path}" for path in _below(Path(entry.path), "", depth - 1))


def circuits(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete the id of a circuit of the specs that the command line names."""
    from circuitlang.compiler.sources import open_source, spec_files
    from circuitlang.pipeline import compile_source

    ids: dict[str, None] = {}
    # An option that lacks its value ends Click's parsing: arguments are left over then.
    for path in spec_files(context.params.get("specs") or map(Path, context.args)):
        with suppress(CircuitError):
            plan = compile_source(open_source(path)).plan
            ids.update((circuit.id, None) for circuit in plan.circuits)
    return _beginning(ids, incomplete)


def results(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a finished result in the folder of results, or else a folder."""
    from circuitlang.results.run_folders import result_names

    with suppress(OSError, CircuitError):
        names = _beginning(sorted(set(result_names(Path(context.params.get("out") or "runs")))), incomplete)
        if names:
            return [CompletionItem(name) for name in names]
    return [CompletionItem(incomplete, type="dir")]


def words(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a code of a finding, a word of the language or the name of an extension."""
    from circuitlang.base.error_codes import codes
    from circuitlang.compiler.words import words
    from circuitlang.plugins.hypothesis_tests import TESTS
    from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, METRICS, MODELS
    from circuitlang.plugins.transforms import TRANSFORMS

    known = {name: meanings[0].meaning for name, meanings in words().items()}
    for registry in (CRITERIA, ABLATIONS, METRICS, TESTS, TRANSFORMS, MODELS):
        known |= {name: declaration.summary for name, declaration in registry.declarations.items()}
    known |= dict.fromkeys(codes(), "")
    return [CompletionItem(name, help=known[name] or None) for name in _beginning(sorted(known), incomplete)]


def models(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete the bundled model, or a network of torchvision by its name."""
    from circuitlang.engine.models.catalog import known_models

    return _beginning((model.name for model in known_models()), incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
