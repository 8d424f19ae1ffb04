"""Images in Parquet files: those of their column, in folders of their classes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import circuitlang
from circuitlang.base.diagnostics import InputError
from circuitlang.engine.images import archives
from circuitlang.engine.images.file_patterns import matches
from tests.conftest import ROOT

DOGS = [path.read_bytes() for path in sorted((ROOT / "examples" / "images" / "dogs").iterdir())[:5]]


def write(path: Path, columns: dict[str, Any], classes: list[str] | None = None) -> None:
    table = pa.table(columns)
    if classes:
        features = {"info": {"features": {"label": {"names": classes, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    # Several row groups.
    parquet.write_table(table, path, row_group_size=2)


def structs(images: list[bytes]) -> list[dict[str, Any]]:
    return [{"bytes": image, "path": f"/home/somebody/{number}.png"} for number, image in enumerate(images)]


def test_a_data_set_of_hugging_face_is_folders_of_its_classes(tmp_path: Path) -> None:
    columns = {"id": [b"?"] * 5, "image": structs(DOGS), "label": [0, 1, 0, 1, 1]}
    write(tmp_path / "pets.parquet", columns, ["cat", "a/dog"])
    assert [path.read_bytes() for path in matches("pets.parquet/cat/*", tmp_path)] == [DOGS[0], DOGS[2]]
    dogs = matches("pets.parquet/a_dog/*", tmp_path)
    assert [path.read_bytes() for path in dogs] == [DOGS[1], *DOGS[3:]]
    assert [path.name for path in dogs] == ["00000001.png", "00000003.png", "00000004.png"]


@pytest.mark.parametrize(
    ("label", "folders"),
    [
        ({}, {""}),
        ({"label": ["x", "..", None, "x", "C:\\y"]}, {"x", "", "C__y"}),
        ({"label": [0, 1, 2, 3, 4]}, set("01234")),
    ],
    ids=["none", "texts", "numbers"],
)
def test_labels_that_are_no_classes(tmp_path: Path, label: dict[str, Any], folders: set[str]) -> None:
    write(tmp_path / "a.parquet", {"picture": DOGS, **label})
    paths = matches("a.parquet", tmp_path)
    assert sorted(path.read_bytes() for path in paths) == sorted(DOGS)
    root = archives.unpacked(tmp_path / "a.parquet")
    assert {path.parent.relative_to(root).as_posix().strip(".") for path in paths} == folders


def test_a_circuit_of_a_parquet_file_is_that_of_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers_alone: None
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "dogs.parquet", {"image": structs(DOGS)})
    for number, image in enumerate(DOGS):
        (tmp_path / f"{number}.png").write_bytes(image)
    text = "preserve conv3:5 on {} kernels<=9 criterion=actgrad holdout=0"
    packed, plain = (circuitlang.run(text.format(images))[0] for images in ("./dogs.parquet", "./*.png"))
    assert packed.summary.kept == plain.summary.kept
    assert packed.summary.judged == plain.summary.judged


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"text": ["a"]}, "no column of encoded images"),
        ({"image": pa.array([{"bytes": None}], pa.struct({"bytes": pa.binary()}))}, "row 0 has no image in it"),
        ({"image": [[1, 2], [3, 4]]}, "no column of encoded images"),
        ({"image": pa.array([], pa.binary())}, "it is empty"),
    ],
    ids=["texts", "paths alone", "pixels", "no rows"],
)
def test_files_without_images_are_refused(tmp_path: Path, columns: dict[str, Any], reason: str) -> None:
    write(tmp_path / "a.parquet", columns)
    with pytest.raises(InputError, match="E303") as refused:
        matches("a.parquet", tmp_path)
    assert reason in refused.value.findings[0].label


def test_a_class_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path / "pets.parquet", {"image": DOGS, "label": ["dogs", "cats", "dogs", "cats", "cats"]})
    for pattern, cure in (("cat", "did you mean 'cats'?"), ("ships", "it has cats and dogs")):
        with pytest.raises(InputError, match="E301") as refused:
            matches(f"pets.parquet/{pattern}/*", tmp_path)
        assert refused.value.findings[0].help == cure


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "whole.parquet", {"image": DOGS})
    content = (tmp_path / "whole.parquet").read_bytes()
    damages = [
        b"",
        b"PAR1",
        content[:100],
        content[:-9],
        content[: len(content) // 2] + content[len(content) // 2 + 1 :],
    ]
    for damaged in damages:
        (tmp_path / "a.parquet").write_bytes(damaged)
        with pytest.raises(InputError, match="E303"):
            matches("a.parquet", tmp_path)


def test_what_unpacks_to_more_than_images_do_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", len(DOGS[0]) - 1)
    write(tmp_path / "a.parquet", {"image": DOGS})
    with pytest.raises(InputError) as refused:
        matches("a.parquet", tmp_path)
    assert "unpacks to more" in refused.value.findings[0].label


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", {"image": DOGS})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError) as refused:
        matches("a.parquet", tmp_path)
    assert "circuitlang[parquet]" in refused.value.findings[0].help
