from __future__ import annotations

from collections.abc import Sequence

from circuitlang.base.diagnostics import Finding
from circuitlang.base.printable import one_line


def concise(findings: Sequence[Finding]) -> str:
    """A line for each finding, `path:line:column: CODE message`, as editors and `grep -n` write places."""
    return "".join(
        f"{one_line(finding.span.place if finding.span else 'circuitlang')}: "
        f"{finding.code} {one_line(finding.message)}\n"
        for finding in findings
    )
