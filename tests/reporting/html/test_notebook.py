"""The notebook among the examples runs, and shows what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOK = ROOT / "examples" / "tour.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(ROOT / "examples" / "images" / "dogs", tmp_path / "images" / "dogs")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # A kernel of this interpreter, whatever others there are.
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=None, startup_timeout=3600, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in code)
    shown = [
        output.data["text/html"]
        for cell in code
        for output in cell.outputs
        if output.output_type == "execute_result" and "text/html" in output.data
    ]
    assert len(shown) == 2
    assert all(each.startswith("<iframe srcdoc=") for each in shown)
    assert "class=&quot;drawing" in shown[0].replace("scroll drawing", "drawing")
    assert "chart-sweep" in shown[1]
    assert code[-1].outputs[0].data["text/plain"] == "True"


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
