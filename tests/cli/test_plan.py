"""`circuitlang plan`: what would be done, what is done, and what it costs, against counts by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
import torch
from click.testing import CliRunner, Result
from torch.utils.flop_counter import FlopCounterMode

import circuitlang
from benchmarks.sweep import counted
from circuitlang.base.diagnostics import InputError
from circuitlang.base.source import Source
from circuitlang.bundled import network
from circuitlang.bundled.doodles import draw
from circuitlang.cli.main import main
from circuitlang.engine.images.hashed_images import held_out
from circuitlang.engine.loops import backend
from circuitlang.engine.runtime import forecast, model_loading
from circuitlang.engine.visuals import amounts, contributions, excited_units, feature_visualisation, path_fidelity
from circuitlang.plan.model import Plan
from circuitlang.plan.schema import FILE, schema
from circuitlang.plan.yaml import read_plan
from circuitlang.plugins.protocols import CRITERIA, passes_of
from circuitlang.reporting.text.extension_calls import without_defaults
from circuitlang.results.outputs import FORMATS
from tests.conftest import draw_pictures
from tests.helpers.outcomes import outcomes
from tests.helpers.path_parts import unmeasured_parts

WEIGHTS = "preserve conv3:1 on images/dogs/* kernels<=9 structure=weight"
LINE = "preserve conv5:34 on images/dogs/* sparsity<=0.1 criterion=snip"
FOLDER = "conv5_34-snip-0.1"


@pytest.fixture
def here(here: Path) -> Path:
    """A folder with five dogs and three cats, to stand in."""
    draw_pictures(here, "cats", 3)
    return here


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def numbers(text: str, *arguments: str) -> dict:
    return json.loads(call("plan", "--json", "-e", text, *arguments).stdout)


def naive(last: str, rows: int | None = None) -> int:
    """Floating-point operations of the bundled network up to a layer, of which `rows` channels are computed; by the
    sizes of its maps, which are written down here."""
    sides = {"conv1": 32, "conv2": 16, "conv3": 8, "conv4": 8, "conv5": 8, "fc1": 1}
    total = 0
    for name, module in network.build().named_children():
        if name in sides:
            out, inner = module.weight.shape[:2]
            size = module.weight[0, 0].numel()
            total += 2 * sides[name] ** 2 * (rows if rows and name == last else out) * inner * size
        if name == last:
            return total
    raise AssertionError(last)


def test_operations_are_those_of_every_convolution_on_the_way():
    """The formula of the test is right: PyTorch counts the same."""
    model = network.build()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))
    assert naive("fc1") == counter.get_total_flops()


@pytest.mark.parametrize(
    ("target", "operations", "tried"),
    [
        ("conv5:34", naive("conv5", 1), 0),
        ("relu5:34", naive("conv5"), 0),
        ("conv1:2", naive("conv1", 1), 2),
        ("conv3:joint(1, 2, 5)", naive("conv3", 3), 2),
        ("fc1:4", naive("fc1", 1), 0),
        ("class(4)", naive("fc1", 1), 0),
        ('class("dogs")', naive("fc1", 1), 0),
        ('class("dogs") - class(8)', naive("fc1", 2), 0),
    ],
)
def test_the_cost_of_a_circuit(here, target, operations, tried, monkeypatch):
    monkeypatch.setattr(amounts, "STEPS", 1)
    (circuit,) = numbers(f"preserve {target} on images/dogs/* kernels<=3 criterion=actgrad")["circuits"]
    # The network's outputs for all classes, where the target is one of them.
    classes = target.startswith("class(") and "-" not in target
    assert (circuit["found_on"], circuit["measured_on"]) == (4, 1)
    assert circuit["cost"] == {
        "passes": 1,
        "forwards": 19 + classes,
        "finding": 3 * operations * 4,
        "measuring": operations * (2 * 4 + 7 * 1 + 4 * 1 + 3 * 1 + 5 * 1) + classes * naive("fc1"),
        # A pass for what kernels carry, five parts of the diagram, and the steps of the image that excites the feature
        # and images of which one is its beginning; where it sees a part of an image, whether that comes to the same is
        # tried with both.
        "forwarded": 4 + (2 * 4 + 7 * 1 + 4 * 1 + 1 + 5) + 16 + 1 + tried + classes,
        "returned": 4 + 1 + 1,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("targets", "calibrate"),
    [
        (["conv5:[12, 34]"], "none"),
        pytest.param(["conv2:8", "conv5:12", "conv4:3"], "none", marks=pytest.mark.slow),
        pytest.param(["conv5:12", "relu3:5"], "none", marks=pytest.mark.slow),
        pytest.param(["conv5:12", "relu3:5"], "kernels(method=end_to_end, passes=2)", marks=pytest.mark.slow),
    ],
)
def test_pictures_forward_and_backward_are_as_many_as_a_sweep_sends(here, with_pages, targets, calibrate, monkeypatch):
    monkeypatch.setattr(amounts, "STEPS", 1)
    from circuitlang import pipeline
    from circuitlang.engine.runtime.options import Options

    clauses = f"kernels<=each(10, 500) criterion=each(actgrad, snip, force(steps=2)) calibrate={calibrate}"
    text = "\n".join(f"preserve {target} on images/dogs/* {clauses}" for target in targets)
    compiled = pipeline.compile_source(Source("sweep.circuit", text))
    total = pipeline.forecast(compiled, here / "runs").total
    spared = unmeasured_parts(monkeypatch)
    with counted() as count:
        found = outcomes(compiled, here / "runs", Options(visualise=False))
    features = {str(each.result.summary.plan.target) for each in found}
    assert len(found) == 6 * len(features)
    # For each feature one picture is made in the network.
    made = len(features)
    assert (count.forward + sum(spared), count.backward) == (total.forwarded + 17 * made, total.returned + made)


@pytest.mark.slow
def test_images_of_channels_are_counted(here, with_pages, monkeypatch):
    monkeypatch.setattr(amounts, "STEPS", 1)
    from circuitlang import pipeline
    from circuitlang.engine.runtime.options import Options

    text = "preserve conv5:34 on images/dogs/* kernels<=each(60, 90) criterion=snip"
    compiled = pipeline.compile_source(Source("two.circuit", text))
    options = Options(visualise=4)
    total = pipeline.forecast(compiled, here / "runs", options).total
    plain = pipeline.forecast(compiled, here / "runs").total
    assert total.forwarded - plain.forwarded == total.returned - plain.returned == 2 * 4
    spared, layers, networks = unmeasured_parts(monkeypatch), [], []
    same, made, ascend = excited_units.same, feature_visualisation.visualise, feature_visualisation.ascend
    begun = []

    def tried(seen, whole, subnetwork):
        layers.append(seen)
        return same(seen, whole, subnetwork)

    def stored(subnetwork, edits, channels, *rest):
        networks.append(channels)
        return made(subnetwork, edits, channels, *rest)

    def counted_ascend(*rest):
        begun.append(amounts.STARTS)
        return ascend(*rest)

    monkeypatch.setattr(excited_units, "same", tried)
    monkeypatch.setattr(feature_visualisation, "ascend", counted_ascend)
    monkeypatch.setattr("circuitlang.engine.runtime.artifacts.visualise", stored)
    with counted() as count:
        pipeline.run_compiled(compiled, here / "runs", options)
    # In the network, the feature once and each channel of the two once; and for each layer two forward passes, to
    # compare a part of an image with the whole, and images to begin with, which are counted for the feature alone.
    once = 1 + len({*networks[0], *networks[1]})
    assert [len(channels) for channels in networks] == [4, 4]
    forward = count.forward + sum(spared) - sum(begun) + 2 * amounts.STARTS
    assert (forward, count.backward) == (total.forwarded + once + 2 * len(layers), total.returned + once)


@pytest.mark.slow
def test_a_finished_circuit_lacks_the_images_of_channels(here, with_pages, monkeypatch):
    monkeypatch.setattr(amounts, "STEPS", 1)
    text = "preserve conv5:34 on images/dogs/* kernels<=30 criterion=snip"
    call("run", "-e", text, "--visualise", "2")

    def state(*words):
        return json.loads(call("plan", "-e", text, "--json", *words).stdout)["circuits"][0]["state"]

    assert [state(), state("--visualise", "2"), state("--visualise=none")] == ["finished"] * 3
    assert [state("--visualise", "3"), state("--visualise", "all")] == ["incomplete"] * 2


@pytest.mark.parametrize(("asked", "count"), [("none", -1), ("0", 0), ("5", 5), ("all", 30), ("999", 30)])
def test_a_plan_counts_no_more_channels_than_kernels(here, monkeypatch, asked, count):
    monkeypatch.setattr(amounts, "STEPS", 1)
    text = "preserve conv5:34 on images/dogs/* kernels<=30 criterion=snip"
    plain, visualised = (
        json.loads(call("plan", "-e", text, "--json", *words).stdout)["total"] for words in ([], ["--visualise", asked])
    )
    # Those of which the feature's own begins with one, too.
    begun = 16 if asked == "none" else 0
    assert visualised["returned"] - plain["returned"] == visualised["forwarded"] - plain["forwarded"] + begun == count


def test_a_plan_says_what_is_scored_together(here):
    text = "preserve conv5:[12, 34] on images/dogs/* kernels<=each(10, 50) criterion=each(snip, gn, greedy)\n"
    text += "preserve relu3:5 on images/dogs/* kernels<=10 criterion=actgrad\n"
    text += "preserve relu3:6 on images/cats/* kernels<=10 criterion=actgrad\n"
    found = {each["id"]: each for each in numbers(text)["circuits"]}
    first = "conv5_12-snip-10kernels"
    assert found[first]["cost"]["passes"] == 1
    assert not found[first]["beside"]
    for name in ("conv5_34-snip", "conv5_12-gn", "conv5_34-gn", "relu3_5-actgrad"):
        assert found[f"{name}-10kernels"]["beside"] == first
    assert 0.5 < found["conv5_34-snip-10kernels"]["cost"]["passes"] < 1
    # Another cotangent of a target that has gone forward; and a layer on the way of one that has.
    assert (
        found["conv5_34-gn-10kernels"]["cost"]["passes"]
        == found["relu3_5-actgrad-10kernels"]["cost"]["passes"]
        == pytest.approx(2 / 3)
    )
    assert found["conv5_12-snip-50kernels"]["scored"] == first
    assert found["conv5_12-snip-50kernels"]["cost"]["passes"] == 0
    for name in ("conv5_12-greedy-10kernels", "relu3_6-actgrad-10kernels"):
        assert not found[name]["beside"]
        assert not found[name]["scored"]
    tree = call("plan", "-e", text).stdout
    assert f", together with {first}, measuring" in tree
    assert f"its scores are those of {first}" in tree


def test_circuits_of_one_size_have_the_same_scores(here, numbers_alone, monkeypatch):
    """One of them is scored, as the plan says, by a criterion that scores for a size too."""
    from circuitlang.engine.runtime import circuit_finder

    text = "preserve conv5:34 on images/dogs/* kernels<=10 criterion=force(steps=3)\n"
    text += "preserve conv5:34 on images/dogs/* kernels<=10 criterion=force(steps=3) robust=mean\n"
    first, second = numbers(text)["circuits"]
    assert (first["cost"]["passes"], first["scored"]) == (3, "")
    assert (second["cost"]["passes"], second["scored"]) == (0, first["id"])
    scored, score = [], circuit_finder.score
    monkeypatch.setattr(circuit_finder, "score", lambda *asked: scored.append(asked[1]) or score(*asked))
    call("run", "-e", text)
    assert [name for name in scored if name == "force"] == ["force"]


def test_only_so_many_are_scored_together(here):
    targets = ", ".join(map(str, range(20)))
    found = numbers(f"preserve conv5:[{targets}] on images/dogs/* kernels<=10 criterion=snip")["circuits"]
    assert [number for number, each in enumerate(found) if each["cost"]["passes"] == 1] == [0, 16]
    assert {each["beside"] for each in found[1:16]} == {found[0]["id"]}
    assert {each["beside"] for each in found[17:]} == {found[16]["id"]}
    assert [number for number, each in enumerate(found) if each["cost"]["forwards"] == 19] == [0, 16]


def test_measuring_costs_what_measuring_a_run_takes(here, monkeypatch, with_pages):
    """A circuit that takes no pass to find, by the operations that are counted while it is found. What its module
    takes, less than the network, and pictures that are made to excite it are not told beforehand, and of parts of its
    diagram only how many there may be."""
    from circuitlang import pipeline
    from circuitlang.engine.graph import trace_verification, tracer
    from circuitlang.engine.runtime import artifacts, circuit_finder

    # The counter's hooks are for all modules, and change nothing.
    for each in (tracer, trace_verification):
        monkeypatch.setattr(each, "check_traceable", lambda _: None)
    monkeypatch.setattr(circuit_finder, "extract", lambda *_: torch.nn.Module())
    monkeypatch.setattr(backend, "compiled", lambda _: None)
    monkeypatch.setattr(artifacts, "verify", lambda *_: 0.0)
    monkeypatch.setattr(artifacts, "pack", lambda *_: b"")
    monkeypatch.setattr(artifacts, "visualise", lambda *_: None)
    for each in (contributions, path_fidelity):
        monkeypatch.setattr(each, "collect", lambda *_: ())
    text = LINE.replace("snip", "magnitude")
    cost = numbers(text)["circuits"][0]["cost"]
    with FlopCounterMode(display=False) as counter:
        pipeline.run(Source("<-e>", text), here / "runs")
    # The network is tried with one image for its channels and read with two; as it is given it sees four, the same in
    # reverse and one, and as it was traced four and one. Both are compared on four at the target's layer. What
    # bootstraps multiply is none of a network's layers.
    tracing = naive("fc1") * (1 + 2 + (4 + 4 + 1) + (4 + 1) + (4 + 4))
    layers = sum(count for each, count in counter.get_flop_counts()["Global"].items() if each.__name__ != "mm")
    assert cost["finding"] == cost["passes"] == 0
    of_the_diagram = 3 + path_fidelity.MOST
    assert layers == cost["measuring"] + tracing - (2 + of_the_diagram) * naive("conv5", 1)


@pytest.mark.parametrize(
    ("criterion", "passes"),
    [
        ("snip", 1),
        ("actgrad", 1),
        ("magnitude", 0),
        ("random", 0),
        ("force(steps=3)", 3),
        ("force(steps=3, base=actgrad)", 3),
        ("force(steps=3, base=magnitude)", 0),
        ("force(steps=2, base=force)", 20),
    ],
)
def test_passes_are_what_the_criterion_declares(here, criterion, passes):
    text = f"preserve conv5:34 on images/dogs/* kernels<=3 criterion={criterion}"
    cost = numbers(text)["circuits"][0]["cost"]
    assert cost["passes"] == passes
    assert cost["finding"] == 3 * naive("conv5", 1) * 4 * passes


SHARED = "preserve {} on images/dogs/* kernels<=each({}) criterion=annealed(passes=8, images={}) refill=none"


@pytest.mark.slow
@pytest.mark.parametrize("sizes", ["500, 40, 33", "33, 500, 40"])
def test_passes_of_circuits_that_share_stages_are_counted_once(here, with_pages, monkeypatch, sizes):
    """Three passes for each size of 6,768 kernels, one more from the last rung, and one for each rung.

    The four images come three times in each but the base's."""
    monkeypatch.setattr(amounts, "STEPS", 1)
    from circuitlang import pipeline
    from circuitlang.engine.runtime.options import Options

    compiled = pipeline.compile_source(Source("sweep.circuit", SHARED.format("conv5:34", sizes, 1024)))
    planned = pipeline.forecast(compiled, here / "runs")
    # The base; 20%, 10%, 5%, 2%, 1% and then 0.5% (33 kernels, itself a rung).
    assert planned.total.passes == 1 + 3 * (3 * 3 + 2 + 6)
    spared = unmeasured_parts(monkeypatch)
    with counted() as count:
        pipeline.run_compiled(compiled, here / "runs", Options(visualise=False))
    there = count.forward + sum(spared), count.backward
    assert there == (planned.total.forwarded + 17, planned.total.returned + 1)
    # Another size of its own begins with what is in the cache.
    more = pipeline.compile_source(Source("sweep.circuit", SHARED.format("conv5:34", "700, 20", 1024)))
    large, small = pipeline.forecast(more, here / "elsewhere").circuits
    assert large.cost
    assert small.cost
    assert (large.continues, large.cost.passes) == ("cache", 3 * (3 + 1))
    assert (small.continues, small.cost.passes) == ("cache", 3 * (3 + 1))


