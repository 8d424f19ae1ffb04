"""A split finds kinds of images and their circuits, is finished or resumed like any circuit, and says what it found."""

from __future__ import annotations

import json
import math
import shutil
from itertools import permutations
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from scipy.stats import hypergeom

import circuitlang
from benchmarks.planted import SPLITS, Parted, parted, split_row, subnetwork
from benchmarks.planted_networks import either
from circuitlang import pipeline
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.analysis.split import clustering as kinds_module
from circuitlang.engine.analysis.split import score_vectors as vectors_module
from circuitlang.engine.analysis.split.clustering import clouds, kinds, numbers, silhouette, valley
from circuitlang.engine.analysis.split.permutation_test import distinction, fidelity
from circuitlang.engine.analysis.split.score_vectors import vectors, vectors_by
from circuitlang.engine.circuits.edits import edits_from_result
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.fidelity import responses
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.runtime import job_runner
from circuitlang.engine.runtime.jobs import prepare
from circuitlang.engine.runtime.options import Options
from circuitlang.plan.model import Choice
from circuitlang.reporting.text.split_sentences import conclusion, evidence, is_clear, notes, verdict
from circuitlang.results.manifest import SUMS
from circuitlang.results.reader import parts, read, read_split, read_summary
from circuitlang.results.split import ClusterTest, SpecificityTest, Split
from tests.conftest import ROOT, draw_pictures
from tests.helpers.outcomes import outcomes
from tests.helpers.toy_networks import SIZE, Chain, Fixed, Groups, build, images, layers, naive_trace

RENDER = "all"

SPEC = "circuit parts = split conv5:34 on images/*/* into {into} kernels<=60 criterion=actgrad holdout=25%\n"
PLACE = Path("runs/inline")


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    return result


def part_of(net, path: str, unit: int) -> TargetSubnetwork:
    graph = trace(build(net), (SIZE, SIZE))
    return TargetSubnetwork(graph, Target(graph.find(path), (unit,)))


def naive_actgrad(net, path: str, unit: int, image: torch.Tensor) -> torch.Tensor:
    """The scores of every relevant kernel on one image: kernel by kernel, as the formula has it."""
    module = build(net)
    feature, _, seen = naive_trace(module, path, unit, image)
    feature.abs().sum().backward()
    found = []
    for name, mask in part_of(net, path, unit).relevant.items():
        layer = layers(module)[name]
        x, y = seen[name]
        for o, i in mask.nonzero().tolist():
            weight = torch.zeros_like(layer.weight[o : o + 1])
            weight[0, i] = layer.weight[o, i].detach()
            if isinstance(layer, torch.nn.Linear):
                found.append((x[0] * weight[0]).sum() * y.grad[0, o])
                continue
            own = o // (layer.out_channels // layer.groups)
            shown = x.detach()[:, own * weight.shape[1] : (own + 1) * weight.shape[1]]
            made = torch.nn.functional.conv2d(
                _padded(layer, shown), weight, stride=layer.stride, dilation=layer.dilation
            )
            found.append((made[0, 0] * y.grad[0, o]).abs().mean())
    return torch.stack([each.abs().detach() for each in found])


