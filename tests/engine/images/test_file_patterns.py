"""Which files a set is: by where they lie and what they hold, never by how they are written."""

import os
import sys
from pathlib import Path

import pytest

from circuitlang.base.diagnostics import InputError
from circuitlang.compiler.sources import open_source
from circuitlang.engine.images.file_patterns import find, matches
from circuitlang.pipeline import compile_source
from circuitlang.plan.model import Images

NAMES = ("a.png", "b.png", "c.png")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A spec's folder beside one with three files, which a link leads to as well."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "pics").mkdir()
    for name in NAMES:
        (tmp_path / "pics" / name).write_text(name)
    (tmp_path / "link").symlink_to("pics")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "specs"


def named(paths):
    return [path.name for path in paths]


@pytest.mark.parametrize("include", ["../pics/*", "../link/*", "/pics/*", "../specs/../pics/*.png", "../pics/./?.png"])
@pytest.mark.parametrize(
    "exclude",
    [
        "../pics/a.png",
        "../link/a.png",
        "./../pics/a.png",
        "../specs/../pics//a.png",
        "/pics/a.png",
        "/link/a*",
        "../*/a.png",
        "../**/a.png",
    ],
)
def test_except_takes_a_file_away_however_it_is_written(folder, include, exclude):
    absolute = str(folder.parent)
    patterns = [each if each.startswith(".") else absolute + each for each in (include, exclude)]
    assert named(find(Images(patterns[:1], patterns[1:]), folder)) == ["b.png", "c.png"]


def test_except_takes_copies_away_and_links(folder):
    (folder.parent / "copies").mkdir()
    (folder.parent / "copies" / "x.png").write_text("a.png")
    (folder.parent / "pics" / "d.png").symlink_to("../copies/x.png")
    assert named(find(Images(["../pics/*"], ["../copies/x.png"]), folder)) == ["b.png", "c.png"]
    assert named(find(Images(["../copies/*", "../pics/*"], ["../pics/a.png"]), folder)) == ["b.png", "c.png"]


def test_files_of_one_size_that_differ_are_no_copies(folder):
    (folder.parent / "other.png").write_text("z.png")
    with pytest.raises(InputError, match="takes nothing away"):
        find(Images(["../pics/*"], ["../other.png"]), folder)


@pytest.mark.parametrize(
    ("exclude", "said"),
    [
        ("../pics/p0O.png", "does not exist"),
        ("../pics/*.jpg", "nothing matches"),
        ("../pics", "is a folder"),
        ("../pics/", "is a folder"),
        ("../specs/*", "takes nothing away"),
        (["../specs/s.png", "../specs/s*"], "takes nothing away"),
        ("../pics/[abc].png", "does not exist"),
        ("../pics/{a,b}.png", "does not exist"),
        ("~/pics/a.png", "does not exist"),
        ("", "is a folder"),
    ],
)
def test_an_exception_that_takes_nothing_away_is_an_error(folder, exclude, said):
    (folder / "s.png").write_text("a set that is no part of the other")
    with pytest.raises(InputError, match=said):
        find(Images(["../pics/*"], ["../pics/b.png", exclude]), folder)


def test_of_a_set_that_is_excepted_a_part_is_enough(folder):
    (folder / "s.png").write_text("another")
    assert named(find(Images(["../pics/*"], [["s.png", "../pics/a.png"]]), folder)) == ["b.png", "c.png"]


def test_exceptions_may_overlap(folder):
    assert named(find(Images(["../pics/*"], ["../pics/a*", "../link/a.png"]), folder)) == ["b.png", "c.png"]


@pytest.mark.parametrize("again", ["../pics/*", "../link/*", "../pics/a.png", "../*/*.png", "../**"])
def test_a_file_that_two_patterns_match_counts_once(folder, again):
    assert named(find(Images(["../pics/*.png", again]), folder)) == list(NAMES)


def test_copies_in_a_set_count_each(folder):
    (folder.parent / "pics" / "d.png").write_text("a.png")
    assert len(find(Images(["../pics/*"]), folder)) == 4


@pytest.mark.parametrize(
    "name", ["run[1]", "set [v2]", "[!a]", "{x,y}", "!", "a'b", "~", "$HOME", "[", "]", "\\", "é", "-"]
)
def test_all_but_three_characters_of_a_name_are_letters(tmp_path, name):
    for each in (name, "run1", "a", "x", "b"):
        (tmp_path / each).mkdir()
        (tmp_path / each / f"{each}.png").write_text(each)
    assert matches(f"{name}/*.png", tmp_path) == [tmp_path / name / f"{name}.png"]
    assert matches(f"*/{name}.png", tmp_path) == [tmp_path / name / f"{name}.png"]
    assert matches(f"**/?{name[1:]}.png", tmp_path)[0].parent.parent == tmp_path


