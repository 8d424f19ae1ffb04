"""Executors by name and by profile, and their settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuitlang.base.diagnostics import CircuitError, InputError
from circuitlang.plugins import placements
from circuitlang.plugins.placements import Placement, placement


@pytest.fixture(autouse=True)
def profiles(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(placements, "profile_files", lambda: [tmp_path / "near.yaml", tmp_path / "far.yaml"])
    (tmp_path / "far.yaml").write_text("lab:\n  executor: dask\n  workers: 4\n  address: far\ncpu: {executor: local}\n")
    return tmp_path


def test_a_profile_is_an_executor_with_settings_which_the_command_line_can_change(profiles):
    assert placement("local", None, ()) == Placement()
    assert placement("lab", None, ()) == Placement("dask", 4, {"address": "far"})
    chosen = placement("lab", 2, ("address=tcp://a=b", "timeout=7"))
    assert chosen == Placement("dask", 2, {"address": "tcp://a=b", "timeout": 7})
    assert placement("cpu", None, ()).is_here
    assert not placement("cpu", 2, ()).is_here
    (profiles / "near.yaml").write_text("lab: {executor: dask, address: near}")
    assert placement("lab", None, ()) == Placement("dask", 1, {"address": "near"})


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("dusk", (), ["unknown executor or profile 'dusk'", "did you mean 'dask'?", "lab"]),
        ("dask", ("adress=x",), ["no setting 'adress'", "did you mean 'address'?"]),
        ("dask", ("timeout=soon",), ["'soon' does not fit setting 'timeout'", "whole number"]),
        ("dask", ("timeout",), ["'timeout' is no setting", "KEY=VALUE"]),
        ("local", ("a=b",), ["no setting 'a'", "it has no settings"]),
    ],
)
def test_a_word_that_is_not_known_is_refused_with_a_guess(name, settings, words):
    with pytest.raises(InputError) as refused:
        placement(name, None, settings)
    (finding,) = refused.value.findings
    said = f"{finding.message} {finding.label} {finding.help}"
    assert all(word in said for word in words), said


@pytest.mark.parametrize("text", ["- a", "gpu: 3", "gpu: {executor: [dask]}", "a: b: c", "x: {executor: no}"])
def test_a_file_of_profiles_that_is_none_is_refused(profiles, text):
    (profiles / "near.yaml").write_text(text)
    with pytest.raises(CircuitError):
        placement("x", None, ())
