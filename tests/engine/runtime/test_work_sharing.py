"""Circuits that share passes are scored together, and score what they score alone."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from circuitlang.base.diagnostics import CircuitError
from circuitlang.base.source import Source
from circuitlang.engine.attribution.multi_target import MultiTargetPass
from circuitlang.engine.attribution.scorer import score, score_together
from circuitlang.engine.cache import tensor_cache
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation import reference_responses
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.runtime.groups import groups_of, predecessors
from circuitlang.engine.runtime.job_runner import JobRunner
from circuitlang.engine.runtime.jobs import prepare
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.runtime.parallel_runner import start_worker
from circuitlang.engine.runtime.steps.shared_work import precompute_shared
from circuitlang.pipeline import compile_source, run_compiled
from circuitlang.plan.model import Choice
from circuitlang.plugins.protocols import CRITERIA
from tests.helpers.outcomes import outcomes
from tests.helpers.toy_networks import SIZE, Branches, Chain, Fixed, Groups, Residual, build, images

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
        (Builder(TargetSubnetwork(graph, Target(step, **how)), x, structure=structure), Choice(criterion))
        for how in TARGETS
        for criterion in ("snip", "actgrad", "gn")
    ]
    for (builder, choice), found in zip(asked, score_together(asked, 5), strict=True):
        alone = score(builder, choice.name, {}, 0, 5)
        for name, expected in alone.items():
            torch.testing.assert_close(found[name], expected, rtol=1e-9, atol=1e-12)


def spec(text: str, folder: Path) -> list[dict[str, float]]:
    compiled = compile_source(Source(str(folder / "some.circuit"), text))
    return [made.result.summary.flat() for made in outcomes(compiled, folder / "runs")]


SWEEP = """
preserve conv4:[2, 5] on images/dogs/* sparsity<=each(0.05, 0.1) criterion=each(snip, actgrad)
preserve conv3:2 on images/dogs/* sparsity<=0.1 criterion=snip
"""


@pytest.fixture
def passes(monkeypatch) -> list[list[str]]:
    """By what a forward pass over some images was followed: the targets that went backward."""
    seen: list[list[str]] = []
    observe = MultiTargetPass.observe

    def counted(self, x, starts, observer):
        seen.append([subnetwork.target.step.name for subnetwork, _ in starts])
        observe(self, x, starts, observer)

    monkeypatch.setattr(MultiTargetPass, "observe", counted)
    return seen


def test_a_sweep_makes_one_pass_for_all_targets(here, numbers_alone, passes):
    found = spec(SWEEP, here)
    assert 0 < len(passes) <= found[0]["train.images"]
    # Two targets of one layer, of which both criteria begin with the same gradient, and one of another.
    assert passes == [["conv4", "conv4", "conv3"]] * len(passes)


@pytest.mark.slow
def test_a_sweep_finds_what_single_circuits_find(here, numbers_alone, monkeypatch):
    together = spec(SWEEP, here)
    monkeypatch.setattr("circuitlang.engine.runtime.precomputation.precompute_shared", lambda *_: None)
    monkeypatch.setenv("CIRCUITLANG_CACHE", str(here / "another"))
    alone = spec(SWEEP, here / "images" / "..")
    assert [each["kept"] for each in together] == [each["kept"] for each in alone]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


@pytest.mark.slow
def test_where_nothing_can_be_kept_each_is_scored_by_itself(here, numbers_alone, monkeypatch, passes):
    (here / "file").write_text("")
    monkeypatch.setenv("CIRCUITLANG_CACHE", str(here / "file"))
    assert len(spec(SWEEP, here)) == 9
    # Together in vain, but once.
    many = Counter(map(len, passes))
    assert many == {3: many[3], 1: 9 * many[3]}


@pytest.mark.slow
def test_what_is_finished_is_not_scored_for_company(here, numbers_alone, passes):
    spec(SWEEP, here)
    tensor_cache.clear()
    passes.clear()
    spec(SWEEP + "preserve conv2:4 on images/dogs/* sparsity<=0.1 criterion=snip\n", here)
    assert {tuple(targets) for targets in passes} == {("conv2",)}


def test_of_several_processes_none_waits_for_another_group(here, passes, monkeypatch):
    compiled = compile_source(Source(str(here / "some.circuit"), SWEEP))
    prepared = prepare(compiled.plan, compiled.folder, compiled.origins, Options())
    jobs = prepared.jobs
    first, second, *_, last = jobs
    assert last.subnetwork.target.step.name == "conv3"
    groups = groups_of(jobs, 1, {})
    group, _ = groups
    after = predecessors(jobs, groups)
    assert after.pop(second.plan.id) == first.plan.id
    assert last.plan.id not in after
    assert not passes
    performer = JobRunner(prepared, here, [job for job in jobs if job.plan.id in group.circuits])
    monkeypatch.setattr("circuitlang.engine.runtime.job_runner.execute", lambda *_: 1 / 0)
    (error,) = performer(first)
    assert isinstance(error, CircuitError)
    assert "ZeroDivisionError" in error.findings[0].message
    assert {tuple(targets) for targets in passes} == {("conv4", "conv4")}
    assert not last.score_cache.has(None)
    assert not reference_responses.there(last.subnetwork, last.train)
    precompute_shared(last, jobs)
    assert reference_responses.there(last.subnetwork, last.train)


def test_processes_begin_with_different_groups_of_a_layer(here, passes):
    """Each scores its own, and none waits for another's."""
    text = "preserve conv4:[1, 2, 3, 4, 5] on images/dogs/* sparsity<=0.1 criterion=snip"
    compiled = compile_source(Source(str(here / "some.circuit"), text))
    prepared = prepare(compiled.plan, compiled.folder, compiled.origins, Options())
    groups = groups_of(prepared.jobs, 2, {})
    assert sorted(len(group.circuits) for group in groups) == [2, 3]
    after = predecessors(prepared.jobs, groups)
    for group in groups:
        first, *others = group.circuits
        assert {name: after.get(name) for name in group.circuits} == {first: None, **dict.fromkeys(others, first)}
    compute = start_worker(lambda: prepared, here / "runs", torch.get_num_threads(), groups)
    for group in groups:
        passes.clear()
        compute(group.circuits[:1])
        assert {len(targets) for targets in passes} == {len(group.circuits)}


def test_of_several_sizes_the_smallest_comes_first(here):
    """It leaves every stage that the others share; a search waits for it too."""
    text = """
    preserve conv4:2 on images/dogs/* pearson>=0.5 criterion=annealed
    preserve conv4:2 on images/dogs/* sparsity<=each(0.1, 0.05) criterion=annealed
    preserve conv4:2 on images/dogs/* kernels<=9 criterion=annealed
    preserve conv4:2 on images/dogs/* sparsity<=0.1 criterion=annealed(passes=8)
    preserve conv4:2 on images/dogs/* sparsity<=each(0.1, 0.05) criterion=force
    """
    compiled = compile_source(Source(str(here / "some.circuit"), text))
    prepared = prepare(compiled.plan, compiled.folder, compiled.origins, Options())
    search, large, middle, small, *_ = (job.plan.id for job in prepared.jobs)
    groups = groups_of(prepared.jobs, 2, {})
    assert predecessors(prepared.jobs, groups) == dict.fromkeys((search, large, middle), small)


def test_of_one_size_one_is_scored_first_where_scores_are_of_a_size(here):
    """However the size is written; circuits of another size have other scores."""
    text = """
    preserve conv4:2 on images/dogs/* sparsity<=each(0.1, 0.05) criterion=force
    preserve conv4:2 on images/dogs/* kernels<={} criterion=force
    """
    unknown = compile_source(Source(str(here / "some.circuit"), text.format(1)))
    relevant = count(prepare(unknown.plan, unknown.folder, unknown.origins, Options()).jobs[0].builder().relevant)
    compiled = compile_source(Source(str(here / "some.circuit"), text.format(relevant // 10)))
    prepared = prepare(compiled.plan, compiled.folder, compiled.origins, Options())
    large, _, same = (job.plan.id for job in prepared.jobs)
    assert predecessors(prepared.jobs, groups_of(prepared.jobs, 2, {})) == {same: large}


def test_what_the_network_does_is_found_once_for_all_and_forgotten_at_the_end(here, numbers_alone, monkeypatch):
    ran, subnetworks = [], []
    collect = reference_responses.collect

    def counted(some, images, label, look=False):
        ran.append((label, len(some), look))
        subnetworks.extend(some)
        collect(some, images, label, look)

    monkeypatch.setattr(reference_responses, "collect", counted)
    spec(SWEEP.replace("criterion=snip", "criterion=magnitude"), here)
    assert ran == [("the network on images", 3, True), ("the network on held-out images", 3, False)]
    assert not any(subnetwork.memo.held for subnetwork in subnetworks)


@pytest.mark.parametrize(("room", "together"), [(1 << 20, {3}), (0, {1})])
def test_responses_that_take_much_room_are_not_found_for_others(here, numbers_alone, monkeypatch, room, together):
    ran = set()
    collect = reference_responses.collect
    monkeypatch.setattr("circuitlang.engine.runtime.steps.responses.ROOM", room)

    def counted(some, images, label, look=False):
        ran.add(len(some))
        collect(some, images, label, look)

    monkeypatch.setattr(reference_responses, "collect", counted)
    assert len(spec(SWEEP, here)) == 9
    assert ran == together


@pytest.mark.parametrize(("room", "together"), [(1 << 30, 3), (300_000, 1)])
def test_no_more_are_scored_together_than_their_sums_have_room(
    here, numbers_alone, passes, monkeypatch, room, together
):
    """Of conv4 and what leads to it there are 6,704 kernels, for gn five numbers of 8 bytes each: 268,160."""
    monkeypatch.setattr("circuitlang.engine.runtime.steps.scores.ROOM", room)
    spec("preserve conv4:[1, 2, 3] on images/dogs/* sparsity<=0.1 criterion=gn", here)
    assert {len(targets) for targets in passes} == {together}


def test_what_fails_for_one_fails_for_no_other(here, numbers_alone, monkeypatch):
    def broken(_):
        raise ValueError("broken criterion")

    spec(
        "preserve conv4:3 on images/dogs/* sparsity<=0.1 criterion=actgrad", here / "images" / ".."
    )  # so that it is loaded
    entry = CRITERIA.load("actgrad")
    load = CRITERIA.load
    broken_entry = replace(entry, reduce=broken)
    monkeypatch.setattr(CRITERIA, "load", lambda name: broken_entry if name == "actgrad" else load(name))
    compiled = compile_source(Source(str(here / "some.circuit"), SWEEP))
    with pytest.raises(CircuitError) as failed:
        run_compiled(compiled, here / "sweep")
    assert {each.code for each in failed.value.findings} == {"E392"}
    assert {each.circuit for each in failed.value.findings} == {
        circuit.id for circuit in compiled.plan.circuits if circuit.criterion.name == "actgrad"
    }
    assert len([*(here / "sweep").glob("*/circuit.json")]) == 5