def _padded(layer: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return torch.nn.functional.pad(x, layer._reversed_padding_repeated_twice, mode)


@pytest.mark.parametrize(("net", "path", "unit"), [(Chain, "conv2", 2), (Chain, "fc1", 3), (Groups, "point", 2)])
def test_points_lie_as_the_scores_of_each_image_do(net, path, unit):
    x = images(5)
    scores = torch.stack([naive_actgrad(net, path, unit, image) for image in x.split(1)])
    unit_length = scores / scores.norm(dim=1, keepdim=True)
    found = torch.cat(vectors(part_of(net, path, unit), [Fixed(x[:3]), Fixed(x[3:])], Choice("actgrad"), 0))
    assert torch.allclose(found @ found.T, unit_length @ unit_length.T, atol=1e-6)


def test_an_image_that_says_nothing_is_a_point_of_zeros():
    planted = either(0)
    nothing = torch.zeros(1, *planted.train.shape[1:]).double()
    (found,) = vectors(subnetwork(planted), [Fixed(torch.cat([planted.train[:4], nothing]))], Choice("actgrad"), 0)
    assert found[:4].any(1).all()
    assert not found[4].any()


def test_where_kernels_are_too_many_angles_are_kept_nearly(monkeypatch):
    planted = either(0)
    part, given = subnetwork(planted), [Fixed(planted.train)]
    (whole,) = vectors(part, given, Choice("actgrad"), 0)
    monkeypatch.setattr(vectors_module, "ROOM", 4 * len(planted.train) * 80)
    (folded,) = vectors(part, given, Choice("actgrad"), 0)
    assert not torch.equal(whole, folded)
    away = (whole @ whole.T - folded @ folded.T).abs()
    assert 0 < away.mean() < 1 / np.sqrt(80)


def test_images_are_told_apart_by_the_specs_criterion_where_it_scores_single_ones():
    assert vectors_by(Choice("snip")) == Choice("snip")
    assert vectors_by(Choice("greedy")) == vectors_by(Choice("force")) == Choice("actgrad")


def blobs(sizes: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """As many clouds on the sphere, far from one another."""
    random = np.random.default_rng(seed)
    points = [np.eye(8)[number] + 0.15 * random.standard_normal((size, 8)) for number, size in enumerate(sizes)]
    found = np.concatenate(points)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def naive_silhouette(points: np.ndarray, labels: list[int]) -> float:
    """The mean of (b - a) / max(a, b), with a the mean distance to the own kind and b that to the nearest other."""
    values = []
    for one, own in enumerate(labels):
        away: dict[int, list[float]] = {}
        for other, kind in enumerate(labels):
            if other != one:
                away.setdefault(kind, []).append(math.dist(points[one], points[other]))
        if own not in away:
            values.append(0.0)
            continue
        a = math.fsum(away[own]) / len(away[own])
        b = min(math.fsum(each) / len(each) for kind, each in away.items() if kind != own)
        values.append((b - a) / max(a, b))
    return math.fsum(values) / len(values)


def test_silhouettes_are_their_formula():
    points = blobs((9, 7, 5))
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    random = np.random.default_rng(1)
    for labels in (np.repeat([0, 1, 2], [9, 7, 5]), random.integers(0, 4, 21), np.array([0] * 20 + [1])):
        assert silhouette(apart, labels) == pytest.approx(naive_silhouette(points, labels.tolist()))
    assert silhouette(apart, np.zeros(21, int)) == silhouette(apart, np.arange(21)) == 0
    assert silhouette(np.zeros((21, 21)), random.integers(0, 4, 21)) == 0


def test_kinds_are_found_and_numbered_by_size():
    found = kinds(blobs((6, 12, 9)), 3, 0)
    assert found.labels.tolist() == [2] * 6 + [0] * 12 + [1] * 9
    assert found.nearest(blobs((2, 2, 2), seed=1)).tolist() == [2, 2, 0, 0, 1, 1]


def test_the_number_of_kinds_is_the_one_of_the_best_silhouette():
    found = kinds(blobs((12, 11, 10)), None, 0)
    assert len(found.middles) == 3
    assert found.silhouette == max(found.tried.values())
    assert list(found.tried) == list(numbers(None, 33)) == [2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("into", "many", "tried"), [(3, 100, [3]), (None, 5, [2]), (None, 13, [2, 3]), (None, 999, [*range(2, 9)])]
)
def test_as_many_kinds_are_tried_as_there_are_images_for(into, many, tried):
    assert list(numbers(into, many)) == tried


def test_a_valley_is_what_lies_between_two_kinds_by_what_lies_about_the_emptier():
    line = np.array([-1.0, -1, -1, 1, 1, 1, 1])
    points = np.stack([line, np.zeros(7)], 1)
    assert valley(points, np.repeat([0, 1], [3, 4])) == 0.5 / 3.5
    # Middles of -2 and 2: 0 and 0.9 are within a unit of half-way, five within one of the first, three of the second.
    line = np.array([-2.9, -2, -1.1, 0, -4.0, -1.5, -2.5, 2, 2.15, 2.95, 0.9])
    points = np.stack([line, np.zeros(11)], 1)
    labels = np.repeat([0, 1], [7, 4])
    assert valley(points, labels) == pytest.approx((2 + 0.5) / (3 + 0.5))
    # Of three kinds the two that run into each other count.
    third = np.concatenate([points, [[0, 50.0]]])
    assert valley(third, np.append(labels, 2)) == valley(points, labels)


def test_a_cloud_without_kinds_looks_like_its_clouds_and_kinds_do_not():
    points = blobs((16, 16))
    assert valley(points, kinds(points, 2, 0).labels) < clouds(points[::2], points[1::2], 2, 0).min()


def test_a_skewed_cloud_has_no_valley_though_its_parts_lie_far_apart():
    random = np.random.default_rng(2)
    cloud = np.ones(30) + np.exp(random.standard_normal((80, 1))) * random.standard_normal(30)
    cloud = cloud + 0.1 * random.standard_normal(cloud.shape)
    cloud /= np.linalg.norm(cloud, axis=1, keepdims=True)
    found = kinds(cloud, 2, 0)
    assert found.silhouette > 0.5
    assert valley(cloud, found.labels) > np.quantile(clouds(cloud[::2], cloud[1::2], 2, 0), 0.05)


def test_clouds_have_the_mean_and_covariance_of_the_images(monkeypatch):
    seen = []
    monkeypatch.setattr(kinds_module, "kinds", lambda points, *_: seen.append(points) or kinds(points, 2, 0))
    monkeypatch.setattr(kinds_module, "CLOUDS", 100)
    random = np.random.default_rng(0)
    points = np.array([5.0, 0, 0]) + random.standard_normal((20, 3)) * [0.01, 0.3, 0.1]
    clouds(points[::2], points[1::2], 2, 0)
    drawn = np.concatenate(seen)
    assert len(drawn) == 100 * 10
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1)
    flat = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.allclose(drawn.mean(0), flat.mean(0), atol=0.005)
    assert np.allclose(np.cov(drawn.T), np.cov(flat.T), atol=0.001)


def made(noise: float) -> tuple[torch.Tensor, list[torch.Tensor], np.ndarray]:
    """Responses to 8 images of two parts: each circuit keeps its own up to noise, and of the others nothing."""
    generator = torch.Generator().manual_seed(0)
    original, other = (torch.randn(8, 30, generator=generator).double() for _ in range(2))
    members = np.repeat([0, 1], 4)
    mine = torch.from_numpy(members == 0)[:, None]
    circuits = [torch.where(mine == first, original + noise * other, other) for first in (True, False)]
    return original, circuits, members


def test_fidelity_is_pearsons_r_on_the_images_of_each_part():
    original, circuits, members = made(0.5)
    rows = fidelity(original, circuits, members, 3)
    for circuit, row in zip(circuits, rows, strict=True):
        for part in range(2):
            mine = members == part
            r = np.corrcoef(original[mine].flatten(), circuit[mine].flatten())[0, 1]
            assert row[part] == pytest.approx(r)
        assert row[2] is None


def test_a_distinction_is_told_from_chance_by_dealing_out_images():
    original, circuits, members = made(0.5)
    found = distinction(original, circuits, original, members, 0)
    assert found is not None
    rows = np.array(fidelity(original, circuits, members, 2))
    assert found.own == pytest.approx(np.diag(rows).mean())
    assert found.other == pytest.approx((rows[0, 1] + rows[1, 0]) / 2)
    assert found.whole == pytest.approx(1)
    # Of all 70 deals no other has as much, but for the one that is there.
    differences = []
    for deal in sorted(set(permutations(members.tolist()))):
        rows = np.array(fidelity(original, circuits, np.array(deal), 2))
        differences.append(np.diag(rows).mean() - (rows[0, 1] + rows[1, 0]) / 2)
    exact = np.mean(np.array(differences) >= found.own - found.other - 1e-9)
    assert found.p == pytest.approx(exact, abs=0.005)
    assert exact == pytest.approx(1 / 70)


def test_circuits_that_are_the_same_are_no_distinction():
    original, circuits, members = made(0.5)
    found = distinction(original, [circuits[0]] * 2, original, members, 0)
    assert found is not None
    assert found.p == 1
    assert distinction(original, circuits, original, np.zeros(8, int), 0) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with pictures and a run of a split into two."""
    place = tmp_path_factory.mktemp("split")
    for kind in ("dogs", "cars"):
        draw_pictures(place, kind, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("CIRCUITLANG_CACHE", str(place / "cache"))
        patch.setattr("circuitlang.engine.visuals.amounts.STEPS", 1)
        (place / "said.txt").write_text(call("run", "-e", SPEC.format(into=2)).stdout)
    return place


@pytest.fixture
def run(folder, tmp_path, monkeypatch) -> Path:
    """A copy of it to stand in."""
    place = tmp_path / "here"
    shutil.copytree(folder, place)
    monkeypatch.chdir(place)
    monkeypatch.setenv("CIRCUITLANG_CACHE", str(place / "cache"))
    return place


@pytest.fixture
def nothing_is_computed(monkeypatch):
    def never(*_):
        raise AssertionError("it was computed")

    for name in ("execute", "divide", "evaluate_split"):
        monkeypatch.setattr(job_runner, name, never)


def test_a_split_has_a_folder_and_each_part_one_with_all_that_a_circuit_has(run):
    assert {each.name for each in PLACE.iterdir()} == {"plan.yaml", "index.html", "parts", "parts-part1", "parts-part2"}
    assert {each.name for each in (PLACE / "parts").iterdir()} == {
        "split.json",
        "report.txt",
        "report.html",
        "embedding.svg",
        SUMS,
    }
    whole = {"circuit.json", "circuit.safetensors", "module.pt2", "report.html", "diagram.svg", "metrics.json"}
    for place in parts(PLACE, "parts"):
        assert whole <= {each.name for each in place.iterdir()}


def test_every_picture_is_in_one_part_found_on_or_held_out(run):
    split = read_split(PLACE / "parts")
    named = [name for kind in split.kinds for name in (*kind.train, *kind.test)]
    assert len(named) + len(split.silent) == 24
    assert len(split.points) == len(named)
    for kind, place in zip(split.kinds, parts(PLACE, "parts"), strict=True):
        summary = read_summary(place)
        assert (summary.train.images, summary.test.images if summary.test else 0) == (len(kind.train), len(kind.test))
        assert summary.provenance.identity == kind.identity
        assert summary.kept == kind.kept
    assert len(split.kinds[0].train) >= len(split.kinds[1].train)


def test_the_fidelity_of_a_part_is_that_of_its_circuits_report(run):
    split = read_split(PLACE / "parts")
    for number, place in enumerate(parts(PLACE, "parts")):
        summary = read_summary(place)
        assert summary.test is not None
        assert split.fidelity[number][number] == pytest.approx(summary.test.metrics["pearson"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "clauses",
    [
        "",
        "calibrate=affine",
        "ablation=mean calibrate=kernels",
        "structure=weight",
        "ablation=mean calibrate=kernels(method=end_to_end, passes=1)",
    ],
)
def test_a_finished_circuit_can_be_put_back_into_the_network(here, clauses):
    source = Source("<-e>", f"preserve conv5:34 on images/dogs/* kernels<=90 criterion=snip {clauses}")
    (outcome,) = outcomes(source, Path("runs"))
    compiled = pipeline.compile_source(source)
    (job,) = prepare(compiled.plan, compiled.folder, compiled.origins, Options()).jobs
    result = read(outcome.folder)
    module = torch.export.load(outcome.folder / "module.pt2").module()
    found = responses(job.subnetwork, job.train, "", edits_from_result(result))
    wanted = torch.cat([module(batch).flatten(1) for batch in job.train.batches("")]).double()
    assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))


def test_the_overlap_is_that_of_the_kernels_that_both_keep(run):
    split = read_split(PLACE / "parts")
    masks = [circuitlang.load(place).masks for place in parts(PLACE, "parts")]
    layers_of = read_summary(PLACE / "parts-part1").layers
    for layer in layers_of:
        one, other = (mask[layer.path] for mask in masks)
        (found,) = (each for each in split.overlaps if each.layer == layer.name)
        if not (one | other).any():
            assert found.iou is None
            continue
        assert found.iou == pytest.approx((one & other).sum() / (one | other).sum())
        sizes, common = int(one.sum() + other.sum()), np.arange(one.sum() + 1)
        probable = hypergeom(layer.relevant, int(one.sum()), int(other.sum())).pmf(common)
        assert found.chance == pytest.approx(float(probable @ (common / (sizes - common))))
    (all_layers,) = (each for each in split.overlaps if not each.layer)
    one, other = (np.concatenate([each.flatten() for each in mask.values()]) for mask in masks)
    common, union = (one & other).sum(), (one | other).sum()
    assert all_layers.iou == pytest.approx(common / union)


def test_what_is_finished_is_not_done_again(run, nothing_is_computed):
    again = call("run", "-e", SPEC.format(into=2)).stdout
    assert again.count("finished before, and nothing has changed since") == 3
    assert again.replace("finished before, and nothing has changed since\n", "") == Path("said.txt").read_text()


@pytest.mark.slow
def test_a_part_that_is_missing_is_found_again_and_no_other(run, monkeypatch):
    before = {path: path.read_bytes() for path in PLACE.rglob("*.json")}
    shutil.rmtree(PLACE / "parts-part2")
    done = []
    execute = job_runner.execute
    monkeypatch.setattr(job_runner, "execute", lambda prepared, job: done.append(job.plan.id) or execute(prepared, job))
    monkeypatch.setattr("circuitlang.engine.runtime.split_job.vectors", None)
    call("run", "-e", SPEC.format(into=2))
    assert done == ["parts-part2"]
    assert {path: path.read_bytes() for path in PLACE.rglob("*.json")} == before


@pytest.mark.slow
def test_parts_that_an_earlier_split_had_more_go(run):
    (PLACE / "parts-part2").rename(PLACE / "parts-part7")
    call("run", "-e", SPEC.format(into=2))
    assert [place.name for place in parts(PLACE, "parts")] == ["parts-part1", "parts-part2"]


@pytest.mark.slow
def test_several_processes_find_the_same(run):
    more = "circuit small = preserve conv5:34 on images/dogs/* kernels<=20 criterion=magnitude\n"
    call("run", "-e", SPEC.format(into=2) + more, "--jobs", "2", "--out", "several")
    for name in ("parts/split.json", "parts-part1/metrics.json", "parts-part2/metrics.json"):
        assert Path("several/inline", name).read_bytes() == (PLACE / name).read_bytes()
    page = Path("several/inline/index.html").read_text()
    assert all(f'data-id="{name}"' in page for name in ("parts-part1", "parts-part2", "small"))


def test_what_is_expected_of_a_split_is_expected_of_each_part(run, nothing_is_computed):
    text = SPEC.format(into=2) + "expect parts.kept <= 59\nexpect parts.pearson >= -1\n"
    said = call("run", "-e", text, code=1).stderr
    assert "parts-part1 is not as expected" in said
    assert "parts-part2 is not as expected" in said
    assert "kept is 60, expected <= 59" in said
    assert said.count("E330") == 2


def test_the_parts_of_a_split_are_compared(run, nothing_is_computed):
    shown = call("run", "-e", SPEC.format(into=2) + "compare parts\n").stdout
    assert "parts-part1 and parts-part2 share" in shown
    found = json.loads((PLACE / "compare-parts" / "comparison.json").read_text())
    (pair,) = found["pairs"]
    assert pair["overlap"]["total"]["iou"] == pytest.approx(read_split(PLACE / "parts").overlaps[0].iou)


@pytest.mark.slow
def test_a_split_that_is_not_there_is_waited_for(run):
    text = SPEC.format(into=2) + "circuit one = preserve conv5:34 on images/*/* kernels<=60\ncompare parts, one\n"
    shutil.rmtree("runs")
    assert "compare parts and one waits for parts" in call("run", "-e", text, "--only", "one").stdout


def test_a_record_has_the_circuits_of_parts(run, nothing_is_computed):
    text = SPEC.format(into=2) + "expect parts.kept <= 59\n"
    call("run", "-e", text, "--summary", "summary.json", "--junit", "junit.xml", code=1)
    found = json.loads(Path("summary.json").read_text())
    assert [each["id"] for each in found["circuits"]] == ["parts-part1", "parts-part2"]
    assert [(each["circuit"], each["holds"]) for each in found["promises"]] == [
        ("parts-part1", False),
        ("parts-part2", False),
    ]
    assert Path("junit.xml").read_text().count("<failure") == 2


@pytest.mark.slow
def test_a_split_is_shown_and_its_parts_are_loaded(run):
    shown = call("show", str(PLACE / "parts")).stdout
    assert "pearson of each circuit on the held-out images of each part" in shown
    assert "conv5:34 of doodle, on images/*/*, part 2 of 2" in call("show", str(PLACE / "parts-part2")).stdout
    everything = call("show", str(PLACE)).stdout
    assert everything.index("parts-part1") < everything.index("embedding.svg")
    loaded = circuitlang.run(SPEC.format(into=2), "again")
    assert [each.folder.name for each in loaded] == ["parts-part1", "parts-part2"]


def test_two_runs_of_a_split_are_compared_part_by_part(run):
    shutil.copytree("runs", "other")
    assert call("diff", "runs/inline", "other/inline").exit_code == 0
    path = Path("other/inline/parts-part2/circuit.json")
    content = json.loads(path.read_text())
    content["relevant"] += 1
    path.write_text(json.dumps(content))
    (path.parent / SUMS).unlink()
    assert "parts-part2" in call("diff", "runs/inline", "other/inline", code=1).stdout


def test_the_page_shows_every_part_and_stands_alone(run):
    page = (PLACE / "parts/report.html").read_text()
    split = read_split(PLACE / "parts")
    assert all(name in page for kind in split.kinds for name in (*kind.train, *kind.test))
    assert page.count("<img") == len(split.points)
    assert "../parts-part1/report.html" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    drawing = (PLACE / "parts/embedding.svg").read_text()
    assert "var(--" not in drawing
    assert "part 2" in drawing
    index = (PLACE / "index.html").read_text()
    assert conclusion(split)[1:] in index.replace("&#39;", "'")
    assert "2 circuits" in index


def test_a_run_that_is_under_way_says_so(run):
    shutil.rmtree(PLACE / "parts")
    shutil.rmtree(PLACE / "parts-part2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_runner, "divide", lambda *_: 1 / 0)
        call("run", "-e", SPEC.format(into=2), code=1)
    page = (PLACE / "index.html").read_text()
    assert "1 of 2 circuits" in page
    assert 'data-id="parts-part1"' in page


def test_a_plan_counts_the_passes_of_a_split(run):
    text = (
        SPEC.format(into=2)
        + "circuit one = preserve conv5:34 on images/*/* kernels<=60 criterion=actgrad holdout=25%\n"
    )
    parts_of, one = json.loads(call("plan", "-e", text, "--json").stdout)["circuits"]
    assert parts_of["state"] == "finished"
    assert parts_of["refused"] == []
    # A pass for the vectors, one for the parts, one for the circuit of all pictures.
    assert (parts_of["cost"]["passes"], one["cost"]["passes"]) == (3, 1)


SAID = [
    (0.01, 0.001, "conv5:34 splits into 2 parts"),
    (0.5, 0.001, "the circuits differ, but the images form no separate groups"),
    (0.01, 0.3, "the images form separate groups, but each part's circuit preserves the others as well"),
    (0.5, 0.3, "no evidence that conv5:34 splits"),
    (0.01, None, "whether conv5:34 splits is unknown: fewer than two parts have held-out images"),
]


@pytest.mark.parametrize(("p_kinds", "p_circuits", "words"), SAID)
def test_the_verdict_wants_both_kinds_and_circuits(run, p_kinds, p_circuits, words):
    said = SpecificityTest(own=0.9, other=0.4, whole=0.8, least=-0.1, most=0.1, p=p_circuits) if p_circuits else None
    separation = ClusterTest(silhouette=0.5, valley=0.3, cloud=1.1, p=p_kinds, tried={2: 0.5})
    split = msgspec.structs.replace(read_split(PLACE / "parts"), distinction=said, separation=separation)
    assert verdict(split).endswith(words)
    assert split.splits == (p_kinds < 0.05 and (p_circuits or 1) < 0.05)
    assert verdict(split).startswith("no evidence") == (not split.splits and p_circuits is not None)
    if p_circuits:
        assert f"p = {p_circuits:.2g}" in evidence(split)[0]
    assert f"p = {p_kinds:.2g}" in evidence(split)[1]


GROUPS = ClusterTest(silhouette=0.5, valley=0.3, cloud=1.1, p=0.01, tried={2: 0.5})
CONCLUSIONS = [
    (("preserved", "preserved"), 0.4, 0.001, "conv5:34 splits into 2 parts, each preserved by a circuit of its own"),
    (("preserved", "partly"), 0.4, 0.001,
     "conv5:34 splits into 2 parts, each preserved, in part, by a circuit of its own"),
    (("preserved", "preserved"), 0.88, 0.001,
     "conv5:34 splits into 2 parts, each preserved by a circuit of its own; the others' circuits preserve it nearly as "
     "well"),
    (("preserved", "worse than silence"), 0.4, 0.001,
     "conv5:34 splits into 2 parts, but only the circuit of one part preserves it; the others: worse than silence"),
    (("not preserved", "no better than a baseline"), 0.4, 0.001,
     "whether conv5:34 splits can't be told: no part's circuit preserves it (not preserved and no better than a "
     "baseline)"),
    (("no better than a baseline", "no better than a baseline"), 0.4, 0.001,
     "whether conv5:34 splits can't be told: no part's circuit is better than one by another rule"),
    (("preserved", "preserved"), 0.88, 0.3,
     "no evidence that conv5:34 splits: the images form separate groups, but each part's circuit preserves the others "
     "as well"),
]  # fmt: skip


@pytest.mark.parametrize(("verdicts", "other", "p", "sentence"), CONCLUSIONS)
def test_the_conclusion_is_qualified_by_what_the_parts_preserve(run, verdicts, other, p, sentence):
    split = read_split(PLACE / "parts")
    assert all(kind.verdict for kind in split.kinds)
    kinds = [msgspec.structs.replace(kind, verdict=word) for kind, word in zip(split.kinds, verdicts, strict=True)]
    test = SpecificityTest(own=0.9, other=other, whole=0.8, least=-0.1, most=0.1, p=p)
    split = msgspec.structs.replace(split, kinds=kinds, distinction=test, separation=GROUPS)
    assert conclusion(split) == sentence
    assert is_clear(split) == (p < 0.05 and set(verdicts) <= {"preserved", "partly"})
    older = msgspec.structs.replace(split, kinds=[msgspec.structs.replace(kind, verdict="") for kind in kinds])
    assert conclusion(older) == verdict(older)


def test_notes_say_what_must_not_be_overlooked(run):
    split = read_split(PLACE / "parts")
    assert notes(split) == []
    greedy = msgspec.structs.replace(split.plan, criterion=Choice("greedy"))
    first = msgspec.structs.replace(split.kinds[0], test=[])
    found = notes(msgspec.structs.replace(split, plan=greedy, silent=["a.png", "b.png"], kinds=[first, split.kinds[1]]))
    assert "clustered by actgrad: greedy" in found[0]
    assert found[1] == "No held-out image is nearest to part 1."
    assert found[2].startswith("2 images give every kernel a score of zero and are in no part: a.png")


def planted_split(name: str, seed: int) -> tuple[Parted, set[frozenset]]:
    """Split a feature of a planted network; return the outcome and the circuits that were planted."""
    make, sought = SPLITS[name]
    planted = make(seed)
    truths, size = sought(seed, planted)
    return parted(subnetwork(planted), planted, size, seed), set(truths)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_the_or_of_two_features_is_split_into_the_two(seed):
    outcome, halves = planted_split("OR", seed)
    assert set(outcome.kernels) == halves
    assert outcome.splits
    assert outcome.own == pytest.approx(1)
    assert outcome.other < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [name for name in SPLITS if name != "OR"])
def test_a_feature_that_is_one_is_not_said_to_be_several(name, seed):
    outcome, _ = planted_split(name, seed)
    assert not outcome.splits


@pytest.mark.slow
def test_the_page_of_planted_circuits_has_what_is_printed():
    page = (ROOT / "docs" / "planted.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith("| OR |") and "of 5" in line)
    printed = split_row("OR", 5)
    assert [cell.strip() for cell in row.split("|")][:5] == [cell.strip() for cell in printed.split("|")][:5]
    assert "5 of 5" in row


@pytest.mark.slow
def test_a_channel_of_a_real_network_is_split(real, tmp_path, numbers_alone):
    text = """\
model squeezenet1_0(weights="squeezenet1_0.safetensors", resize=128, crop=128)
images few = images/*/* limit=24
split conv10:34 on few into 2 sparsity<=10% criterion=actgrad holdout=25%
"""
    *circuits, last = outcomes(Source("real.circuit", text, real), tmp_path)
    split = last.result.split
    assert isinstance(split, Split)
    assert len(circuits) == len(split.kinds) == 2
    assert sum(len(kind.train) + len(kind.test) for kind in split.kinds) + len(split.silent) == 24
    assert split.distinction is not None
    assert all(value is None or -1 <= value <= 1 for row in split.fidelity for value in row)
    assert all(each.result.summary.kept == circuits[0].result.summary.kept for each in circuits)
    (overall,) = (each for each in split.overlaps if not each.layer)
    assert overall.iou is not None
    assert overall.chance is not None
    assert overall.iou > overall.chance
