"""Names are matched by patterns as files are that lie on a disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.images.file_patterns import matches
from circuitlang.engine.images.wildcards import leads_to

_TREE = ["a", "b.png", ".h", "a.d/b.png", "a.d/.h", ".d/a", "dogs/a", "dogs/b.png", "dogs/dogs/a", "dogs/.d/b.png",
         "dogs/dogs/dogs/b.png", "cats/dogs/ab.png", "cats/a/dogs/a"]  # fmt: skip
_PARTS = ["a", "*", "**", "?b", "*.png", ".*", "dogs", "b.png", "*a*", ".d"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    for name in _TREE:
        folder.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        folder.joinpath(name).touch()
    return folder


@given(parts=st.lists(st.sampled_from(_PARTS), min_size=1, max_size=5))
def test_patterns_match_as_they_do_on_a_disk(tree: Path, parts: list[str]) -> None:
    try:
        expected = [path.relative_to(tree).as_posix() for path in matches("/".join(parts), tree)]
    except InputError:
        expected = []
    assert sorted(name for name in _TREE if leads_to(parts, name.split("/"))) == expected
