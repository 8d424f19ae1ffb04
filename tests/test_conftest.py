"""The fixtures for what a machine may lack: skipped on a desk, failed in CI."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
WANTED = "def test_folder(real): assert real.is_dir()\ndef test_browser(browser): assert browser\n"


@pytest.mark.parametrize(("ci", "outcome"), [("", "2 skipped"), ("true", "2 errors")])
def test_what_is_missing_is_skipped_on_a_desk_and_fails_in_ci(tmp_path: Path, ci: str, outcome: str) -> None:
    folder = tmp_path / "project" / "tests"
    folder.mkdir(parents=True)
    shutil.copy(CONFTEST, folder)
    folder.joinpath("test_wanted.py").write_text(WANTED)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=CONFTEST.parents[1],
        env={"PATH": str(tmp_path), "CI": ci},
        capture_output=True,
        text=True,
    )
    assert outcome in done.stdout.splitlines()[-1]
