"""Parts of diagrams that are measured less than a plan counts."""

from __future__ import annotations

import pytest

from circuitlang.engine.visuals import path_fidelity


def unmeasured_parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Forward passes, of one held-out image, of the parts of each diagram that are measured less than there may be."""
    collect, spared = path_fidelity.collect, []

    def counting(*arguments):
        measured = collect(*arguments)
        spared.append(path_fidelity.MOST - len(measured))
        return measured

    monkeypatch.setattr(path_fidelity, "collect", counting)
    return spared
