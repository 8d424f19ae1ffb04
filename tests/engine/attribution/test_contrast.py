"""`contrast=IMAGES`: kernels are scored by what they do on a set of images beyond what they do on others."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from circuitlang.base.diagnostics import InputError, SpecError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.runtime.jobs import prepare
from circuitlang.engine.runtime.options import Options
from circuitlang.pipeline import compile_source, forecast
from circuitlang.plan.model import Choice
from circuitlang.plan.yaml import write_plan
from circuitlang.results.reader import read, read_summary
from tests.conftest import draw_pictures
from tests.engine.attribution.test_criteria import assert_scores, best, naive_actgrad, naive_snip, subnetwork
from tests.helpers.outcomes import outcomes
from tests.helpers.toy_networks import CASES, IDS, Fixed, build, images

SPEC = "preserve conv5:34 on images/dogs/* contrast=images/cats/* kernels<=150 criterion=snip"


@pytest.fixture
def both(here: Path) -> Path:
    """A folder with pictures of five dogs and six cats, to stand in."""
    draw_pictures(here, "cats", 6)
    return here


def run(text: str, folder: Path = Path("runs")) -> dict[str, Path]:
    return {each.folder.name: each.folder for each in outcomes(compile_source(Source("<text>", text)), folder)}


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def less(own: dict, others: dict, numbers: tuple[int, int]) -> dict:
    return {path: own[path] / numbers[0] - others[path] / numbers[1] for path in own}


@pytest.mark.parametrize("naive", [naive_snip, naive_actgrad])
@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_scores_are_differences_of_means_per_image(net, path, unit, naive):
    module, every = build(net), images(5)
    part, own, others = subnetwork(module, path, unit), every[:2], every[2:]
    criterion = naive.__name__.removeprefix("naive_")
    found = score(Builder(part, Fixed(own)), criterion, {}, 5, 0, Fixed(others))
    expected = less(naive(module, path, unit, own), naive(module, path, unit, others), (2, 3))
    assert_scores(found, expected, part.relevant)


@pytest.mark.slow
def test_a_learned_mask_keeps_the_feature_on_its_own_images_alone(here: Path, numbers_alone: None):
    """Drawings of dogs against those of all other things, which by gn have much in common."""
    text = "preserve conv5:34 on {0}/dogs/* contrast={0}/*/* keep<=5% "
    text = text.format(Path(__file__).parents[3] / "examples" / "images")
    spec = f"circuit learned = {text}\ncircuit scored = {text}criterion=gn\n"
    by_name = {name: read_summary(folder) for name, folder in run(spec).items()}
    own = {name: summary.judged.metrics["pearson"] for name, summary in by_name.items()}
    others = {name: summary.contrast.metrics["pearson"] for name, summary in by_name.items() if summary.contrast}
    assert own["learned"] > own["scored"]
    assert others["learned"] < others["scored"]


@pytest.mark.parametrize("criterion", ["taylor", "gn", "greedy"])
def test_scores_are_differences_of_what_the_criterion_finds_on_either(criterion):
    net, path, unit = CASES[1]
    module, every = build(net), images(5)
    part, own, others = subnetwork(module, path, unit), Fixed(every[:2]), Fixed(every[2:])
    found = score(Builder(part, own), criterion, {}, 5, 0, others)
    apart = [score(Builder(part, each), criterion, {}, 5, 0) for each in (own, others)]
    assert_scores(found, less(*apart, (2, 3)), part.relevant)
    assert any((each < 0).any() for each in found.values())


def test_what_stands_in_for_kernels_is_that_of_the_images_themselves():
    """Greedy's costs on others are those of the circuit that will be built: with its own means, not theirs."""
    net, path, unit = CASES[1]
    module, every = build(net), images(5)
    part, own, others = subnetwork(module, path, unit), Fixed(every[:2]), Fixed(every[2:])
    builder, elsewhere = (Builder(part, each, Choice("mean")) for each in (own, others))
    elsewhere.__dict__["ablation_values"] = builder.ablation_values
    apart = [score(each, "greedy", {}, 5, 0) for each in (builder, elsewhere)]
    assert_scores(score(builder, "greedy", {}, 5, 0, others), less(*apart, (2, 3)), part.relevant)