def test_passes_over_some_of_the_images_are_parts_of_passes(here):
    """Two of four images are drawn, which come six times in a pass of learning."""
    found = numbers(SHARED.format("conv5:34", "676", 2))["circuits"][0]
    passes = 1 + 6 * (3 + 2)
    assert found["cost"]["passes"] == passes / 2
    assert found["cost"]["finding"] == naive("conv5", 1) * (3 * 2 * passes + 3 * 2)


def test_a_plan_says_what_is_shared(here):
    text = SHARED.format("conv5:34", "500, 40", 1024)
    tree = call("plan", "-e", text).stdout
    # The four images come three times in a pass.
    assert tree.count("19 passes") == 1
    assert tree.count("21 passes") == 1
    assert "continues the learning of conv5_34-annealed-500kernels" in tree
    assert [each["continues"] for each in numbers(text)["circuits"]] == ["", "conv5_34-annealed-500kernels-refill_none"]


@pytest.mark.parametrize("name", CRITERIA.declarations)
def test_every_criterion_declares_its_passes(name):
    assert passes_of(name) >= 0


def test_pictures_are_counted_but_not_opened(here):
    (here / "images" / "dogs" / "broken.png").write_bytes(b"nonsense")
    text = """
    images pets = [images/dogs/*, images/cats/*] except images/cats/0.png
    images few = images/*/*.png limit=4 seed=1
    preserve conv5:34 on pets test=few kernels<=3
    preserve conv5:35 on few holdout=0 kernels<=3
    """
    found = numbers(text)
    assert {each["name"]: each["pictures"] for each in found["images"]} == {"pets": 8, "few": 4}
    one, other = found["circuits"]
    assert (one["found_on"], one["measured_on"], one["test"]) == (8, 4, "few")
    assert (other["found_on"], other["measured_on"], other["cost"]["forwards"]) == (4, 0, 17)


