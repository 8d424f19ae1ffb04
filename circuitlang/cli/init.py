"""`circuitlang init`: a folder with a first spec and its images."""

from __future__ import annotations

from pathlib import Path

import click

from circuitlang.cli.console import echo, exit_on_findings
from circuitlang.cli.parameters import PATH

_SPEC = "first.circuit"
_SETS = ("dogs", "cats")
_CONTENT = {
    _SPEC: """\
# A feature of the bundled network: channel 34 of conv5, which responds to dogs.
images dogs = images/dogs/*
images cats = images/cats/*

# A fiftieth of the kernels, which compute it on dogs, and those that distinguish dogs from cats, refitted to its scale.
circuit dog = preserve conv5:34 on dogs keep<=2%
circuit snout = preserve conv5:34 on dogs contrast=cats keep<=5% calibrate=kernels

compare dog, snout
""",
    "README.md": f"""\
# A first circuit

`circuitlang run {_SPEC}` computes the circuits of `{_SPEC}`; look at `runs/first/index.html` then.
`circuitlang check {_SPEC}` finds mistakes, and `circuitlang layers bundled.doodle` lists what can be preserved.
For another network write `model resnet18` into the first line; other images go into folders below `images`.
""",
}


@click.command()
@click.argument("folder", type=PATH, default=Path())
def init(folder: Path) -> None:
    """Write a first spec with its images into a FOLDER.

    The spec runs at once: its network and its images come with circuitlang. Files that are there already are left
    alone. FOLDER is the current one by default.
    """
    with exit_on_findings():
        _write(folder)
    place = "" if folder == Path() else f"cd {folder} && "
    echo(f"wrote {folder / _SPEC}, its images and a README.md")
    echo(f"next: {place}circuitlang run {_SPEC}")


def _write(folder: Path) -> None:
    """Write all files, or none if one of their names is taken. Raises OutputError."""
    from circuitlang.base.atomic_files import write_atomically
    from circuitlang.base.diagnostics import Finding, OutputError
    from circuitlang.bundled.images import set_files

    content = {folder / name: text.encode() for name, text in _CONTENT.items()}
    for name in _SETS:
        content |= {folder / "images" / name / path.name: path.read_bytes() for path in set_files(name)}
    taken = [path for path in (folder / name for name in (*_CONTENT, "images")) if path.exists() or path.is_symlink()]
    if taken:
        cure = "name another folder, as `circuitlang init circuits`"
        message = f"{taken[0]} is there already"
        raise OutputError(Finding("E366", message, None, "nothing was written", cure))
    try:
        for path, data in content.items():
            write_atomically(path, data, mode=0o644)
    except OSError as error:
        label = error.strerror or str(error)
        raise OutputError(Finding("E366", f"can't write into {folder}", None, label, "name another folder")) from None
