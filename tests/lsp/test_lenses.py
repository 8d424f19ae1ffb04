"""Code lenses and inlay hints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from circuitlang.lsp.documents import Analysis, Documents
from circuitlang.lsp.lenses import hints, lenses
from tests.helpers.language_client import LanguageClient

RUN = "circuit face = preserve conv5:34 on images/dogs/* keep<=10% criterion=magnitude\n"


def analysis(text: str, folder: Path = Path("/nowhere")) -> Analysis:
    documents, uri = Documents(), folder.joinpath("spec.circuit").as_uri()
    documents.open(uri, text)
    return documents.analysis(uri)


def shown(text: str) -> list[tuple[int, str]]:
    made = hints(analysis(text), 0, len(text))
    assert all(hint.position.character == len(text.split("\n")[hint.position.line]) for hint in made)
    return [(hint.position.line, hint.label) for hint in made]


def test_a_circuit_can_be_run_and_planned(tmp_path: Path) -> None:
    made = [(lens.range.start.line, lens.command) for lens in lenses(analysis(f"# One.\n{RUN}", tmp_path))]
    assert [(line, command.title) for line, command in made] == [(1, "run"), (1, "plan")]
    assert made[0][1].arguments == [str(tmp_path / "spec.circuit"), "face"]


def test_the_last_result_opens_its_diagram(here: Path, standard_run: Callable[..., None]) -> None:
    standard_run(RUN, name="spec.circuit")
    last = lenses(analysis(RUN, here))[-1].command
    assert last.title.startswith("last: ")
    assert last.title.endswith(", 676 kernels")
    assert last.arguments == [here.joinpath("runs", "spec", "face", "diagram.html").as_uri()]


def test_what_defaults_decide() -> None:
    assert shown(RUN) == [(0, "ablation=zero")]
    assert shown("preserve conv5:34 on images/dogs/* keep<=10%\n") == [(0, "criterion=annealed ablation=zero")]
    assert shown(f"defaults ablation=mean\n{RUN}") == []


def test_the_circuits_of_a_sweep_are_counted() -> None:
    swept = RUN.replace("10%", "each(1%, 2%, 5%)").replace(":34", ":[3, 4]")
    assert shown(swept) == [(0, "ablation=zero 6 circuits")]


def test_a_file_with_mistakes_has_none() -> None:
    assert shown(f"{RUN}preserve conv9:3\n") == []
    assert lenses(analysis(f"{RUN}preserve conv9:3\n")) == []


@pytest.mark.slow
def test_the_commands_of_a_lens(here: Path) -> None:
    path = here / "spec.circuit"
    path.write_text(RUN)
    with LanguageClient(here) as client:
        client.open(path.as_uri(), RUN)
        asked = {"textDocument": {"uri": path.as_uri()}}
        run, plan = (lens["command"] for lens in client.request("textDocument/codeLens", asked))
        client.execute(plan)
        assert "1 circuit" in client.message()
        client.execute(run)
        assert "676 kept" in client.message()
        *_, last = client.request("textDocument/codeLens", asked)
        assert last["command"]["title"].startswith("last: ")
        client.execute({"command": "circuitlang.plan", "arguments": [str(here / "missing.circuit")]})
        assert "E310" in client.message()
