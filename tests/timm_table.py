"""The smallest network with convolutions of every family of timm: right, or refused with the operation's name.

`python -m tests.timm_table` looks at all of them, each in a process of its own, and writes the table of
`docs/networks.md`; `python -m tests.timm_table NAME ...` prints the rows of some families. `tests/test_timm.py` looks
at a few, and in the nightly tests at all.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from circuitlang.engine.intervene import Section, Target, as_maps
from circuitlang.engine.select import count
from circuitlang.engine.trace import trace
from circuitlang.errors import CircuitError, InputError
from tests.reference import close, extraction_is_right, scores_are_right
from tests.timm_families import FAMILIES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "networks.md"
UNIT = 1
SECONDS = 300


@dataclass(frozen=True)
class Verdict:
    """What became of a family: `refused` says why where it isn't right."""

    family: str
    layers: int = 0
    relevant: int = 0
    refused: str = ""

    @property
    def row(self) -> str:
        name = FAMILIES[self.family][0]
        if self.refused:
            return f"| {self.family} | {name} | – | – | refused: {self.refused} |"
        return f"| {self.family} | {name} | {self.layers} | {self.relevant:,} | right |"


def build(family: str) -> nn.Module:
    """A network with random weights that let all of its paths matter, in double precision."""
    import timm

    name, _, arguments = FAMILIES[family]
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = timm.create_model(name, pretrained=False, **arguments).double().eval()
    with torch.no_grad():
        for word, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed" not in word and "token" not in word:
                bound = (3 / parameter[0].numel()) ** 0.5
                parameter.uniform_(-bound, bound)
            elif word.endswith("bias"):
                parameter.uniform_(-0.2, 0.2)
            else:
                parameter.uniform_(0.5, 1)
        for buffer in model.named_buffers():
            if buffer[0].endswith("running_mean"):
                buffer[1].uniform_(-0.1, 0.1)
            elif buffer[0].endswith("running_var"):
                buffer[1].uniform_(0.5, 1.5)
    return model


def verdict(family: str) -> Verdict:
    """Look at a family. Raises AssertionError where a number is wrong."""
    size = FAMILIES[family][1]
    model = build(family)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3)).double()
    try:
        graph = trace(model, (size, size))
        section = Section(graph, Target(graph.find(graph.layers[-1].path), (UNIT,)))
        if graph.layers[-1].path != _last(model, images):
            graph.output()
            graph.find(_last(model, images))
        _the_models_own(model, section, images)
        scores_are_right(graph, section, images)
        extraction_is_right(section, images)
    except (InputError, CircuitError) as error:
        finding = error.findings[0]
        return Verdict(family, refused=f"{finding.message} {finding.label or ''}".strip())
    return Verdict(family, len(section.layers), count(section.relevant))


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


def _the_models_own(model: nn.Module, section: Section, images: Tensor) -> None:
    """The feature is what a hook on the model sees."""
    seen: list[Tensor] = []
    path = section.target.step.layer.path if section.target.step.layer else ""
    handle = model.get_submodule(path).register_forward_hook(lambda *given: seen.append(given[2].clone()))
    with torch.no_grad():
        model(images)
    handle.remove()
    expected = as_maps(seen[-1], section.target.step)[:, [UNIT]]
    assert expected.std() > 0
    close(section.feature(images), expected)


def in_a_process(family: str) -> Verdict | str:
    """The verdict on a family, in a process that gives its memory back; a traceback where a number is wrong."""
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command = [sys.executable, "-m", "tests.timm_table", family]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"{family}: not done after {SECONDS} s"
    return done.stdout if done.returncode == 0 else f"{family}: {done.stderr[-3000:]}"


def main(families: list[str]) -> None:
    if families:
        for family in families:
            sys.stdout.write(f"{verdict(family).row}\n")
        return
    rows, failed = [], []
    for family in FAMILIES:
        found = str(in_a_process(family))
        sys.stdout.write(f"{found.strip().splitlines()[-1]}\n")
        sys.stdout.flush()
        (rows if found.startswith("| ") else failed).append(found.strip())
    if failed:
        sys.exit("\n".join(failed))
    page = PAGE.read_text(encoding="utf-8")
    table = re.compile(r"(?<=\| verdict \|\n\|---\|---\|---:\|---:\|---\|\n)(\|.*\n)*")
    PAGE.write_text(table.sub(lambda _: "\n".join(rows) + "\n", page), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