def test_what_is_done_is_not_done_again_for_those_that_come_later(here, numbers_alone, monkeypatch):
    """Where nothing of it can be kept on disk."""
    monkeypatch.setattr(tensor_cache, "LARGEST", 0)
    found, collect = [], reference_responses.collect

    def counted(subnetworks, images, label, look=False):
        found.extend((str(subnetwork.target), images.digest) for subnetwork in subnetworks)
        collect(subnetworks, images, label, look)

    monkeypatch.setattr(reference_responses, "collect", counted)
    monkeypatch.setattr("circuitlang.engine.runtime.steps.responses.TOGETHER", 2)
    spec("preserve conv4:[1, 2, 3, 4, 5] on images/dogs/* sparsity<=0.1 criterion=snip", here)
    assert len(found) == len(set(found)) == 5 * 2


def test_one_of_several_processes_holds_what_it_knows_of_one_feature(here, numbers_alone):
    text = "preserve conv4:[1, 2, 3] on images/dogs/* sparsity<=0.1 criterion=snip"
    compiled = compile_source(Source(str(here / "some.circuit"), text))
    prepared = prepare(compiled.plan, compiled.folder, compiled.origins, Options())
    groups = groups_of(prepared.jobs, 1, {})
    compute = start_worker(lambda: prepared, here / "runs", torch.get_num_threads(), groups)
    for job in prepared.jobs:
        compute([job.plan.id])
    assert [bool(job.subnetwork.memo.held) for job in prepared.jobs] == [False, False, True]
