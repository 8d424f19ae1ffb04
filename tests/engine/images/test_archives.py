"""Images in archives and lists: those of the files, and nothing that a stranger put there besides."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import circuitlang
from circuitlang.base.cache_folder import cache_folder
from circuitlang.base.diagnostics import InputError
from circuitlang.engine.images import archives
from circuitlang.engine.images.file_patterns import find, matches
from circuitlang.plan.model import Images
from tests.conftest import ROOT

DOGS = sorted((ROOT / "examples" / "images" / "dogs").iterdir())[:6]
FILES = {**{f"dogs/{path.name}": path for path in DOGS[:4]}, **{f"more/{path.name}": path for path in DOGS[4:]}}


def png(value: int = 0) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(content, "PNG")
    return content.getvalue()


def make_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README.md", "notes")
        archive.writestr("__MACOSX/dogs/._a.png", b"junk")
        for name, file in FILES.items():
            archive.write(file, name)


def make_tar(path: Path) -> None:
    with tarfile.open(path, {".TGZ": "w:gz", ".xz": "w:xz"}.get(path.suffix, "w")) as archive:
        archive.add(ROOT / "README.md", "README.md")
        for name, file in FILES.items():
            archive.add(file, name)


ARCHIVES = [("a.zip", make_zip), ("a.tar", make_tar), ("A.TGZ", make_tar), ("a.tar.xz", make_tar)]


@pytest.mark.parametrize(("name", "make"), ARCHIVES)
def test_an_archive_is_a_folder(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    make(tmp_path / name)
    everything = matches(name, tmp_path)
    assert [path.read_bytes() for path in everything] == [path.read_bytes() for path in DOGS]
    assert [path.name for path in matches(f"{name}/dogs/*", tmp_path)] == [path.name for path in DOGS[:4]]
    rest = find(Images([name], exclude=[f"{name}/dogs/*"]), tmp_path)
    assert [path.name for path in rest] == [path.name for path in DOGS[4:]]
    with pytest.raises(InputError, match="E30"):
        matches(f"{name}/cats/*", tmp_path)
    assert not any(tmp_path.glob("dogs"))


def test_an_archive_is_unpacked_once_for_each_content(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip")
    first = matches("a.zip", tmp_path)
    stamp = first[0].stat().st_mtime_ns
    (tmp_path / "b.zip").write_bytes((tmp_path / "a.zip").read_bytes())
    assert matches("b.zip", tmp_path) == first
    assert first[0].stat().st_mtime_ns == stamp
    with zipfile.ZipFile(tmp_path / "b.zip", "a") as archive:
        archive.writestr("new.png", png())
    assert len(matches("b.zip", tmp_path)) == len(first) + 1


def test_circuits_of_an_archive_and_of_its_files_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers_alone: None
) -> None:
    monkeypatch.chdir(tmp_path)
    make_zip(tmp_path / "a.zip")
    Path("list.txt").write_text("# six of them\n" + "".join(f"{path}\n\n" for path in DOGS))
    digests = set()
    for images in ("./a.zip", "./list.txt", "[" + ", ".join(f'"{path}"' for path in DOGS) + "]"):
        (circuit,) = circuitlang.run(f"preserve conv5:34 on {images} kernels<=9 criterion=snip", out=str(len(digests)))
        digests.add(circuit.summary.provenance.train_images)
    assert len(digests) == 1


def hostile(name: str, path: Path) -> str:
    """Write a hostile archive and return its file's name."""
    if name in ("link", "hard link", "device", "tar above", "tar absolute"):
        entry = tarfile.TarInfo({"tar above": "../a.png", "tar absolute": "/tmp/a.png"}.get(name, "a.png"))
        kinds = {"link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}
        entry.type, entry.linkname = kinds.get(name, tarfile.REGTYPE), "/etc/passwd"
        entry.size = len(png()) if entry.type == tarfile.REGTYPE else 0
        with tarfile.open(path / "a.tar", "w") as archive:
            archive.addfile(entry, io.BytesIO(png()))
        return "a.tar"
    if name in ("header bomb", "no gzip"):
        with tarfile.open(path / "a.tar.gz", "w:gz", pax_headers={"comment": "x" * 3_000_000}) as archive:
            archive.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
        if name == "no gzip":
            (path / "a.tar.gz").write_bytes(png())
        return "a.tar.gz"
    with zipfile.ZipFile(path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        member = zipfile.ZipInfo({"above": "x/../../a.png", "absolute": "/a.png", "drive": "C:a.png",
                                  "backslash": "..\\a.png", "newline": "a\nb.png"}.get(name, "a.png"))  # fmt: skip
        member.compress_type = zipfile.ZIP_DEFLATED
        if name == "zip link":
            member.external_attr = 0o120777 << 16
        packed.writestr(member, b"\0" * 3_000_000 if name == "bomb" else png())
        if name == "twice":
            with pytest.warns(UserWarning, match="Duplicate"):
                packed.writestr("a.png", png(9))
        if name == "many":
            for number in range(9):
                packed.writestr(f"{number}.png", png())
    content = (path / "a.zip").read_bytes()
    if name == "cut":
        (path / "a.zip").write_bytes(content[:-30])
    if name == "flipped":
        (path / "a.zip").write_bytes(content[:45] + bytes([content[45] ^ 255]) + content[46:])
    return "a.zip"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("link", "'a.png' is a link or a device"),
        ("hard link", "'a.png' is a link or a device"),
        ("device", "'a.png' is a link or a device"),
        ("zip link", "'a.png' is a link or a device"),
        ("tar above", "'../a.png' is not the name"),
        ("tar absolute", "'/tmp/a.png' is not the name"),
        ("above", "'x/../../a.png' is not the name"),
        ("absolute", "'/a.png' is not the name"),
        ("drive", "'C:a.png' is not the name"),
        ("backslash", "is not the name"),
        ("newline", "is not the name"),
        ("bomb", "'a.png' unpacks to more than images do"),
        ("header bomb", "it unpacks to more than images do"),
        ("no gzip", "it is damaged"),
        ("many", "it has more than 5 files"),
        ("twice", "it has two files of the name 'a.png'"),
        ("cut", "it is damaged"),
        ("flipped", "it is damaged"),
    ],
)
def test_hostile_archives_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str) -> None:
    monkeypatch.setattr(archives, "MOST_ALL", 1_000_000)
    monkeypatch.setattr(archives, "MOST_FILES", 5)
    file = hostile(name, tmp_path)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        matches(file, tmp_path)
    (finding,) = caught.value.findings
    assert finding.code == "E303"
    assert reason in finding.label
    assert set(tmp_path.rglob("*")) - before == set()
    assert not [path for path in (cache_folder() / "archives").rglob("*") if path.is_file()]


def test_a_list_names_files_that_are_there(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    (tmp_path / "list.txt").write_text("2.png\n\n# not this one\n0.png\n")
    assert [path.name for path in matches("list.txt", tmp_path)] == ["2.png", "0.png"]
    for content, words in {
        "2.png\nsecret words\n": "line 2 of list.txt names no file",
        "#\n": "list.txt lists no files",
        "a\0b": "line 1 of list.txt names no file",
        "\udcff": "list.txt can't be read",
        "x" * 5000: "line 1 of list.txt names no file",
    }.items():
        (tmp_path / "list.txt").write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(InputError, match=words) as caught:
            matches("list.txt", tmp_path)
        assert "secret" not in str(caught.value)
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "folder.txt" / "a.png").write_bytes(png())
    assert len(matches("folder.txt/*", tmp_path)) == 1
