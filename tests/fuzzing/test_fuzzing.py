"""The damaged inputs of the fuzzing tests are the same for a seed, differ from the good one, and stay JSON."""

import json
from collections import Counter

import pytest

from circuitlang.base.diagnostics import Finding, InputError
from tests.helpers.fuzzing import all_night, damaged, damaged_json, figures, replaced, survives

GOOD = {"name": "conv5", "kept": [1, 2, 3], "scores": {"conv1": [0.5, 0.25]}}


def test_a_seed_gives_the_same_damage() -> None:
    content = bytes(range(256)) * 20
    assert list(damaged(content, 50, 3)) == list(damaged(content, 50, 3)) != list(damaged(content, 50, 4))
    assert sum(each != content for each in damaged(content, 50, 3)) > 45


def test_an_empty_file_can_be_damaged() -> None:
    assert len(list(damaged(b"", 20))) == 20


def test_damaged_json_is_json_of_another_content() -> None:
    whole = json.dumps(GOOD).encode()
    found = [json.loads(each) for each in damaged_json(whole, 200)]
    assert len({repr(each) for each in found}) > 100
    assert json.loads(whole) == GOOD


def test_what_is_replaced_is_a_copy() -> None:
    list(replaced(GOOD, 100))
    assert GOOD == {"name": "conv5", "kept": [1, 2, 3], "scores": {"conv1": [0.5, 0.25]}}


def test_findings_survive_and_other_errors_do_not() -> None:
    def finding() -> None:
        raise InputError(Finding("E306", "damaged"))

    assert survives(lambda: 1)
    assert not survives(finding)
    with pytest.raises(ZeroDivisionError):
        survives(lambda: 1 / 0)


def test_a_night_of_no_minutes_is_over() -> None:
    assert list(all_night(0)) == []


def test_figures_count_inputs_and_results_by_module() -> None:
    lines = list(figures(Counter(test_fuzz_b=1200, test_fuzz_a=3, test_other=1), Counter(test_fuzz_b=1000)))
    assert lines == [
        "test_fuzz_a: 3 inputs, 0 results, 3 refused",
        "test_fuzz_b: 1,200 inputs, 1,000 results, 200 refused",
    ]
