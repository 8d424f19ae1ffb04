"""Directions from files: their numbers are those of the file, and nothing else comes of a file."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from circuitlang import pipeline
from circuitlang.base.diagnostics import SpecError
from circuitlang.base.source import Source
from circuitlang.plan.model import Vector
from circuitlang.plan.yaml import read_plan, write_plan

MATRIX = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
BIASES = np.array([0.5, -1, 0], np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tensors = {"decoder": MATRIX, "encoder": MATRIX.T.copy(), "bias": BIASES, "narrow": MATRIX[:, :9].copy()}
    odd = {"cube": MATRIX[None], "zero": MATRIX * 0, "endless": np.full_like(MATRIX, np.inf)}
    save_file({**tensors, **odd}, tmp_path / "sae.safetensors")
    np.save(tmp_path / "v.npy", MATRIX[1].astype(np.float64))
    return tmp_path


def vectors(folder: Path, target: str) -> list[Vector]:
    text = f"preserve {target} on images/* keep<=10%\n"
    targets = [circuit.target for circuit in pipeline.compile_source(Source("a.circuit", text, folder)).plan.circuits]
    assert all(isinstance(target, Vector) for target in targets)
    return [target for target in targets if isinstance(target, Vector)]


def test_a_row_a_column_and_an_array_are_read(folder: Path) -> None:
    (row,) = vectors(folder, 'vector("sae.safetensors", key=decoder, row=2) in conv5@center')
    assert row.values == tuple(MATRIX[2].tolist())
    assert (row.layer, row.at, row.bias, row.rectified) == ("conv5", "center", 0.0, False)
    assert str(row) == "vector(sae.safetensors decoder row=2) in conv5@center"
    (column,) = vectors(folder, 'vector("sae.safetensors", key="encoder", column=2) in conv5')
    assert column.values == row.values
    (array,) = vectors(folder, 'vector("v.npy") in conv5')
    assert array.values == tuple(MATRIX[1].tolist())
    assert str(array) == "vector(v.npy) in conv5"


def test_several_rows_are_a_circuit_each_with_its_bias(folder: Path) -> None:
    call = 'vector("sae.safetensors", key=decoder, row={}, bias=bias, activation=relu) in conv5'
    whole = vectors(folder, call.format("*"))
    assert [(each.row, each.bias, each.rectified) for each in whole] == [(0, 0.5, True), (1, -1, True), (2, 0, True)]
    assert vectors(folder, call.format("[0, 1..2]")) == vectors(folder, call.format("each(0, 1, 2)")) == whole
    (one,) = vectors(folder, 'vector("sae.safetensors", key=decoder, row=1, bias=-0.25) in conv5')
    assert one.bias == -0.25


def test_a_plan_has_the_numbers_and_runs_without_the_file(folder: Path) -> None:
    text = (
        'circuit a = preserve vector("sae.safetensors", key=decoder, row=*, bias=bias) in conv5 on images/* keep<=10%\n'
    )
    plan = pipeline.compile_source(Source("a.circuit", text, folder)).plan
    assert [circuit.id for circuit in plan.circuits] == ["a-0", "a-1", "a-2"]
    (folder / "sae.safetensors").unlink()
    assert read_plan(Source("plan.yaml", write_plan(plan)))[0] == plan


def test_a_changed_file_is_another_target(folder: Path) -> None:
    text = 'preserve vector("v.npy") in conv5 on images/* keep<=10%\n'
    before = pipeline.compile_source(Source("a.circuit", text, folder)).plan
    np.save(folder / "v.npy", MATRIX[2])
    os.utime(folder / "v.npy", (0, 0))
    after = pipeline.compile_source(Source("a.circuit", text, folder)).plan
    assert before.identity(before.circuits[0]) != after.identity(after.circuits[0])


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ('vector("x.safetensors") in conv5', "can't read x.safetensors"),
        ('vector("sae.safetensors") in conv5', "which tensor"),
        ('vector("sae.safetensors", key=decoder) in conv5', "which vector"),
        ('vector("sae.safetensors", key=dekoder, row=1) in conv5', "no tensor 'dekoder'"),
        ('vector("sae.safetensors", key=decoder, row=3) in conv5', "no row 3"),
        ('vector("sae.safetensors", key=decoder, row=[0, 2..1]) in conv5', "no row 1"),
        ('vector("sae.safetensors", key=narrow, row=1) in conv5', "has 9 numbers"),
        ('vector("sae.safetensors", key=cube, row=0) in conv5', "no vector and no matrix"),
        ('vector("sae.safetensors", key=zero, row=0) in conv5', "no direction"),
        ('vector("sae.safetensors", key=endless, row=0) in conv5', "no direction"),
        ('vector("sae.safetensors", key=decoder, column=0, bias=bias) in conv5', "not one bias for each"),
        ('vector("sae.safetensors", key=decoder, row=1, column=2) in conv5', "one row or one column"),
        ('vector("sae.safetensors", key=decoder, row=1, activation=gelu) in conv5', "unknown activation"),
        ('vector("sae.safetensors", tensor=decoder, row=1) in conv5', "has no 'tensor'"),
        ('vector("v.npy", key=a) in conv5', "no tensor 'a'"),
        ('vector("v.npy", row=1) in conv5', "one of a matrix"),
        ('vector("v.npy")', "one of a layer"),
        ("vector(conv5, row=1) in conv5", "one of a file"),
        ('vektor("v.npy") in conv5', "'vektor' is no direction"),
        ('vector("/dev/zero") in conv5', "can't read zero"),
    ],
)
def test_what_is_no_direction_is_said(folder: Path, target: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        vectors(folder, target)
    (finding,) = caught.value.findings
    assert finding.code == "E133"
    assert said in finding.message
    assert finding.span is not None


def test_pickled_objects_are_not_run(folder: Path, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "harm"),)

    np.save(folder / "o.npy", np.array([Harm()], dtype=object), allow_pickle=True)
    (folder / "p.npy").write_bytes(pickle.dumps(Harm()))
    for name in ("o.npy", "p.npy"):
        with pytest.raises(SpecError):
            vectors(folder, f'vector("{name}") in conv5')
    assert not (tmp_path / "harm").exists()


@given(st.binary(max_size=200), st.sampled_from(["a.npy", "a.safetensors"]))
@settings(max_examples=60, deadline=None)
def test_damaged_files_are_findings(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    begin = b"\x93NUMPY\x01\x00" if name == "a.npy" else struct.pack("<Q", len(content))
    (folder / name).write_bytes(begin + content)
    with pytest.raises(SpecError):
        vectors(folder, f'vector("{name}") in conv5')


@pytest.mark.parametrize("content", ["", "AAAA", "AAAAAA==", "!!!!", "AAAAAA", "AADAfw=="])
def test_a_plan_with_other_numbers_is_refused(folder: Path, content: str) -> None:
    text = 'preserve vector("v.npy") in conv5 on images/* keep<=10%\n'
    plan = pipeline.compile_source(Source("a.circuit", text, folder)).plan
    target = plan.circuits[0].target
    assert isinstance(target, Vector)
    written = write_plan(plan).replace(target.coefficients, f"'{content}'")
    with pytest.raises(SpecError) as caught:
        read_plan(Source("plan.yaml", written))
    assert "vector" in str(caught.value.findings[0])
