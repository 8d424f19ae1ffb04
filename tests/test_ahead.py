"""Circuits that share passes are scored together, and score what they score alone."""

from pathlib import Path

import pytest
import torch

from circuitlang.compiler.plan import Choice
from circuitlang.engine.build import Builder
from circuitlang.engine.heads import Heads
from circuitlang.engine.intervene import Section, Target
from circuitlang.engine.score import score, score_together
from circuitlang.engine.trace import trace
from circuitlang.pipeline import compile_source, run_compiled
from circuitlang.source import Source
from tests.nets import SIZE, Branches, Chain, Fixed, Groups, Residual, build, images

TARGETS = [
    {"units": (1,)},
    {"units": (3,)},
    {"units": (0, 2)},
    {"units": (1, 3), "coefficients": (0.5, -2.0)},
    {"units": (2,), "at": (1, 0)},
    {"units": (2,), "at": "max"},
]


@pytest.mark.parametrize("structure", ["kernel", "weight"])
@pytest.mark.parametrize(
    ("net", "path"), [(Chain, "conv2"), (Branches, "head"), (Residual, "body"), (Groups, "grouped")]
)
def test_targets_and_criteria_together_score_as_alone(net, path, structure):
    graph = trace(build(net), (SIZE, SIZE))
    step, x = graph.find(path), Fixed(images())
    asked = [
        (Builder(Section(graph, Target(step, **how)), x, structure=structure), Choice(criterion))
        for how in TARGETS
        for criterion in ("snip", "actgrad", "gn")
    ]
    for (builder, choice), found in zip(asked, score_together(asked, 5), strict=True):
        alone = score(builder, choice.name, {}, 0, 5)
        for name, expected in alone.items():
            torch.testing.assert_close(found[name], expected, rtol=1e-9, atol=1e-12)


def spec(text: str, folder: Path) -> list[dict[str, float]]:
    compiled = compile_source(Source(str(folder / "some.circuit"), text))
    return [made.result.summary.flat() for made in run_compiled(compiled, folder / "runs")]


SWEEP = """
preserve conv4:[2, 5] on images/dogs/* sparsity<=each(0.05, 0.1) criterion=each(snip, actgrad)
preserve conv3:2 on images/dogs/* sparsity<=0.1 criterion=snip
"""


def test_a_sweep_makes_one_pass_for_all_targets(here, undrawn, monkeypatch):
    passes = []
    observe = Heads.observe

    def counted(self, x, starts, observer):
        passes.append((len(x), [section.target.step.name for section, _ in starts]))
        observe(self, x, starts, observer)

    monkeypatch.setattr(Heads, "observe", counted)
    found = spec(SWEEP, here)
    assert sum(many for many, _ in passes) == found[0]["train.images"]
    # Two targets of one layer, of which both criteria begin with the same gradient, and one of another.
    assert [starts for _, starts in passes] == [["conv4", "conv4", "conv3"]] * len(passes)


def test_a_sweep_finds_what_single_circuits_find(here, undrawn, monkeypatch):
    together = spec(SWEEP, here)
    monkeypatch.setattr("circuitlang.perform.ahead", lambda *_: None)
    monkeypatch.setenv("CIRCUITLANG_CACHE", str(here / "another"))
    alone = spec(SWEEP, here / "images" / "..")
    assert [each["kept"] for each in together] == [each["kept"] for each in alone]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


def test_where_nothing_can_be_kept_each_is_scored_by_itself(here, undrawn, monkeypatch):
    (here / "file").write_text("")
    monkeypatch.setenv("CIRCUITLANG_CACHE", str(here / "file"))
    assert len(spec(SWEEP, here)) == 9