@pytest.mark.parametrize(("share", "count", "out"), [(0.2, 5, 1), (0.2, 1, 0), (0.9, 2, 1), (0.01, 9, 1), (0, 9, 0)])
def test_some_pictures_are_held_out_and_some_are_left(share, count, out):
    assert held_out(share, count) == out


def test_kernels_asked_for_are_those_a_run_asks_for(here, numbers_alone):
    text = f"{LINE}\npreserve conv4:1 on images/dogs/* kernels<=20"
    planned = {each["id"]: (each["relevant"], each["asked"]) for each in numbers(text)["circuits"]}
    call("run", "-e", text)
    summaries = [json.loads(path.read_text()) for path in (here / "runs" / "inline").glob("*/metrics.json")]
    assert len(summaries) == 2
    assert set(planned.values()) == {(each["relevant"], each["asked"]) for each in summaries}
    assert planned[FOLDER] == (6768, 676)


def test_what_is_finished_is_not_due(here, numbers_alone, standard_run):
    text = f"{LINE}\npreserve conv4:1 on images/cats/* kernels<=20"
    assert [each["state"] for each in numbers(text)["circuits"]] == ["new", "new"]
    standard_run(LINE)
    planned = numbers(text)
    assert [each["state"] for each in planned["circuits"]] == ["finished", "new"]
    assert planned["due"] == ["conv4_1-annealed-20kernels"]
    assert planned["total"] == planned["circuits"][1]["cost"]
    tree = call("plan", "-e", text).stdout
    assert f"{FOLDER}  finished already" in tree
    assert "1 circuit to compute, 1 finished" in tree
    assert [each["state"] for each in numbers(text, "--out", "elsewhere")["circuits"]] == ["new", "new"]
    draw("dogs", 3_000_000).save(here / "images" / "dogs" / "new.png")
    assert [each["state"] for each in numbers(text)["circuits"]] == ["changed", "new"]
    assert "changed" in call("plan", "-e", text).stdout