def test_force_contrasts_at_each_step():
    net, path, unit = CASES[1]
    module, every = build(net), images(5)
    part, own, others = subnetwork(module, path, unit), every[:2], every[2:]
    total, masks, expected = count(part.relevant), None, {}
    for step in (1, 2, 3):
        expected = less(*(naive_snip(module, path, unit, each, masks) for each in (own, others)), (2, 3))
        masks = best(
            expected, part.relevant, round(math.exp(step / 3 * math.log(5) + (1 - step / 3) * math.log(total)))
        )
        masks = {name: mask & (expected[name] > 0) for name, mask in masks.items()}
    found = score(Builder(part, Fixed(own)), "force", {"steps": 3, "base": "snip"}, 5, 0, Fixed(others))
    assert_scores(found, expected, part.relevant)


@pytest.mark.parametrize("refill", ["none", "live"])
def test_what_does_as_much_on_the_others_is_never_kept(refill):
    net, path, unit = CASES[1]
    module, every = build(net), images(5)
    part = subnetwork(module, path, unit)
    builder = Builder(part, Fixed(every[:2]), refill=refill)
    found = score(builder, "snip", {}, 5, 0, Fixed(every[2:]))
    masks = builder.select(found, count(part.relevant))
    assert 0 < count(masks) < count(part.relevant)
    assert all((found[name][mask] > 0).all() for name, mask in masks.items())
    same = score(builder, "snip", {}, 5, 0, Fixed(every[:2]))
    assert not any(each.any() for each in same.values())


@pytest.mark.slow
def test_it_is_measured_on_pictures_of_both_that_had_no_say(both: Path, with_pages: None):
    (place,) = run(SPEC).values()
    summary, numbers = read_summary(place), json.loads((place / "metrics.json").read_text())
    assert summary.contrast is not None
    assert summary.contrast_held_out
    assert (summary.test.images, summary.contrast.images) == (1, 1)
    assert numbers["contrast.pearson"] == round(summary.contrast.metrics["pearson"], 6)
    assert "contrast" in (place / "report.txt").read_text()
    assert 'data-key="contrast.pearson"' in (place / "report.html").read_text()
    assert place.name == "conv5_34-snip-150kernels-contrast_images_cats"


@pytest.mark.slow
def test_pictures_of_its_own_are_no_contrast(both: Path):
    """`images/*/*` has the dogs too, and says the same as the cats alone."""
    (place,) = run(SPEC.replace("cats", "*")).values()
    (other,) = run(SPEC).values()
    assert read_summary(place).provenance.contrast_images == read_summary(other).provenance.contrast_images
    assert read_summary(place).contrast == read_summary(other).contrast
    with pytest.raises(InputError) as raised:
        run(SPEC.replace("cats", "dogs"))
    assert [each.code for each in raised.value.findings] == ["E301"]
    assert raised.value.findings[0].span.text == "contrast=images/dogs/*"


@pytest.mark.slow
def test_what_is_found_follows_from_the_contrast(both: Path):
    """Another contrast is another circuit, of which neither the result nor the scores are taken from the cache."""
    plain, contrasted = run(SPEC.replace("contrast=images/cats/* ", "")), run(SPEC)
    scores = [(place / "circuit.safetensors").read_bytes() for found in (plain, contrasted) for place in found.values()]
    assert scores[0] != scores[1]
    before = read_summary(*contrasted.values())
    (both / "images" / "cats" / "0.png").unlink()
    after = read_summary(*run(SPEC).values())
    assert before.provenance.identity != after.provenance.identity
    assert before.layers != after.layers or before.contrast != after.contrast


