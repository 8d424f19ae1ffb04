"""The page about several runs: their circuits in one table, with links to their pages."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, expect

from circuitlang.base.diagnostics import InputError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.pipeline import compile_source
from circuitlang.plan.labels import Label, Labels
from circuitlang.plan.model import Plan
from circuitlang.reporting.html.runs_index import ListedRun, runs_index
from circuitlang.reporting.runs_overview import write_overview
from tests.helpers.fake_results import invented

IMAGE = "data:image/webp;base64,AAAA"


def plan(number: int, model: str = "") -> Plan:
    text = f"{model}preserve conv5:0 on images/dogs/* keep<=10% criterion=snip"
    plan = compile_source(Source("one.circuit", text)).plan
    names = (f"conv5_{each}-snip-0.1" for each in range(number))
    return msgspec.structs.replace(
        plan, circuits=[msgspec.structs.replace(plan.circuits[0], id=name) for name in names]
    )


def run(place: str, plan: Plan, finished: int | None = None) -> ListedRun:
    summaries = dict(list(invented(plan, lambda circuit: 0.9).items())[:finished])
    return ListedRun(place, plan, summaries, {}, dict.fromkeys(summaries, IMAGE), 1, True)


@pytest.mark.slow
def test_circuits_of_several_runs_are_in_one_table(chromium: Browser, tmp_path: Path) -> None:
    labelled = msgspec.structs.replace(plan(2), labels=Labels([Label("conv5", 1, "snout")]))
    runs = [run("cats", labelled, 1), run("../more runs/a&b", plan(150)), run("last", plan(100))]
    (tmp_path / "index.html").write_bytes(runs_index("here", runs))
    page = chromium.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "index.html").as_uri())
    expect(page.locator(".claim")).to_contain_text("3 runs, 252 circuits")
    expect(page.locator(".claim")).to_contain_text("1 not finished")
    first = page.locator("table:not(.sortable) a")
    assert first.evaluate_all("all => all.map(one => one.getAttribute('href'))") == [
        "cats/index.html",
        "../more%20runs/a%26b/index.html",
        "last/index.html",
    ]
    rows = page.locator("table.sortable tbody tr")
    assert rows.count() == 200
    page.locator("#more").press("Enter")
    expect(rows).to_have_count(252)
    # Those that the template makes, and those that the page makes.
    for number, link in (
        (0, "cats/conv5_0-snip-0.1"),
        (2, "../more%20runs/a%26b/conv5_0-snip-0.1"),
        (251, "last/conv5_99-snip-0.1"),
    ):
        links = rows.nth(number).locator("a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
        assert links == [f"{link}/report.html", f"{link}/diagram.html"]
        expect(rows.nth(number)).to_contain_text(["cats", "", "../more runs/a&b"][number] if number < 3 else "last")
    expect(rows.nth(1)).to_contain_text("not finished")
    page.locator("#filter").fill("last pearson>0.5")
    expect(page.locator("#filtered")).to_have_text("100 of 252")
    page.locator("th button", has_text="run").click()
    assert "sort=run+ascending" in page.url
    assert said == []
    page.close()


def test_what_is_alike_has_no_column() -> None:
    alike = runs_index("here", [run("one", plan(2)), run("two", plan(2))])
    assert b">run</button>" in alike
    assert b">model</button>" not in alike
    other = plan(2, 'model squeezenet1_0(weights="a.pt")\n')
    assert b">model</button>" in runs_index("here", [run("one", plan(2)), run("two", other)])


def test_the_page_of_a_run_is_never_replaced(standard_run, here: Path) -> None:
    standard_run("preserve conv5:34 on images/dogs/* kernels<=12 criterion=magnitude\n", "one.circuit")
    (runs,) = (path for path in (here / "runs").iterdir() if path.is_dir())
    page = write_overview([], here / "runs")
    assert page == here / "runs" / "index.html"
    again = page.read_bytes()
    assert write_overview([runs], here / "runs").read_bytes() == again
    for folders, out, words in (
        ([runs], runs, "not a page about several runs"),
        ([here], here / "runs", "not the folder of a run"),
        ([], here / "images", "no run is in"),
    ):
        with pytest.raises(InputError, match=words):
            write_overview(folders, out)
    elsewhere = CliRunner().invoke(main, ["index", str(runs), "--out", "pages"])
    assert elsewhere.stdout == "pages/index.html\n", elsewhere.output
    assert f'href="../runs/{runs.name}/conv5_34' in Path("pages/index.html").read_text()
