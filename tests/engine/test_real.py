"""The paper's criteria on a real ImageNet network and real photographs of dogs."""

import pytest

from circuitlang.base.source import Source
from circuitlang.engine.runtime.options import Options
from circuitlang.plugins.protocols import CRITERIA
from circuitlang.results.types import Summary
from tests.helpers.outcomes import outcomes

pytestmark = pytest.mark.slow

# Photographs at half the usual size: a third of the time, and the same network.
SPEC = """\
model squeezenet1_0(weights="squeezenet1_0.safetensors", resize=128, crop=128)
images dogs = images/dogs/* limit=30
defaults sparsity<=0.1 holdout=20%
"""


# As few as show what they are for.
STEPS = {"force": "(steps=3)", "path": "(steps=3)", "learned": "(steps=10)", "annealed": "(passes=6)"}


@pytest.fixture(scope="module")
def summaries(real, tmp_path_factory) -> dict[str, Summary]:
    statements = {
        name: f"preserve features.10.expand3x3:34 on dogs criterion={name}{STEPS.get(name, '')}\n"
        for name in sorted(CRITERIA.declarations)
    }
    out = tmp_path_factory.mktemp("runs")
    made = outcomes(Source("real.circuit", SPEC + "".join(statements.values()), real), out)
    # One is written with all that a circuit has.
    outcomes(Source("real.circuit", SPEC + statements["snip"], real), out, Options(render="all"))
    return {outcome.result.summary.plan.criterion.name: outcome.result.summary for outcome in made}


@pytest.mark.parametrize("criterion", sorted(CRITERIA.declarations))
def test_every_criterion_on_dogs(summaries, criterion):
    summary = summaries[criterion]
    # 20 of the network's 26 layers lead to the target; its own layer counts with one row of 64 kernels.
    assert summary.relevant == 128_864
    assert summary.asked == 12_886
    assert summary.kept == summary.effective == 12_886
    assert summary.extracted_difference < 1e-5
    assert sum(layer.relevant for layer in summary.layers) == summary.relevant
    assert (summary.train.images, summary.test and summary.test.images) == (24, 6)
    assert all(-1 <= summary.train.metrics[name] <= 1 for name in ("pearson", "spearman"))


def test_criteria_beat_the_baselines_and_the_papers_are_beaten(summaries):
    held_out = {name: summary.test.metrics["pearson_demeaned"] for name, summary in summaries.items() if summary.test}
    assert min(held_out[name] for name in ("taylor", "gn", "learned", "annealed")) > held_out["random"] + 0.1
    assert max(held_out[name] for name in ("taylor", "gn", "learned")) > held_out["magnitude"] + 0.1
    assert held_out["annealed"] > held_out["greedy"] + 0.1
