"""`circuitlang check --fix`."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from circuitlang.cli.main import main

WRONG = "# Comment.\npreserve conv9:34 on images/dogs/* keep=5%\n\npreserve conv5:35 on images/dogs/*\n"
RIGHT = WRONG.replace("conv9", "conv5").replace("keep=", "keep<=")


def test_mistakes_are_corrected_and_the_others_reported(here: Path) -> None:
    here.joinpath("a.circuit").write_text(WRONG)
    here.joinpath("a.circuit").chmod(0o640)
    done = CliRunner().invoke(main, ["check", "--fix", "--format", "concise", "a.circuit"])
    assert done.exit_code == 1
    assert done.stderr == "a.circuit: 2 mistakes corrected\n"
    assert done.stdout.splitlines() == ["a.circuit:4:1: E204 a circuit needs a size or a fidelity"]
    assert here.joinpath("a.circuit").read_text() == RIGHT
    assert here.joinpath("a.circuit").stat().st_mode & 0o777 == 0o640


def test_a_sound_file_is_not_written(here: Path) -> None:
    path = here / "a.circuit"
    path.write_bytes(b"preserve conv5:34 on images/dogs/* keep<=5%\r\n")
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert CliRunner().invoke(main, ["check", "--fix", "a.circuit"]).exit_code == 0
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_without_the_option_nothing_is_written(here: Path) -> None:
    here.joinpath("a.circuit").write_text(WRONG)
    assert CliRunner().invoke(main, ["check", "a.circuit"]).exit_code == 1
    assert here.joinpath("a.circuit").read_text() == WRONG


def test_standard_input_and_files_that_are_missing(here: Path) -> None:
    assert CliRunner().invoke(main, ["check", "--fix", "-"], input=WRONG).exit_code == 2
    done = CliRunner().invoke(main, ["check", "--fix", "missing.circuit"])
    assert done.exit_code == 1
    assert "E310" in done.output