def test_a_damaged_result_is_not_finished(here, numbers_alone, standard_run):
    standard_run(LINE)
    assert call("plan", "runs/inline/plan.yaml").stdout.count("finished already") == 1
    (here / "runs" / "inline" / FOLDER / "circuit.safetensors").write_bytes(b"junk")
    assert numbers(LINE)["circuits"][0]["state"] == "damaged"
    assert f"{FOLDER}  damaged: files were lost or changed, and a run will make it again" in plan_of_line()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["circuit.json", "report.html", "SHA256SUMS"])
def test_a_result_that_lost_a_file_is_damaged(here, name, standard_run, with_pages):
    standard_run(LINE)
    (here / "runs" / "inline" / FOLDER / name).unlink()
    assert numbers(LINE)["circuits"][0]["state"] == "damaged"
    call("run", "-e", LINE)
    assert numbers(LINE)["circuits"][0]["state"] == "finished"


def test_files_that_could_not_be_made_are_said_to_be_due(here, monkeypatch):
    def broken(_result):
        raise ValueError("no ink")

    load = FORMATS.load
    with monkeypatch.context() as fault:
        fault.setattr(FORMATS, "load", lambda name: broken if name == "report" else load(name))
        call("run", "-e", LINE, code=1)
    tree = plan_of_line()
    assert f"{FOLDER}  finished, but files are missing that a run will make" in tree
    assert "0 circuits to compute, 1 with files to make" in tree


