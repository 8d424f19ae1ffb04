"""A circuit's diagram as a file of another kind, and a run that visualises every channel."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from circuitlang.api import load
from circuitlang.base.diagnostics import InputError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.runtime.options import Options
from tests.conftest import draw_pictures
from tests.helpers.outcomes import outcomes

RENDER = "all"

SPEC = "circuit tiny = preserve conv2:3 on images/dogs/* kernels<=12 criterion=magnitude\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    draw_pictures(place, "dogs", 5)
    (outcome,) = outcomes(Source("tiny.circuit", SPEC, place), place / "runs")
    return outcome.folder


def exported(folder: Path, kind: str) -> bytes:
    path = folder.parent / f"out.{kind}"
    load(folder).export(path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["svg", "html"])
def test_what_the_run_drew_is_copied(folder, kind):
    assert exported(folder, kind) == (folder / f"diagram.{kind}").read_bytes()


def test_png_is_the_drawing(folder):
    picture = Image.open(io.BytesIO(exported(folder, "png"))).convert("RGB")
    text = (folder / "diagram.svg").read_text()
    width, height = (float(text.split(f'{name}="')[1].split('"')[0]) for name in ("width", "height"))
    assert picture.size == pytest.approx((2 * width, 2 * height), abs=2)
    shades = {shade for _, shade in picture.getcolors(1 << 24) or []}
    assert (255, 255, 255) in shades
    # Orange or blue, of edges; neither would be there if nothing but the paper were drawn.
    assert any(abs(red - blue) > 100 for red, _, blue in shades)


def test_pdf_is_one(folder):
    content = exported(folder, "pdf")
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert len(content) > 5_000


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_without_the_converter_the_extra_is_named(folder, kind, monkeypatch):
    monkeypatch.setattr("circuitlang.reporting.diagram.raster.find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        exported(folder, kind)
    (finding,) = caught.value.findings
    assert finding.code == "E361"
    assert "circuitlang[images]" in finding.help


@pytest.mark.parametrize("kind", ["png", "html"])
def test_without_a_diagram_there_is_nothing_to_export(folder, kind, tmp_path):
    for name in ("circuit.json", "circuit.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(InputError) as caught:
        load(tmp_path).export(tmp_path / f"out.{kind}")
    assert caught.value.findings[0].code == "E312"


def test_a_run_draws_what_is_affordable_and_every_channel_or_the_feature_alone_when_asked(folder):
    base = folder.parents[2]
    page = (folder / "diagram.html").read_text()
    assert 'data-visualised="budget"' in page
    assert page.count('"vision":"data:image') == 2  # of the target's channel and of the feature
    source = Source("tiny.circuit", SPEC, base)
    (outcome,) = outcomes(source, base / "asked", Options(visualise=True))
    page = (outcome.folder / "diagram.html").read_text()
    assert 'data-visualised="all"' in page
    (outcome,) = outcomes(source, base / "alone", Options(visualise=False))
    page = (outcome.folder / "diagram.html").read_text()
    assert 'data-visualised="feature"' in page
    assert page.count('"vision":"data:image') == 2  # of the target's channel and of the feature


def test_a_finished_circuit_is_done_again_where_only_its_channels_are_missing(tmp_path):
    draw_pictures(tmp_path, "dogs", 5)
    source = Source("tiny.circuit", SPEC, tmp_path)
    cached = []
    for visualise in (False, False, None, None, True, True, None, False):
        (outcome,) = outcomes(source, tmp_path / "runs", Options(visualise=visualise))
        cached.append(outcome.cached)
    assert cached == [False, True, False, True, False, True, True, True]


def test_without_words_the_command_says_what_to_give():
    for words in (["run"], ["run", "--visualise"]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2
        assert "give a SPEC file" in done.output


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["tiny.circuit", "--visualise"], "all"),
        (["--visualise", "tiny.circuit"], "all"),
        (["--visualise", "2", "tiny.circuit"], "2"),
        (["tiny.circuit", "--visualise", "999"], "all"),
        (["tiny.circuit", "--visualise", "0"], "feature"),
        (["tiny.circuit", "--visualise=none"], "none"),
    ],
)
def test_the_command_line_asks(here, monkeypatch, words, word):
    monkeypatch.setattr("circuitlang.engine.visuals.amounts.STEPS", 1)
    (here / "tiny.circuit").write_text(SPEC)
    done = CliRunner().invoke(main, ["run", *words])
    assert done.exit_code == 0, done.output
    page = (here / "runs" / "tiny" / "tiny" / "diagram.html").read_text()
    assert f'data-visualised="{word}"' in page
    assert ("feature visualisation (2)" in page) is (word == "2")
    assert ('name="view"' in page) is (word in ("all", "2"))