def test_a_file_that_is_called_like_a_pattern_does_not_stand_for_it(tmp_path):
    for name in ("*.png", "a.png", "?"):
        (tmp_path / name).write_text(name)
    assert named(matches("*.png", tmp_path)) == ["*.png", "a.png"]
    assert named(matches("?", tmp_path)) == ["?"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["A", "a", "b", "é"]),
        ("**", ["A", "a", "b", "in/a", "in/deep/b", "é"]),
        ("**/a", ["a", "in/a"]),
        ("**/**/b", ["b", "in/deep/b"]),
        ("in/**/b", ["in/deep/b"]),
        ("in/**", ["in/a", "in/deep/b"]),
        ("*/*", ["in/a"]),
        ("?", ["A", "a", "b", "é"]),
        (".*", [".hidden"]),
        (".h/*", [".h/a"]),
        ("in/../a", ["in/../a"]),
        ("i*n/*", ["in/a"]),
        ("**b", ["b"]),
    ],
)
def test_wildcards(tmp_path, pattern, expected):
    for name in ("a", "b", "A", "é", "in/a", "in/deep/b", ".hidden", ".h/a", "in/.x/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert matches(pattern, tmp_path) == [tmp_path / name for name in expected]


def test_links_in_circles_are_visited_once(tmp_path):
    for level in range(30):
        (tmp_path / f"{level}").mkdir()
        for link in ("x", "y"):
            # Two ways down from each level and one back: 2**30 paths.
            (tmp_path / f"{level}" / link).symlink_to(f"../{level + 1}")
        (tmp_path / f"{level}" / "back").symlink_to("..")
    (tmp_path / "30").mkdir()
    (tmp_path / "30" / "p.png").touch()
    assert named(find(Images(["0/**/p.png"]), tmp_path)) == ["p.png"]
    assert named(find(Images(["0/" + "*/" * 30 + "p.png"]), tmp_path)) == ["p.png"]


def test_a_name_is_compared_in_few_steps(tmp_path):
    (tmp_path / ("a" * 250)).touch()
    with pytest.raises(InputError, match="nothing matches"):
        matches("*a" * 40 + "*b", tmp_path)


def test_deep_folders_are_walked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    depth = sys.getrecursionlimit() + 100
    for _ in range(depth):
        Path("d").mkdir()
        os.chdir("d")
    Path("p").touch()
    try:
        assert named(matches("**/p", tmp_path)) == ["p"]
    finally:
        # Too deep for whatever tidies up after the tests.
        Path("p").unlink()
        for _ in range(depth):
            os.chdir("..")
            Path("d").rmdir()


def test_what_is_no_folder_is_taken_for_a_file(tmp_path):
    (tmp_path / "broken.png").symlink_to("nowhere")
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    assert named(matches("*.png", tmp_path)) == ["broken.png", "loop.png", "pipe.png"]


@pytest.mark.parametrize(
    "pattern", ["x" * 300, "x" * 300 + "/*", "*/" + "x" * 300, "a\0b", "*\0", "loop/*", "/" * 5000]
)
def test_odd_patterns_are_findings(tmp_path, pattern):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError):
        matches(pattern, tmp_path)


def test_names_that_are_not_utf_8_are_found(tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png")).touch()
    assert len(matches("*.png", tmp_path)) == 1


def test_an_included_files_patterns_are_relative_to_it(folder):
    (folder.parent / "sets" / "deep").mkdir(parents=True)
    (folder.parent / "sets" / "deep" / "h.circuit").write_text("images unseen = ../../pics/a.png\n")
    (folder.parent / "sets" / "more.circuit").write_text('include "deep/h.circuit"\n')
    (folder.parent / "elsewhere").symlink_to("sets/deep")
    for path in ("../sets/deep/h.circuit", "../sets/more.circuit", "../elsewhere/h.circuit"):
        spec = folder / "spec.circuit"
        spec.write_text(f'include "{path}"\npreserve conv1:0 on ../pics/* except unseen kernels<=3\n')
        compiled = compile_source(open_source(spec))
        (images,) = compiled.plan.images.values()
        assert named(find(images, compiled.folder)) == ["b.png", "c.png"]


def test_an_include_through_a_link_stays_behind_it(folder):
    (folder.parent / "sets" / "deep").mkdir(parents=True)
    (folder.parent / "sets" / "h.circuit").write_text("images some = here/*\n")
    (folder.parent / "sets" / "here").mkdir()
    (folder.parent / "sets" / "here" / "x.png").touch()
    (folder / "way").symlink_to("../sets/deep")
    spec = folder / "spec.circuit"
    spec.write_text('include "way/../h.circuit"\npreserve conv1:0 on some kernels<=3\n')
    compiled = compile_source(open_source(spec))
    (images,) = compiled.plan.images.values()
    assert named(find(images, compiled.folder)) == ["x.png"]


@pytest.mark.parametrize(
    ("written", "exceptions"),
    [
        ("a/*", ["a/*"]),
        ("[a/1, b/2]", ["a/1", "b/2"]),
        ("both", [["a/*", "b/*"]]),
        ("[both, c/*]", [["a/*", "b/*"], "c/*"]),
        ("[[c/1, c/2], one]", ["c/1", "c/2", "c/*"]),
    ],
)
def test_the_plan_says_what_was_excepted_together(written, exceptions, tmp_path):
    spec = tmp_path / "spec.circuit"
    spec.write_text(
        f"images both = [a/*, b/*]\nimages one = c/*\npreserve conv1:0 on */* except {written} kernels<=3\n"
    )
    (images,) = compile_source(open_source(spec)).plan.images.values()
    assert images.exclude == exceptions