def plan_of_line() -> str:
    return call("plan", "-e", LINE).stdout


def test_weights_and_pictures_are_read_only_where_there_is_a_result(here, monkeypatch, numbers_alone, standard_run):
    read = []
    original = forecast.inputs_of
    monkeypatch.setattr(forecast, "inputs_of", lambda plan, *rest: read.append(plan) or original(plan, *rest))
    numbers(LINE)
    assert read == []
    standard_run(LINE)
    read.clear()
    numbers(f"{LINE}\npreserve conv4:1 on images/cats/* kernels<=20")
    assert [[each.id for each in plan.circuits] for plan in read] == [[FOLDER]]
    assert list(read[0].images) == ["images/dogs/*"]


def test_the_model_is_traced_once(here, monkeypatch):
    traced = []
    original = model_loading.trace
    monkeypatch.setattr(model_loading, "trace", lambda *arguments: traced.append(1) or original(*arguments))
    numbers("preserve conv5:[1, 2] on images/dogs/* kernels<=3\npreserve conv3:1 on images/dogs/* kernels<=3")
    assert traced == [1]


def test_the_tree_says_what_the_json_says(here):
    text = f"defaults sparsity<=0.5\n{LINE}\ncircuit low = preserve conv2:3 on images/cats/* criterion=force(steps=3)\n"
    text += "expect low.pearson >= 0.5\n"
    tree, found = call("plan", "-e", text).stdout, numbers(text)
    assert f"model      {found['model']}  {found['size']} x {found['size']} pixels" in tree
    for each in found["images"]:
        assert f"{each['name']}  {each['pictures']} images" in tree
    for each in found["circuits"]:
        part = tree.split(f"─ {each['id']}  {each['state']}\n")[1].split("\n├── ")[0]
        assert f"{each['asked']:,} of {each['relevant']:,} relevant" in part
        assert f"found on {each['found_on']} of {each['images']}, measured on {each['measured_on']} held out" in part
        assert f"{each['cost']['passes']} pass" in part
        for setting in each["settings"]:
            value = without_defaults(setting["value"])
            loud = rf"{setting['word']} +{re.escape(value)} +{re.escape(setting['origin'])}"
            default = re.escape(f"{setting['word']}={value}")
            assert re.search(default if setting["origin"] == "default" else loud, part)
        assert each["cost"]["finding"] == pytest.approx(printed(part, f"{each['cost']['passes']:g} pass"), rel=0.005)
        assert each["cost"]["measuring"] == pytest.approx(printed(part, "measuring in 19"), rel=0.005)
    assert found["expectations"][0] in tree
    total = found["total"]
    assert "2 circuits to compute: 4 passes" in tree
    assert total["passes"] == 4
    last = tree.splitlines()[-1]
    assert total["finding"] + total["measuring"] == pytest.approx(printed(last, "4 pass"), rel=0.005)