def test_baselines_are_not_contrasted(both: Path):
    """Random and magnitude are as they would be without; they have no score to take away from."""
    spec = "preserve conv5:34 on images/dogs/* {} kernels<=20 criterion=snip refill=none"
    (plain,), (contrasted,) = (run(spec.format(each)).values() for each in ("", "contrast=images/cats/*"))
    one, other = read_summary(plain), read_summary(contrasted)
    assert one.kept == other.kept
    assert one.baselines == other.baselines


@pytest.mark.parametrize("criterion", ["learned", "magnitude", "random", "force(base=magnitude)", "path(base=random)"])
def test_criteria_without_sums_are_refused(both: Path, criterion: str):
    with pytest.raises(SpecError) as raised:
        compile_source(Source("<text>", SPEC.replace("snip", criterion)))
    (finding,) = raised.value.findings
    assert finding.code == "E219"
    assert finding.span.text == criterion
    assert "greedy" in finding.help


def test_a_plan_written_by_hand_is_refused_too(both: Path):
    compiled = compile_source(Source("<text>", SPEC))
    text = write_plan(compiled.plan).replace("name: snip", "name: magnitude")
    changed = compile_source(Source("plan.yaml", text))
    with pytest.raises(InputError) as raised:
        prepare(changed.plan, both, changed.origins, Options())
    assert [each.code for each in raised.value.findings] == ["E219"]
    assert raised.value.findings[0].span is not None


def test_a_default_may_contrast_and_a_name_is_found(both: Path):
    defaults = "images cats = images/cats/*\ndefaults contrast=cats criterion=gn keep<=5%\n"
    text = f"{defaults}preserve conv5:34 on images/dogs/*"
    (circuit,) = compile_source(Source("<text>", text)).plan.circuits
    assert circuit.contrast == "cats"


def test_numbers_on_the_contrast_are_expected_by_name(both: Path):
    named = f"circuit face = {SPEC}"
    printed = call("run", "-e", f"{named}; expect face.contrast.pearson <= -2", code=1)
    assert "E330" in printed
    assert "contrast.pearson is" in printed
    plain = named.replace("contrast=images/cats/* ", "")
    printed = call("run", "-e", f"{plain}; expect face.contrast.pearson <= 1", code=1)
    assert "E116" in printed
    assert "add contrast=IMAGES" in printed


def test_the_plan_tells_what_it_costs(both: Path):
    plain, contrasted = (
        forecast(compile_source(Source("<text>", text)), Path("runs")).circuits[0]
        for text in (SPEC.replace("contrast=images/cats/* ", ""), SPEC)
    )
    assert (plain.contrasted_with, contrasted.contrasted_with) == (0, 6)
    # Four dogs are scored on, and five of the six cats.
    assert contrasted.cost.finding == plain.cost.finding // 4 * 9
    assert "contrasted with 6 of images/cats/*" in call("plan", "-e", SPEC)


def test_a_difference_in_contrast_is_told(both: Path):
    Path("a.circuit").write_text(SPEC)
    Path("b.circuit").write_text(SPEC.replace(" contrast=images/cats/*", ""))
    assert "contrast: images/cats/* → nothing" in call("diff", "a.circuit", "b.circuit", code=1)


def test_a_search_may_contrast(both: Path):
    (place,) = run("preserve conv5:34 on images/dogs/* contrast=images/cats/* r2>=0.2 criterion=snip").values()
    assert read_summary(place).contrast is not None
    assert torch.isfinite(torch.tensor(read_summary(place).contrast.metrics["pearson"]))


@pytest.mark.slow
def test_a_contrast_is_scored_by_itself_beside_circuits_that_are_scored_together(both: Path):
    alone = run(SPEC)
    company = "preserve conv5:[12, 34] on images/dogs/* kernels<=150 criterion=each(snip, actgrad)\n"
    together = run(company + SPEC, Path("others"))
    (name,) = alone
    assert read(alone[name]).circuit.kernels[2].score.tolist() == read(together[name]).circuit.kernels[2].score.tolist()
