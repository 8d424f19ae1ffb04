"""A plan together with its source: the link between the compiler, which makes it, and the engine, which runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from circuitlang.base.diagnostics import Finding

# A check of a file compiles it without needing these types.
if TYPE_CHECKING:
    from circuitlang.plan.model import Origins, Plan


@dataclass(frozen=True)
class CompiledPlan:
    """A plan and its source.

    Attributes:
        plan: The plan.
        origins: Place in the source of each value of the plan, for findings.
        warnings: Findings of the compiler that are no errors.
        folder: Folder that patterns and other paths of the plan are relative to.
        name: Name of the source, a path for a file.
        commits: Commits of repositories of the Hub that the plan has in the place of their branches, by the address
            that the source has.
    """

    plan: Plan
    origins: Origins
    warnings: tuple[Finding, ...]
    folder: Path
    name: str = ""
    commits: Mapping[str, str] = field(default_factory=dict)
