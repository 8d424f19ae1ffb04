"""What `test_language.py` tries with a few texts, with ten thousand: `pytest -m nightly`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiler import test_language as language

pytestmark = pytest.mark.nightly
MANY = settings(max_examples=10_000, derandomize=False)


@MANY
@given(st.text(max_size=80))
def test_any_text_is_answered(text):
    language.compiles(text)


@MANY
@given(language.HEAPS)
def test_any_heap_of_words_is_answered(text):
    language.compiles(text)


@MANY
@given(st.data())
def test_any_damaged_spec_is_answered(data):
    language.compiles(language.damaged(data))
