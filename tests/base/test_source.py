"""What a path from a spec or a command line may open: an ordinary file, of a bounded size, of the right kind."""

import io
import os
import socket
import sys
from pathlib import Path

import pytest

from circuitlang.base import source
from circuitlang.base.diagnostics import InputError
from circuitlang.base.source import Source
from circuitlang.compiler.sources import STDIN, open_included, open_source, spec_files
from circuitlang.pipeline import check_file, compile_source

SECRET = "PASSWORD=opensesame"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what must not be read, under every name."""
    monkeypatch.chdir(tmp_path)
    Path("secret").write_text(SECRET)
    os.mkfifo("pipe.circuit")
    Path("link.circuit").symlink_to("secret")
    Path("device.circuit").symlink_to("/dev/zero")
    Path("loop.circuit").symlink_to("loop.circuit")
    Path("folder.circuit").mkdir()
    Path("bytes.circuit").write_bytes(b"model alexnet\xff")
    with socket.socket(socket.AF_UNIX) as there:
        there.bind("socket.circuit")
    return tmp_path


NOT_READ = [
    "pipe.circuit",
    "link.circuit",
    "device.circuit",
    "loop.circuit",
    "folder.circuit",
    "bytes.circuit",
    "socket.circuit",
    "missing.circuit",
    "nul\0.circuit",
    "a" * 300 + ".circuit",
    "secret/x.circuit",
]
NO_SPECS = [
    "secret",
    "../secret",
    "-",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/environ",
    "",
    ".",
    ".circuit",
    "x.circuit/",
]


@pytest.mark.parametrize("name", [*NOT_READ, *NO_SPECS])
def test_an_include_reads_specs_only_and_quotes_nothing_else(folder, name):
    with pytest.raises(InputError) as caught:
        open_included(Path(name))
    (finding,) = caught.value.findings
    assert finding.code == "E310"
    spec = folder / "spec.circuit"
    spec.write_text(f'include "{name}"\n')
    (said,) = check_file(spec).findings
    assert said.span.text == f'"{name}"'
    assert SECRET not in f"{said.message}{said.label}{said.help}"


@pytest.mark.parametrize("name", NOT_READ)
def test_a_command_reads_ordinary_files_only(folder, name):
    with pytest.raises(InputError) as caught:
        open_source(Path(name))
    (finding,) = caught.value.findings
    assert finding.code == "E310"
    assert finding.span.source.text == ""


def test_in_a_folder_a_link_to_something_else_is_named_and_not_quoted(folder):
    found = {path.name: check_file(path).findings for path in spec_files([folder])}
    (finding,) = found["link.circuit"]
    assert "a link" in finding.label
    assert SECRET not in repr(found)


def test_a_link_to_a_spec_is_followed(folder):
    Path("real.circuit").write_text("images a = b/*\n")
    Path("same.circuit").symlink_to("real.circuit")
    assert open_included(Path("same.circuit")).text == "images a = b/*\n"


def test_larger_files_are_refused_unread(folder):
    with open("large.circuit", "wb") as file:  # noqa: PTH123 - a hole of a gigabyte, not one in memory
        file.truncate(1 << 30)
    with pytest.raises(InputError) as caught:
        open_source(Path("large.circuit"))
    assert "larger than 17 MB" in caught.value.findings[0].label
    assert source.LARGEST < 20 << 20


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (None, "it is closed"),
        (io.TextIOWrapper(io.BytesIO(b"x" * (source.LARGEST + 1))), "larger"),
        (io.TextIOWrapper(io.BytesIO(b"\xff")), "not UTF-8"),
    ],
)
def test_standard_input_may_be_anything(monkeypatch, stream, said):
    monkeypatch.setattr(sys, "stdin", stream)
    with pytest.raises(InputError) as caught:
        open_source(STDIN)
    (finding,) = caught.value.findings
    assert said in finding.label or said in finding.message


def test_files_that_include_the_next_twice_are_counted(folder):
    for number in range(40):
        one = f'include "{number + 1}.circuit" as '
        Path(f"{number}.circuit").write_text(f"{one}a\n{one}b\n")
    Path("40.circuit").write_text("images x = y/*\n")
    findings = check_file(Path("0.circuit")).findings
    assert {finding.code for finding in findings} == {"E113"}
    assert "more than 1,000 files" in findings[0].label


def test_files_that_include_one_another_in_a_long_row_are_refused(folder):
    for number in range(200):
        Path(f"{number}.circuit").write_text(f'include "{number + 1}.circuit"\n')
    Path("200.circuit").write_text("images x = y/*\n")
    assert "deeper" in check_file(Path("0.circuit")).findings[0].label


def test_included_sets_are_still_known(folder):
    Path("sets.circuit").write_text("images a = b/*\n")
    text = 'include "sets.circuit" as s\npreserve conv1:0 on s.a kernels<=3\n'
    assert len(compile_source(Source("spec.circuit", text)).plan.circuits) == 1
