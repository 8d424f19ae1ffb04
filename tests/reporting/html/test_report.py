"""The pages of a run, opened from the disk in a browser without a network."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

import circuitlang
from circuitlang.api import Run
from circuitlang.base.diagnostics import Finding, OutputError
from circuitlang.engine.runtime import job_runner
from circuitlang.reporting import run_overview
from circuitlang.reporting.formats.page import page as report
from circuitlang.reporting.html import charts
from tests.conftest import ROOT

# The run that its tests share takes seconds.
pytestmark = pytest.mark.slow

RENDER = "all"

DOGS = ROOT / "examples" / "images" / "dogs"
SPEC = f"""\
images dogs = {DOGS}/* limit=16
circuit sweep = preserve conv5:34 on dogs {{
    sparsity<=each(2%, 5%)  # two sizes
    criterion=each(snip, magnitude)
}}
circuit small = preserve conv5:34 on dogs correlation>=0.9 criterion=snip
circuit class = preserve fc1:7 on dogs kernels<=200 criterion=snip
circuit both = preserve conv4:joint(3, 9) on dogs sparsity<=5% criterion=snip holdout=0
circuit gone = preserve conv5:34 on dogs kernels<=1 criterion=magnitude
"""
NAMES = (
    "sweep-0.02-snip", "sweep-0.02-magnitude", "sweep-0.05-snip", "sweep-0.05-magnitude",
    "small", "class", "both", "gone",
)  # fmt: skip
PAGES = (*(f"{name}/report.html" for name in ("sweep-0.02-snip", "small", "class", "both", "gone")), "index.html")
# Pages are looked at in turn light and dark; `make test-slow` looks at the others.
EVERY_PAGE = [
    pytest.param(name, scheme, marks=() if number % 2 == dark else pytest.mark.slow)
    for number, name in enumerate(PAGES)
    for dark, scheme in enumerate(("light", "dark"))
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("pages")
    folder.joinpath("dogs.circuit").write_text(SPEC)
    return circuitlang.run(folder / "dogs.circuit", folder / "runs")


@dataclass
class Visit:
    """A page that is looked at, and what was complained of."""

    page: Page
    complaints: list[str]
    requests: list[str]


@pytest.fixture
def visit(chromium: Browser):
    contexts = []

    def go(path: Path, scheme: str = "light") -> Visit:
        context = chromium.new_context(offline=True, color_scheme=scheme, viewport={"width": 1280, "height": 800})
        contexts.append(context)
        seen = Visit(context.new_page(), [], [])
        seen.page.on("console", lambda message: seen.complaints.append(message.text))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(path.as_uri())
        return seen

    yield go
    for context in contexts:
        context.close()


@pytest.mark.parametrize(("name", "scheme"), EVERY_PAGE)
def test_a_page_opens_alone_and_everybody_can_read_it(made, visit, name, scheme):
    seen = visit(made.folder / name, scheme)
    assert seen.page.locator("h1").inner_text()
    fetched = [url for url in seen.requests if not url.startswith("data:")]
    assert fetched == [(made.folder / name).as_uri()]
    assert seen.complaints == []
    # A screen's width is enough for the page; what is wider scrolls within it.
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 1280
    found = Axe().run(seen.page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []


def test_a_fault_is_found(made, visit):
    """Or the test above would say nothing."""
    seen = visit(made.folder / "index.html")
    seen.page.evaluate("document.querySelector('.says').style.color = '#ccc'")
    assert "color-contrast" in [each["id"] for each in Axe().run(seen.page).response["violations"]]


@pytest.mark.parametrize("name", ["small", "class", "both", "gone"])
def test_the_numbers_are_those_of_the_metrics(made, visit, name):
    numbers = json.loads((made.folder / name / "metrics.json").read_text())
    page = visit(made.folder / name / "report.html").page
    cells = {cell.get_attribute("data-key"): cell.inner_text() for cell in page.locator("[data-key]").all()}
    metrics = {key for key in numbers if re.fullmatch(r"(train|test|random|magnitude|without)\.(?!images)\w+", key)}
    assert set(cells) == metrics | {"relevant", "kept", "effective"}
    for key, text in cells.items():
        assert float(text.replace(",", "")) == pytest.approx(numbers[key], abs=0.00051), key
    tiles = page.locator(".tiles .value").all_inner_texts()
    sample = "test" if "test.pearson" in numbers else "train"
    assert float(tiles[1]) == pytest.approx(numbers[f"{sample}.pearson"], abs=0.00051)
    assert float(tiles[2]) == pytest.approx(numbers["random.pearson"], abs=0.00051)
    assert float(tiles[3]) == pytest.approx(numbers["necessity"], abs=0.00051)


def test_a_report_says_what_the_terminal_says(made, visit):
    for name, words in {
        "gone": "The circuit has collapsed: no kept kernel lies on a path from the image to the feature.",
        "both": "Nothing was held out: fidelity is measured on the images the circuit was found on.",
        "small": "the smallest that holds",
        "class": "a map of one position has no r of its own",
    }.items():
        assert words in visit(made.folder / name / "report.html").page.locator("body").inner_text()
        if name in ("gone", "both"):
            assert words in " ".join((made.folder / name / "report.txt").read_text().split())


def test_a_report_shows_pictures_charts_and_the_diagram(made, visit):
    page = visit(made.folder / "small" / "report.html").page
    charted = [each.get_attribute("class") for each in page.locator("svg.chart").all()]
    assert charted == [f"chart chart-{name}" for name in ("scatter", "metrics", "walk", "images")]
    shown = page.locator(".images li")
    # Of 16 pictures 3 are held out.
    assert shown.count() == 3
    for each in shown.all():
        sizes = [each.locator("img").nth(number).evaluate("one => one.naturalWidth") for number in range(3)]
        assert sizes == [64, 8, 8]
    assert page.locator(".drawing svg .circuit-edge").count() > 10
    assert "smallest" in page.locator("tr.chosen").inner_text()
    assert page.locator("pre .word").all_inner_texts() == ["circuit", "preserve", "on"]


def test_every_link_leads_to_a_file(made, visit):
    for name in PAGES:
        page = visit(made.folder / name).page
        links = [each.get_attribute("href") for each in page.locator("a").all()]
        assert links
        for link in links:
            assert (made.folder / name).parent.joinpath(link).is_file(), link


def test_the_command_does_it_again_to_the_byte(made, visit, tmp_path):
    page = visit(made.folder / "small" / "report.html").page
    # From the folder above, where the plan is.
    assert page.locator("#command").inner_text() == "circuitlang run plan.yaml --out again"
    assert (made.folder / "plan.yaml").is_file()
    path = tmp_path / "one.circuit"
    path.write_text(f"circuit one = preserve conv5:34 on {DOGS}/* sparsity<=2% criterion=magnitude")
    one = circuitlang.run(path, tmp_path)
    again = circuitlang.run(one.folder / "plan.yaml", tmp_path / "again")
    assert again.folder == tmp_path / "again" / "one"
    for name in ("one/report.html", "index.html"):
        assert (again.folder / name).read_bytes() == (one.folder / name).read_bytes()


def test_light_and_dark(made, visit):
    seen = visit(made.folder / "small" / "report.html", "light")
    paper = "getComputedStyle(document.body).backgroundColor"
    stroke = "getComputedStyle(document.querySelector('.chart-walk path[style*=stroke]')).stroke"
    button = seen.page.locator("#theme")
    before = seen.page.evaluate(f"[{paper}, {stroke}]")
    assert button.inner_text() == "Dark"
    button.click()
    after = seen.page.evaluate(f"[{paper}, {stroke}]")
    assert button.inner_text() == "Light"
    assert before[0] != after[0]
    assert before[1] != after[1]
    seen.page.reload()
    assert seen.page.evaluate(paper) == after[0]
    button.focus()
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate(f"[{paper}, {stroke}]") == before
    assert visit(made.folder / "small" / "report.html", "dark").page.evaluate(paper) == after[0]


def test_what_a_page_says_to_be_dark_is_said_of_the_diagram_too(made, visit):
    seen = visit(made.folder / "small" / "report.html", "light")
    seen.page.locator("#theme").click()
    seen.page.goto((made.folder / "small" / "diagram.html").as_uri())
    assert seen.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert seen.page.locator("#theme").inner_text() == "Light"
    assert seen.complaints == []


def test_a_diagram_on_a_telephone_is_as_large_as_it_was_drawn(made, visit):
    page = visit(made.folder / "small" / "report.html").page
    drawn = page.locator(".drawing svg").first
    before = drawn.bounding_box()["width"]
    page.set_viewport_size({"width": 380, "height": 800})
    assert drawn.bounding_box()["width"] >= before > 380
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_a_page_is_printed_light(made, visit):
    seen = visit(made.folder / "small" / "report.html", "dark")
    seen.page.emulate_media(media="print")
    ink = seen.page.evaluate("getComputedStyle(document.body).color")
    assert max(map(int, re.findall(r"\d+", ink)[:3])) < 80
    assert seen.page.locator("#theme").is_hidden()
    assert len(seen.page.pdf()) > 20_000


def rows(page: Page) -> list[str]:
    return [row.get_attribute("data-id") for row in page.locator("table.sortable tbody tr").all()]


def test_a_collapsed_circuit_is_the_same_on_every_page_and_keeps_no_picture_better(made, visit):
    report = visit(made.folder / "gone" / "report.html").page
    assert report.locator("#images ~ h3, section:has(#images) h3").count() == 0
    assert set(report.locator(".images b").all_inner_texts()) == {"r 0.000"}
    page = visit(made.folder / "gone" / "diagram.html").page
    for number in range(page.locator('input[name="image"]').count() - 1):
        page.locator('input[name="image"]').nth(number + 1).check(force=True)
        assert page.locator("#feature-note").inner_text().startswith("no correlation: one of the two is flat;")


def test_a_map_of_one_position_is_told_by_its_values(made, visit):
    page = visit(made.folder / "class" / "diagram.html").page
    page.locator('input[name="image"]').nth(1).check(force=True)
    said = page.locator("#feature-note").inner_text()
    assert re.match(r"-?[\d.]+ in the network, -?[\d.]+ in the circuit;", said), said


def test_the_table_is_filtered_by_words_and_bounds(made, visit):
    page = visit(made.folder / "index.html").page

    def shown() -> list[str]:
        return [row.get_attribute("data-id") for row in page.locator("table.sortable tbody tr:visible").all()]

    numbers = {name: json.loads((made.folder / name / "metrics.json").read_text()) for name in NAMES}
    values = {name: each.get("test.pearson", each["train.pearson"]) for name, each in numbers.items()}
    page.fill("#filter", NAMES[0])
    assert shown() == [name for name in NAMES if NAMES[0] in name]
    assert page.locator("#filtered").inner_text() == f"{len(shown())} of {len(NAMES)}"
    bound = sorted(values.values())[len(values) // 2]
    page.fill("#filter", f"Pearson>={bound}")
    assert shown() == [name for name in NAMES if values[name] >= bound]
    page.fill("#filter", f"pearson<{bound} share<=100%")
    assert shown() == [name for name in NAMES if values[name] < bound]
    page.fill("#filter", "no such circuit")
    assert shown() == []
    page.fill("#filter", f"pearson>={bound}")
    page.get_by_role("button", name="pearson", exact=True).click()
    order = shown()
    # The address brings back filter and order.
    page.reload()
    assert shown() == order
    assert page.locator("#filter").input_value() == f"pearson>={bound}"
    page.fill("#filter", "")
    assert len(shown()) == len(NAMES)


def test_the_table_sorts_by_its_headings(made, visit):
    page = visit(made.folder / "index.html").page
    assert rows(page) == list(NAMES)
    numbers = {name: json.loads((made.folder / name / "metrics.json").read_text()) for name in NAMES}
    values = {name: each.get("test.pearson", each["train.pearson"]) for name, each in numbers.items()}
    heading = page.locator("th", has=page.get_by_role("button", name="pearson", exact=True))
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert [values[name] for name in rows(page)] == sorted(values.values(), reverse=True)
    # And the other way, with the keyboard.
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [values[name] for name in rows(page)] == sorted(values.values())
    errors = page.locator("th", has=page.get_by_role("button", name="error", exact=True))
    errors.locator("button").press("Space")
    assert errors.get_attribute("aria-sort") == "ascending"
    assert heading.get_attribute("aria-sort") is None
    page.get_by_role("button", name="circuit", exact=True).click()
    assert rows(page) == sorted(NAMES)


def test_what_must_not_be_overlooked_stands_beside_the_name(made, visit):
    page = visit(made.folder / "index.html").page
    remarks = {name: page.locator(f'tr[data-id="{name}"] .remark').all_inner_texts() for name in NAMES}
    assert remarks["sweep-0.05-snip"] == []
    assert remarks["gone"] == ["collapsed"]
    assert remarks["both"] == ["in-sample"]


def test_no_interval_is_cut_off_and_what_is_far_off_is_an_arrow(made, monkeypatch):
    monkeypatch.setattr(charts, "as_svg", lambda figure, _: figure)
    summary = made[4].summary
    for interval, far in (((-1.0, 1.0), -0.4), ((0.2, 3.0), 40.0), ((0.5, 0.6), -40.0)):
        judged = msgspec.structs.replace(
            summary.test,
            metrics={**summary.test.metrics, "r2": far},
            intervals={**summary.test.intervals, "pearson": interval, "r2": (far - 1, far + 0.1)},
        )
        (axes,) = charts.metrics(msgspec.structs.replace(summary, test=judged)).axes
        low, high = axes.get_xlim()
        ends = [x for line in axes.lines if line.get_marker() == "None" for x in line.get_xdata() if line.get_alpha()]
        assert {interval[0], min(interval[1], 3.0)} <= set(ends)
        assert all(low < x < high for x in ends if -1.5 <= x <= 2.5)
        dots = [line for line in axes.lines if line.get_marker() != "None"]
        assert all(low < x < high for line in dots for x in line.get_xdata())
        arrows = [line.get_marker() for line in dots if line.get_marker() in ("<", ">")]
        assert arrows == ([] if far == -0.4 else [">" if far > 0 else "<"])


def test_pictures_that_are_kept_alike_have_an_axis_that_can_be_read(made):
    examples = replace(made[0].result.fidelity_examples, pictures=np.array([0.999999, 0.9999995, 0.99999975]))
    labels = re.findall(r">([^<>]+)</text>", charts.image_strokes(examples))
    assert labels
    assert all(re.fullmatch(r"[01]\.\d{4}", each) for each in labels), labels


def test_a_sweep_is_drawn_as_curves(made, visit):
    page = visit(made.folder / "index.html").page
    assert page.locator("section h2").all_inner_texts() == ["sweep", "Circuits"]
    words = page.locator("svg.chart-sweep text").all_text_contents()
    assert {"snip", "magnitude", "random", "2%", "5%", "share of the relevant kernels kept, nominally"} <= set(words)


def index_rows(folder: Path) -> dict[str, bool]:
    """By circuit, whether the index has numbers of it."""
    text = folder.joinpath("index.html").read_text()
    found = re.findall(r'<tr data-id="([^"]+)">(.*?)</tr>', text, re.DOTALL)
    return {name: "not finished" not in row for name, row in found}


def test_the_index_is_right_whatever_has_become_of_a_run(made, tmp_path, monkeypatch):
    spec = made.folder / "plan.yaml"
    out = tmp_path / "runs"
    execute = job_runner.execute
    begun = []

    def fails(prepared, job):
        # What was finished until now is in the index already.
        begun.append(index_rows(out / "dogs"))
        if len(begun) == 3:
            # For the others there is no place either.
            raise OutputError(Finding("E390", "no more"))
        return execute(prepared, job)

    monkeypatch.setattr(job_runner, "execute", fails)
    # However slow the machine is, it is drawn after each circuit.
    monkeypatch.setattr(run_overview, "PAUSE", 0)
    monkeypatch.setattr(run_overview, "SHORTEST", 0)
    with pytest.raises(OutputError, match="no more"):
        circuitlang.run(spec, out)
    assert [[name for name, done in each.items() if done] for each in begun] == [[], [NAMES[0]], [*NAMES[:2]]]
    assert all(tuple(each) == NAMES for each in begun)
    assert "2 of 8 circuits" in out.joinpath("dogs", "index.html").read_text()
    monkeypatch.undo()
    # One by one, out of order: what is in the folder counts, not who put it there.
    shutil.copytree(made.folder / NAMES[5], out / "dogs" / NAMES[5])
    monkeypatch.setattr(job_runner, "execute", fails)
    begun[:] = [{}, {}]
    with pytest.raises(OutputError):
        circuitlang.run(spec, out)
    assert [name for name, done in index_rows(out / "dogs").items() if done] == [*NAMES[:2], NAMES[5]]
    # A circuit that was found with something else is not finished.
    path = out / "dogs" / NAMES[5] / "circuit.json"
    content = json.loads(path.read_text())
    content["provenance"]["identity"] = "another"
    path.write_text(json.dumps(content))
    begun[:] = [{}, {}]
    with pytest.raises(OutputError):
        circuitlang.run(spec, out)
    assert [name for name, done in index_rows(out / "dogs").items() if done] == [*NAMES[:2]]


def test_the_index_of_what_was_finished_before(made):
    path = made.folder / "index.html"
    before = path.read_bytes()
    path.unlink()
    circuitlang.run(made.folder.parents[1] / "dogs.circuit", made.folder.parent)
    assert path.read_bytes() == before


HOSTILE = '<img src=x onerror="alert(1)">&amp;\'$x^{2$'


def test_no_name_is_markup(tmp_path, visit):
    """Of folders, of pictures, of the run, of what is written in a spec."""
    bad = "<script>alert(1)<"
    folder = tmp_path / bad / "script>"
    folder.mkdir(parents=True)
    for number in range(4):
        shutil.copy(DOGS / f"dogs_00{number}.png", folder / f"{number}{HOSTILE}.png")
    tmp_path.joinpath(f"{HOSTILE}.circuit").write_text(
        "defaults criterion=magnitude\n"
        f'circuit a = preserve conv5:34 on "{bad}/script>/*" {{ # </style>\n kernels<=each(20, 60) }}'
    )
    made = circuitlang.run(tmp_path / f"{HOSTILE}.circuit", tmp_path / "runs")
    assert made.folder.name == HOSTILE
    for path in (made.folder / "index.html", *(each.folder / "report.html" for each in made)):
        seen = visit(path)
        assert seen.complaints == []
        assert (
            seen.page.locator("script").count()
            == seen.page.locator("style").count() - seen.page.locator("svg style").count()
            == 1
        )
        assert seen.page.locator("[onerror]").count() == 0
    assert seen.page.locator("pre .comment").inner_text().strip() == "# </style>"
    (picture,) = seen.page.locator(".images p span").all_inner_texts()
    assert picture.endswith(f"{HOSTILE}.png")
    assert visit(made.folder / "index.html").page.locator("h1").inner_text() == HOSTILE


def test_the_policy_of_a_page_lets_nothing_else_run(made, visit, tmp_path):
    """Even if markup did get in."""
    text = (made.folder / "small" / "report.html").read_text()
    place = tmp_path / "report.html"
    place.write_text(text.replace("<main>", "<main><script>document.title = 'x'</script><img src='https://a.test/b'>"))
    seen = visit(place)
    assert seen.page.title() != "x"
    assert len(seen.complaints) == 2
    assert all("Content Security Policy" in each for each in seen.complaints)


def test_a_report_is_the_same_each_time(made):
    (result,) = (each.result for each in made if each.summary.plan.id == "small")
    assert report(result) == report(result)


def test_a_result_that_was_read_back_has_a_report_without_pictures(made, visit, tmp_path):
    again = circuitlang.load(made.folder / "small").result
    assert again.fidelity_examples is None
    tmp_path.joinpath("report.html").write_bytes(report(again)["report.html"])
    seen = visit(tmp_path / "report.html")
    assert seen.complaints == []
    assert seen.page.locator("svg.chart-scatter, .images").count() == 0
    assert seen.page.locator("svg.chart-metrics").count() == 1


def test_the_scatter_is_of_the_pairs(made):
    (result,) = (each.result for each in made if each.summary.plan.id == "small")
    examples = result.fidelity_examples
    assert examples is not None
    drawn = charts.scatter(examples)
    dots = [path for path in re.findall(r'd="([^"]*)"', drawn) if path.count("M") > 1]
    assert sum(path.count("M") for path in dots) == len(examples.network) == examples.responses == 3 * 64
    moved = charts.scatter(replace(examples, circuit=examples.circuit[::-1]))
    assert moved != drawn


@pytest.mark.parametrize(("times", "alike"), [(1, True), (0.4, True), (0.2, False), (5, False), (0, True)])
def test_axes_differ_where_one_scale_would_hide_the_circuit(made, times, alike):
    (examples,) = (each.result.fidelity_examples for each in made if each.summary.plan.id == "small")
    assert examples is not None
    grown = replace(examples, circuit=times * examples.network, slope=times, offset=0.0)
    assert charts.alike(grown) is alike
    # The line that fits is then a diagonal.
    (line,) = re.findall(
        r'd="M ([-\d.]+) ([-\d.]+) \nL ([-\d.]+) ([-\d.]+) \n" clip[^>]*var\(--warm\)', charts.scatter(grown)
    )
    x, y, right, top = map(float, line)
    slope = (y - top) / (right - x)
    assert slope == pytest.approx(times, abs=0.02) if alike else slope > 0.7


@pytest.mark.parametrize("count", [1, 3, 9, 40])
def test_curves_of_any_number_and_name(count):
    series = [
        charts.Series(f"{HOSTILE}{number}", [10, 100], [0.1, 0.9], [0.0, 0.8], [0.2, 1.0]) for number in range(count)
    ]
    sizes = charts.Sizes("kernels", {10: "10", 100: "100"})
    drawn = charts.sweep("pearson", series, {10: 0.0, 100: 0.1}, "random", sizes)
    assert "<img" not in drawn
    assert drawn == charts.sweep("pearson", series, {10: 0.0, 100: 0.1}, "random", sizes)
    assert drawn.count("onerror") == (count if count <= len(charts.SERIES) else 0)


def test_a_collapsed_circuit_does_not_spoil_the_chart_of_effective_sizes():
    series = [charts.Series("snip", [0.1, 0.5], [0.0, 0.4], [0.0, 0.4], [0.0, 0.5])]
    drawn = charts.effective(series, charts.Sizes("size", {0.1: "10%", 0.5: "50%"}))
    assert {"snip", "10%", "50%"} <= set(re.findall(r">([^<>]+)</text>", drawn))
    assert not re.search("nan|inf", drawn)
    paths = " ".join(re.findall(r' d="([^"]*)"', drawn))
    assert all(abs(float(number)) <= 1000 for number in re.findall(r"-?[\d.]+", paths))


def test_a_notebook_shows_a_page_that_keeps_to_itself(made, visit, tmp_path):
    styled = "<style>h1 { color: rgb(1, 2, 3) !important }</style><h1>notebook</h1>"
    one = made[4]._repr_html_()
    tmp_path.joinpath("notebook.html").write_text(f"<!doctype html>{styled}{one}{made._repr_html_()}")
    seen = visit(tmp_path / "notebook.html")
    frames = seen.page.frames[1:]
    assert [frame.locator("h1").inner_text() for frame in frames] == ["conv5:34", "dogs"]
    for frame in frames:
        assert frame.evaluate("getComputedStyle(document.querySelector('h1')).color") != "rgb(1, 2, 3)"
        assert frame.locator("a:visible").count() == 0
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"
    before = frames[0].evaluate("getComputedStyle(document.body).backgroundColor")
    frames[0].locator("#theme").click()
    assert frames[0].evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert seen.complaints == []


def test_a_run_is_a_list_and_shows_its_one_circuit_or_all(made, tmp_path):
    assert isinstance(made, list)
    assert [each.summary.plan.id for each in made] == list(NAMES)
    assert made[0].folder == made.folder / NAMES[0]
    alone = Run(made.folder, made[:1])
    assert alone._repr_html_() == made[0]._repr_html_()
    bare = shutil.copytree(made[0].folder, tmp_path / "bare")
    bare.joinpath("report.html").unlink()
    assert "&lt;h1&gt;conv5:34" in circuitlang.load(bare)._repr_html_()


def test_maps_of_several_units_are_laid_out_row_by_row():
    from circuitlang.reporting.formats.page import tiled

    maps = np.arange(3 * 2 * 2, dtype=np.float32).reshape(3, 2, 2)
    np.testing.assert_array_equal(tiled(maps), [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 0, 0], [10, 11, 0, 0]])
    np.testing.assert_array_equal(tiled(maps[:1]), maps[0])