def printed(text: str, before: str) -> float:
    match = re.search(rf"{before}\w*[:,]? ?\w*:? ([\d.]+) (\w?)FLOP", text)
    assert match, text
    return float(match[1]) * 1000 ** " KMGT".index(match[2] or " ")


def test_lines_in_a_pipe_stay_whole(here):
    longest = max(call("plan", "-e", LINE).stdout.splitlines(), key=len)
    assert longest.endswith("seed=0")
    assert "…" not in longest


def test_what_this_version_cannot_run_is_planned_and_said_to_be_that(here):
    b = "circuit b = preserve conv3:joint(1, 2) on images/dogs/* kernels<=9 structure=weight ablation=mean"
    text = f"circuit a = {LINE}\n{b}\ncompare a, b\n"
    found = numbers(text)
    a, b = found["circuits"]
    assert a["refused"] == []
    assert b["refused"] == ["ablation=mean with structure=weight"]
    assert found["due"] == ["a"]
    assert found["total"] == a["cost"]
    assert found["comparisons"] == [["a", "b"]]
    tree = call("plan", "-e", text).stdout
    assert "b  can't be run by this version" in tree
    assert "because of ablation=mean with structure=weight" in tree
    assert "compare    a and b" in tree
    assert "`run` refuses the plan as it is" in tree
    assert "E320" in call("run", "-e", text, code=1).stderr


