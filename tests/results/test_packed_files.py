"""Files of packed circuits are read as files of strangers: a clear error, and nothing of theirs is run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import circuitlang
from circuitlang.base.diagnostics import InputError
from circuitlang.results.packed.circuits import PackedCircuits, merge, write_shard
from circuitlang.results.packed.parquet import DamagedError, PackedFile
from circuitlang.results.packed.rows import PackedCircuit, pack
from circuitlang.results.reader import read

SPEC = "circuit one = preserve conv2:4 on images/dogs/* kernels<=6 criterion=magnitude"


@pytest.fixture
def packed(standard_run: Any, numbers_alone: None) -> PackedCircuit:
    standard_run(SPEC)
    return pack(read(Path("runs/inline/one")))


def file(packed: PackedCircuit, folder: Path) -> Path:
    write_shard([packed], folder)
    merge(folder, [], None)
    return folder / "circuits.parquet"


def test_a_circuit_is_read_as_it_was_written(packed: PackedCircuit, tmp_path: Path) -> None:
    file(packed, tmp_path)
    again = PackedCircuits.read(tmp_path).circuit("one")
    assert again.summary == packed.summary
    for mine, theirs in zip(packed.masks, again.masks, strict=True):
        assert (mine.kernels == theirs.kernels).all()
        assert (mine.scores == theirs.scores).all()
        assert (mine.effective == theirs.effective).all()
        assert theirs.scores.dtype == np.float16


def test_masks_are_those_of_the_circuit(packed: PackedCircuit) -> None:
    circuit = circuitlang.load("runs/inline/one")
    scores = np.concatenate([kernels.score for kernels in circuit.circuit.kernels])
    for layer, kernels, mask in zip(circuit.summary.layers, circuit.circuit.kernels, packed.masks, strict=True):
        inner = layer.in_channels // layer.groups
        places = kernels.target * inner + kernels.source % inner
        order = np.argsort(places)
        assert mask.kernels.tolist() == places[order].tolist()
        assert mask.scores.tolist() == pytest.approx((kernels.score[order] / scores.max()).tolist(), rel=1e-3)
        assert np.flatnonzero(circuit.masks[layer.path]).tolist() == mask.kernels.tolist()


def changed(column: str, value: Any, kind: Any = None) -> Any:
    """Return a change of a column of a table."""

    def change(table: pa.Table) -> pa.Table:
        number = table.schema.get_field_index(column)
        array = pa.array([value], kind or table.schema.field(column).type)
        return table.set_column(number, pa.field(column, array.type), array)

    return change


def mask(kernels: list[int], scores: list[float]) -> Any:
    """Return a change of the first mask."""

    def change(table: pa.Table) -> pa.Table:
        masks = table.column("masks").to_pylist()
        masks[0][0] |= {
            "kernels": kernels,
            "scores": [np.float16(score) for score in scores],
            "effective": [True] * len(kernels),
        }
        return changed("masks", masks[0])(table)

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed("summary", "{}"),
        changed("summary", "[" * 100_000),
        changed("summary", None),
        mask([0, 0], [1, 1]),
        mask([-1], [1]),
        mask([1 << 30], [1]),
        mask([1], [float("nan")]),
        mask([1], []),
        changed("masks", []),
    ],
)
def test_a_row_that_fits_nothing_is_an_error(packed: PackedCircuit, tmp_path: Path, change: Any) -> None:
    path = file(packed, tmp_path)
    parquet.write_table(change(parquet.read_table(path)), path)
    with pytest.raises(InputError, match="can't be read"):
        PackedCircuits.read(tmp_path).circuit("one")


@pytest.mark.parametrize(
    "change",
    [
        changed("identity", b"x", pa.binary()),
        changed("kept", "many", pa.string()),
        changed("masks", ["x"], pa.list_(pa.string())),
        lambda table: table.drop_columns(["summary"]),
        lambda table: table.append_column("id", table.column("id")),
    ],
)
def test_other_columns_are_refused(packed: PackedCircuit, tmp_path: Path, change: Any) -> None:
    path = file(packed, tmp_path)
    parquet.write_table(change(parquet.read_table(path)), path)
    with pytest.raises(DamagedError, match="column"):
        PackedFile(path)
    there = PackedCircuits.read(tmp_path)
    assert there.places == {}
    assert "column" in there.damaged[0]


def test_a_run_that_is_all_damaged_says_so(packed: PackedCircuit, tmp_path: Path) -> None:
    path = file(packed, tmp_path)
    path.write_bytes(path.read_bytes()[:-50])
    for ask in (lambda run: run["conv2:4"], lambda run: run.to_frame(), lambda run: run["one"]):
        with pytest.raises(InputError, match="is damaged"):
            ask(circuitlang.load(tmp_path))


def test_numbers_may_have_the_types_of_another_version(packed: PackedCircuit, tmp_path: Path) -> None:
    path = file(packed, tmp_path)
    parquet.write_table(changed("kept", 6.0, pa.float32())(parquet.read_table(path)), path)
    assert list(PackedCircuits.read(tmp_path).places) == ["one"]
    write_shard([packed], tmp_path)
    merge(tmp_path, [], None)
    assert PackedCircuits.read(tmp_path).circuit("one").summary == packed.summary


def test_no_link_is_followed(packed: PackedCircuit, tmp_path: Path) -> None:
    path = file(packed, tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / path.name).symlink_to(path)
    assert "link" in PackedCircuits.read(tmp_path / "other").damaged[0]


@pytest.mark.slow
def test_damage_is_an_error_or_nothing(packed: PackedCircuit, tmp_path: Path) -> None:
    """Whatever bytes are changed, a circuit is read as it was or not at all."""
    path = file(packed, tmp_path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content if rng.random() < 0.8 else content[: rng.integers(0, len(whole))])
        os.utime(path, ns=(0, read))
        try:
            there = PackedCircuits.read(tmp_path, whole=True)
            if "one" in there.places:
                assert there.circuit("one").summary.kept == packed.summary.kept
        except InputError:
            continue
        read += 1
    assert read > 0


def test_of_two_shards_the_last_counts_and_merging_twice_changes_nothing(packed: PackedCircuit, tmp_path: Path) -> None:
    import msgspec

    older = PackedCircuit(
        msgspec.structs.replace(
            packed.summary, provenance=msgspec.structs.replace(packed.summary.provenance, identity="older")
        ),
        packed.masks,
    )
    write_shard([older], tmp_path)
    shard = write_shard([packed], tmp_path)
    content = shard.read_bytes()
    merge(tmp_path, ["one"], None)
    merged = (tmp_path / "circuits.parquet").read_bytes()
    assert PackedCircuits.read(tmp_path).places["one"].identity == packed.summary.provenance.identity
    # As after a merge that was killed before it removed its shards.
    shard.parent.mkdir()
    shard.write_bytes(content)
    merge(tmp_path, ["one"], None)
    assert (tmp_path / "circuits.parquet").read_bytes() == merged


def test_every_reader_knows_the_encodings(packed: PackedCircuit, tmp_path: Path) -> None:
    """DuckDB reads half precision in no other encoding than the plain one."""
    group = parquet.ParquetFile(file(packed, tmp_path)).metadata.row_group(0)
    encodings = {
        group.column(number).path_in_schema: group.column(number).encodings for number in range(group.num_columns)
    }
    assert set(encodings["masks.list.element.scores.list.element"]) == {"PLAIN", "RLE"}
    assert "DELTA_BINARY_PACKED" in encodings["masks.list.element.kernels.list.element"]
    assert all(group.column(number).compression == "ZSTD" for number in range(group.num_columns))
