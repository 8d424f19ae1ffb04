"""The smallest network with convolutions of every family of timm: right, refused with the reason, or wrong.

`python -m tests.helpers.timm_table` looks at the families that the table of `docs/networks.md` has no verdict on,
each in a process of its own with a limit on its time, and writes each verdict there, so that it can be stopped and
called again. `--again` forgets what was measured, and `python -m tests.helpers.timm_table NAME ...` looks at some
families anew. `tests/engine/graph/test_timm.py` looks at a few, and in the nightly tests at all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from circuitlang.base.diagnostics import CircuitError, InputError
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from tests.helpers.reference_scores import draw_weights, extraction_is_right, feature_is_right, scores_are_right
from tests.helpers.timm_families import FAMILIES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "networks.md"
BEGIN = "<!-- timm: written by python -m tests.helpers.timm_table -->"
END = "<!-- timm: end -->"
HEADER = "| family | model | image size | target | relevant kernels | verdict |\n|---|---|---:|---|---:|---|"
UNMEASURED = "not measured yet"
UNIT = 1
SECONDS = 300


@dataclass(frozen=True)
class Verdict:
    """What became of a family: `found` is `right`, or says how it was refused or went wrong."""

    family: str
    found: str
    target: str = "–"
    relevant: str = "–"

    @property
    def kind(self) -> str:
        """`right`, `refused`, `wrong`, `not done in time` or `not measured yet`."""
        return self.found.partition(":")[0]

    @property
    def row(self) -> str:
        name, size, _ = FAMILIES[self.family]
        return f"| {self.family} | {name} | {size} | {self.target} | {self.relevant} | {self.found} |"

    @classmethod
    def read(cls, row: str) -> Verdict:
        """The verdict that a row of the table gives."""
        family, _, _, target, relevant, found = (cell.strip() for cell in row.strip().strip("|").split("|"))
        return cls(family, found, target, relevant)


# With random weights their attention saturates to zeros and ones, and gradients are rounding alone.
SETTLED = ("nextvit", "efficientvit_msra")


def _settle(model: nn.Module, size: int) -> None:
    """Give batch norms the statistics of what they see, so that all maps are about as large."""
    norms = [each for each in model.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    images = torch.randn(16, 3, size, size, generator=torch.Generator().manual_seed(6)).double()
    for each in norms:
        each.train()
        each.momentum = None
        each.reset_running_stats()
    with torch.no_grad():
        model(images)
    model.eval()


def build(family: str) -> nn.Module:
    """A network with random weights that let all of its paths matter, in double precision."""
    import timm

    name, _, arguments = FAMILIES[family]
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = timm.create_model(name, pretrained=False, **arguments).double().eval()
    draw_weights(model)
    if family in SETTLED:
        _settle(model, FAMILIES[family][1])
    return model


def verdict(family: str) -> Verdict:
    """Look at a family."""
    size = FAMILIES[family][1]
    model = build(family)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3)).double()
    try:
        graph = trace(model, (size, size))
        subnetwork = TargetSubnetwork(graph, Target(graph.find(graph.layers[-1].path), (UNIT,)))
        if graph.layers[-1].path != _last(model, images):
            graph.output()
            graph.find(_last(model, images))
        layer = subnetwork.target.step.layer
        assert layer is not None
        feature_is_right(model, layer.path, subnetwork, images)
        scores_are_right(graph, subnetwork, images)
        extraction_is_right(subnetwork, images)
    except (InputError, CircuitError) as error:
        finding = error.findings[0]
        return Verdict(family, f"refused: {_cell(finding.message)}")
    except AssertionError as error:
        return Verdict(family, f"wrong: {_cell(str(error))}")
    return Verdict(family, "right", graph.layers[-1].path, f"{count(subnetwork.relevant):,}")


def _cell(text: str) -> str:
    """A text as one cell of a table."""
    line = " ".join(text.replace("|", "/").replace("<", "&lt;").split())
    return line if len(line) <= 240 else f"{line[:239]}…"


def _last(model: nn.Module, images: Tensor) -> str:
    """The path of the last layer that runs."""
    run = []
    for path, each in model.named_modules():
        if isinstance(each, (nn.Conv2d, nn.Linear)):
            each.register_forward_hook(lambda *_, path=path: run.append(path))
    with torch.no_grad():
        model(images)
    for each in model.modules():
        each._forward_hooks.clear()
    return run[-1]


def in_a_process(family: str) -> Verdict:
    """The verdict on a family, in a process that gives its memory back."""
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command = [sys.executable, "-m", "tests.helpers.timm_table", "--row", family]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Verdict(family, f"not done in time: {SECONDS} s")
    if done.returncode:
        return Verdict(
            family, f"wrong: {_cell((done.stderr.strip() or f'exit status {done.returncode}').splitlines()[-1])}"
        )
    return Verdict.read(done.stdout.strip().splitlines()[-1])


def recorded() -> dict[str, Verdict]:
    """The verdicts of the table in the docs, of every family in it."""
    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index(BEGIN) : text.index(END)]
    rows = [Verdict.read(line) for line in table.splitlines() if line.startswith("| ") and "| model |" not in line]
    return {verdict.family: verdict for verdict in rows}


def summary(verdicts: dict[str, Verdict]) -> str:
    """How many families are right, and how many are not."""
    kinds = Counter(verdict.kind for verdict in verdicts.values())
    said = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    return f"Of {len(verdicts)} families: {said}."


def record(verdicts: dict[str, Verdict]) -> None:
    """Write the table of every family into the docs."""
    every = {family: verdicts.get(family, Verdict(family, UNMEASURED)) for family in FAMILIES}
    rows = "\n".join(verdict.row for verdict in every.values())
    text = PAGE.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    table = f"{BEGIN}\n\n{summary(every)}\n\n{HEADER}\n{rows}\n\n{after}"
    PAGE.write_text(before + table, encoding="utf-8")


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--row"]:
        sys.stdout.write(f"{verdict(arguments[1]).row}\n")
        return
    done = {} if arguments == ["--again"] else recorded()
    named = [each for each in arguments if each != "--again"]
    left = [each for each in FAMILIES if each not in done or done[each].kind == UNMEASURED]
    for family in named or left:
        done[family] = in_a_process(family)
        sys.stdout.write(f"{done[family].row}\n")
        sys.stdout.flush()
        record(done)
    record(done)
    sys.stdout.write(f"{summary(recorded())}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