@pytest.mark.parametrize(
    ("clauses", "words"),
    [
        (f"{WEIGHTS} ablation=mean", ["ablation=mean"]),
        (
            f"{WEIGHTS} ablation=mean; split conv3:2 on images/dogs/* into 2 kernels<=9 structure=weight ablation=mean",
            ["ablation=mean", "ablation=mean"],
        ),
    ],
)
def test_what_this_version_cannot_run_is_underlined(here, clauses, words):
    with pytest.raises(InputError) as caught:
        circuitlang.run(clauses)
    assert [each.code for each in caught.value.findings] == ["E320"] * len(words)
    assert [each.span.text for each in caught.value.findings] == words


def test_in_a_plan_its_own_words_are_underlined(here):
    call("plan", "-e", f"{WEIGHTS} ablation=mean", "-o", "plan.yaml")
    with pytest.raises(InputError) as caught:
        circuitlang.run(Path("plan.yaml"))
    assert ["mean" in each.span.text for each in caught.value.findings] == [True]


MISTAKES = [
    ("preserve conv5:34 on images/wolves/* kernels<=3", ["E302"], "<-e>:1:22"),
    ("preserve conv5:34 on images/dogs kernels<=3", ["E301"], "<-e>:1:22"),
    ("preserve conv9:34 on images/dogs/* kernels<=3", ["E102"], "<-e>:1:10"),
    ("model alexnet(weights=none)\npreserve conv9:1 on images/wolves/* kernels<=3", ["E102", "E302"], "<-e>:2:10"),
    ("model alexnet(weights=none)\npreserve conv1:64 on images/dogs/* kernels<=3", ["E111"], "<-e>:2:16"),
    ("model alexnet(weights=none)\npreserve conv1:joint(1, 64) on images/dogs/* kernels<=3", ["E111"], "<-e>:2:16"),
    ("model nonet\npreserve conv1:1 on images/wolves/* kernels<=3", ["E109", "E302"], "<-e>:1:"),
    ("images dogs = images/dogs/*", ["E208"], ""),
]


