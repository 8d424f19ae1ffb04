"""Selection of work: the circuits of a plan that a run computes, and the plan of some circuits alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET

from circuitlang.base.diagnostics import Finding, SpecError, did_you_mean, listing
from circuitlang.plan.model import Circuit, Edit, Plan
from circuitlang.plugins.placements import Placement


@dataclass(frozen=True)
class WorkSelection:
    """Selection of the circuits of a plan, and of the executor that computes them.

    Attributes:
        only: Ids of circuits; empty for all.
        shard: Share of these circuits, "i/N" for every N-th starting with the i-th.
        placement: Executor of the circuits.
    """

    only: tuple[str, ...] = ()
    shard: str = "1/1"
    placement: Placement = field(default_factory=Placement)

    def of(self, plan: Plan) -> list[str]:
        """Return the ids of the selected circuits. Raises SpecError for an unknown id or share."""
        known = [circuit.id for circuit in plan.circuits]
        unknown = [
            Finding("E115", f"unknown circuit '{name}'", None, f"there are {listing(known)}", did_you_mean(name, known))
            for name in self.only
            if name not in known
        ]
        share, _, shares = self.shard.partition("/")
        if not (share.isdecimal() and shares.isdecimal() and 1 <= int(share) <= int(shares)):
            cure = "1/4, 2/4, 3/4 and 4/4 are the shares of four"
            unknown.append(Finding("E363", f"'{self.shard}' is no share of the circuits", None, "", cure))
        if unknown:
            raise SpecError(unknown)
        chosen = [name for name in known if not self.only or name in self.only]
        return chosen[int(share) - 1 :: int(shares)]


def part_of(plan: Plan, circuits: Sequence[Circuit], edits: Sequence[Edit] = ()) -> Plan:
    """Return a plan of some of its circuits and edits and their images; the modules of those that it compares are
    kept."""
    used = {name for circuit in circuits for name in circuit.used_sets}
    used |= {name for edit in edits for name in edit.used_sets}
    images = {name: image for name, image in plan.images.items() if name in used}
    return msgspec.structs.replace(
        plan, circuits=list(circuits), images=images, expectations=[], edits=[*edits] or UNSET
    )
