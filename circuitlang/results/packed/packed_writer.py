"""The listener that keeps the circuits of a packed run: in shards while it lasts, merged when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from circuitlang.plan.model import Plan
from circuitlang.results.claims import Claims
from circuitlang.results.outcomes import CircuitOutcome, SplitOutcome
from circuitlang.results.packed.circuits import merge, write_shard
from circuitlang.results.packed.files import SHARDS
from circuitlang.results.packed.parquet import GROUP
from circuitlang.results.packed.rows import PackedCircuit, pack
from circuitlang.results.run_listener import RunListener
from circuitlang.results.writer import output_errors

# Seconds of work that a run which is killed may lose, beside the circuit it was on.
PATIENCE = 5.0


class PackedWriter(RunListener):
    """Writes finished circuits into shards: as many as a row group holds, or those of some seconds.

    Args:
        folder: Folder of the run.
        patience: Seconds for which a circuit may wait for others.
    """

    def __init__(self, folder: Path, patience: float = PATIENCE) -> None:
        self._folder, self._patience = folder, patience
        self._waiting: list[PackedCircuit] = []
        self._since = 0.0

    def finished(self, outcome: CircuitOutcome | SplitOutcome) -> None:
        """Keep a circuit that was computed. Raises OutputError."""
        if outcome.cached or isinstance(outcome, SplitOutcome):
            return
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(pack(outcome.result))
        if len(self._waiting) >= GROUP or time.monotonic() - self._since >= self._patience:
            self.flush()

    def settled(self) -> None:
        """Write the circuits that wait. Raises OutputError."""
        self.flush()

    def flush(self) -> None:
        """Write the circuits that wait. Raises OutputError."""
        if self._waiting:
            with output_errors(self._folder / SHARDS):
                write_shard(self._waiting, self._folder)
            self._waiting = []


@contextmanager
def packed_writer(plan: Plan, folder: Path, shared: bool = False) -> Iterator[PackedWriter]:
    """Provide the writer of a packed run, and merge its shards when the block ends, however it ends; of a `shared` run
    unless another process does. Raises OutputError."""
    if not shared:
        _merge(plan, folder)
    writer = PackedWriter(folder)
    try:
        yield writer
    finally:
        writer.flush()
        if shared:
            _merge_alone(plan, folder)
        else:
            _merge(plan, folder)


def _merge(plan: Plan, folder: Path) -> None:
    merge(folder, [circuit.id for circuit in plan.circuits], plan.labels)


def _merge_alone(plan: Plan, folder: Path) -> None:
    """Merge shards where file systems may have no locks; what another process leaves stays in shards."""
    claims = Claims(folder)
    with output_errors(folder), claims.kept():
        if claims.take("merge", []):
            _merge(plan, folder)
