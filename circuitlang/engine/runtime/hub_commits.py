"""Repositories of the Hugging Face Hub that a plan names, each at one commit for the whole run.

A commit comes from the address itself, from the lock file that lies beside the spec, or from the Hub. The plan that is
run, and that a run leaves in its folder, has commits alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.base.hub_address import HubAddress, HubFile, hub_file
from circuitlang.base.plain_files import is_there
from circuitlang.engine.cache.hub_snapshots import commit_of
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.runtime.plan_checks import collect
from circuitlang.plan.compiled import CompiledPlan
from circuitlang.plan.model import Key, Plan


def at_commits(compiled: CompiledPlan, options: Options, locked: Mapping[str, str] | None = None) -> CompiledPlan:
    """Return a plan whose repositories of the Hub are at commits.

    `locked` has commits by address; by default those of the lock file are used, if there is one. Raises CircuitError
    with everything that can't be looked up, each at the words it is about.
    """
    files: dict[HubAddress, tuple[HubFile, Key]] = {}
    findings: list[Finding] = []
    for text, key in _addresses(compiled.plan):
        with collect(findings, compiled.origins, key):
            file = hub_file(text)
            files.setdefault(file.address, (file, key))
    branches = {address: file for address, file in files.items() if not address.is_pinned}
    commits = dict(_locked(compiled) if locked is None else locked) if branches else {}
    for address, (file, key) in branches.items():
        if str(address) in commits:
            continue
        with collect(findings, compiled.origins, key):
            commits[str(address)], warning = commit_of(file)
            if warning is not None:
                options.listener.noted(replace(warning, span=compiled.origins.get(key)))
    if findings:
        raise InputError(findings)
    if not branches:
        return compiled
    used = {str(address): commits[str(address)] for address in branches}

    def pinned(text: str) -> str:
        file = hub_file(text)
        return str(file.at(used.get(str(file.address), file.address.revision)))

    return replace(compiled, plan=compiled.plan.readdressed(pinned), commits=used)


def _addresses(plan: Plan) -> Iterator[tuple[str, Key]]:
    """Yield the addresses of the files on the Hub that a plan names, and the keys that they belong to."""
    yield from ((text, ("model",)) for text in plan.model.addresses)
    for name, images in plan.images.items():
        yield from ((text, ("images", name)) for text in images.addresses)


def _locked(compiled: CompiledPlan) -> Mapping[str, str]:
    """Return the commits of the lock file beside a spec, if there is one. Raises CircuitError if it is damaged."""
    from circuitlang.engine.runtime.lockfile import lock_path, read_lock

    spec = Path(compiled.name)
    return read_lock(spec).commits if spec.name and is_there(lock_path(spec)) else {}
