"""The list of mutations: each can be put into the module it names."""

from __future__ import annotations

import pytest

from tests.mutations import MUTATIONS, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.new[:40])
def test_a_mutation_stands_once_in_its_module(mutation: Mutation) -> None:
    text = ROOT.joinpath("circuitlang", "engine", mutation.module).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1
    assert mutation.old != mutation.new
