"""A file is written whole or not at all, whatever the system refuses."""

import errno
import os
import stat
from pathlib import Path

import pytest

from circuitlang.base import atomic_files
from circuitlang.base.atomic_files import write_atomically


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_made_with_its_folder_and_replaced(tmp_path, durable):
    path = tmp_path / "a" / "b" / "file"
    for content in (b"old", b"", b"new" * 100_000):
        write_atomically(path, content, durable=durable)
        assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o644, stat.S_IFREG | 0o755])
def test_a_file_has_the_mode_that_is_asked_for(tmp_path, mode):
    write_atomically(tmp_path / "file", b"", mode=mode)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE(mode)


@pytest.mark.parametrize(
    "fault",
    [(atomic_files.tempfile, "mkstemp"), (os, "fsync"), (Path, "chmod"), (Path, "replace")],
    ids=lambda fault: fault[1],
)
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_whatever_call_fails_the_old_file_stays_and_nothing_is_left(tmp_path, monkeypatch, fault, error):
    write_atomically(tmp_path / "file", b"old")

    def refused(*arguments, **options):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(*fault, refused)
        with pytest.raises(type(error)):
            write_atomically(tmp_path / "file", b"new", mode=0o644, durable=True)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"