@pytest.mark.parametrize(("text", "codes", "place"), MISTAKES, ids=[f"{m[1][0]}-{n}" for n, m in enumerate(MISTAKES)])
def test_mistakes_are_findings_with_places(here, text, codes, place):
    result = call("plan", "-e", text, code=1)
    assert sorted(re.findall(r"error\[(\w+)\]", result.stderr)) == sorted(codes)
    assert place in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("wrong", "code"),
    [("name: snpi", "E103"), ("name: snip\n    parameters: {steps: 3}", "E105"),
     ("name: force\n    parameters: {steps: many}", "E202"),
     ("name: force\n    parameters: {base: snpi}", "E103")],
)  # fmt: skip
def test_a_plan_written_by_hand_may_name_what_is_not_there(here, wrong, code):
    yaml = call("plan", "--yaml", "-e", LINE).stdout
    (here / "hand.yaml").write_text(yaml.replace("name: snip", wrong))
    result = call("plan", "hand.yaml", code=1)
    assert f"error[{code}]" in result.stderr
    assert "--> hand.yaml:" in result.stderr


@pytest.mark.parametrize(
    ("wrong", "label"),
    [
        ("{method: end_to_end, passes: 0}", "passes"),
        ("{method: end_to_end, passes: 1.5}", "passes"),
        ("{method: end_to_end, steps: 3}", "calibrate"),
        ("{method: layerwise}", "method"),
        ("kernles", "calibrate"),
    ],
)
def test_a_calibration_written_by_hand_is_checked(here, wrong, label):
    yaml = call("plan", "--yaml", "-e", LINE).stdout
    assert "calibrate: none" in yaml
    (here / "hand.yaml").write_text(yaml.replace("calibrate: none", f"calibrate: {wrong}"))
    result = call("plan", "hand.yaml", code=1)
    assert "error[E311]" in result.stderr
    assert f"circuits.0.{label}" in result.stderr or f"circuits.0.calibrate.{label}" in result.stderr


def test_the_yaml_is_still_there(here):
    yaml = call("plan", "--yaml", "-e", LINE).stdout
    plan, _ = read_plan(Source("plan.yaml", yaml))
    assert [each.id for each in plan.circuits] == [FOLDER]
    assert call("plan", "-e", LINE, "-o", "one.yaml").stdout == ""
    assert (here / "one.yaml").read_text() == yaml
    call("plan", "-e", LINE, "--json", "-o", "one.yaml", code=2)
    call("plan", code=2)


def test_the_schema_is_fresh_and_printed():
    assert FILE.read_text(encoding="utf-8") == schema(), "run: python -m circuitlang.plan.schema"
    assert call("plan", "--schema").stdout == schema()


def test_the_schema_describes_every_field_of_a_plan(here):
    content = json.loads(schema())
    assert content["$id"] == "urn:circuitlang:plan:1"
    assert content["title"]
    definitions = content["$defs"]
    assert content["$ref"] == "#/$defs/Plan"
    assert set(definitions["Plan"]["properties"]) == set(Plan.__struct_fields__)
    for name, definition in definitions.items():
        assert definition["additionalProperties"] is False, f"{name} would let typing mistakes pass"
        assert not re.search(r"\n +", definition["description"])
    assert set(re.findall(r'"#/\$defs/(\w+)"', schema())) == set(definitions)
    plan, _ = read_plan(Source("plan.yaml", call("plan", "--yaml", "-e", LINE).stdout))
    (circuit,) = msgspec.to_builtins(plan)["circuits"]
    assert set(circuit) <= set(definitions["Circuit"]["properties"])
    assert set(definitions["Circuit"]["required"]) <= set(circuit)


def test_a_plan_written_by_hand_is_checked_before_it_is_run(here):
    call("plan", "-e", "preserve conv5:34 on images/dogs/* kernels<=9 criterion=force(steps=3)", "-o", "plan.yaml")
    plan = Path("plan.yaml")
    plan.write_text(plan.read_text().replace("steps: 3", "steps: 0"))
    with pytest.raises(InputError) as caught:
        circuitlang.run(plan)
    assert [each.code for each in caught.value.findings] == ["E202"]
    assert not Path("runs").exists()
