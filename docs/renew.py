"""Write into the documentation what its commands print today: `make renew`, then read the diff.

Four kinds of text are made here, and compared by the tests with what stands in the pages:

- the output below each `$ command` of a fenced `console` block, where a line `...` stands for what is cut out;
- the findings in the `text` block below a fenced `circuit-error` block;
- the output of a `python` block in the `text` block below it;
- the page `criteria.md`, from the docstrings of the extensions.

A page's commands run one after the other in a copy of the project's examples and specs: those of the README at the
top, those of `specs/` there, those of `docs/start/` in an empty folder, all others in `examples/`. A block with a
`title="NAME"` is a file, which is there for the commands below it. The `python` blocks of a page are one program, which
runs after the commands above it. Commands of a `console` block with a title run where the network and the photographs
of `../shared/real` are, and not in tests. A page's images `images/gallery/RUN.CIRCUIT.svg` are diagrams of its runs,
others in that folder images of their pages; see `page_images.py`.
`python docs/renew.py PAGE` renews single pages.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from circuitlang import pipeline
from circuitlang.base.diagnostics import CircuitError
from circuitlang.base.source import Source
from circuitlang.plugins.hypothesis_tests import TESTS
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, METRICS, MODELS
from circuitlang.plugins.registry import Declaration
from circuitlang.plugins.transforms import TRANSFORMS
from circuitlang.reporting.diagnostics import render
from circuitlang.results.outputs import FORMATS

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 100
CUT = "..."
PROGRAMS = Path(sys.executable).parent
HOME = "/home/you/circuitlang"
_FENCE = re.compile(
    r"""^```(?P<language>[\w-]*)(?: title="(?P<title>[^"\n]+)")?\n(?P<text>.*?)^```$""", re.MULTILINE | re.DOTALL
)
_PAGES = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "examples/*.md", "specs/*.md", "specs/*/*.md")
_SEPARATOR = "===="
_REAL = ROOT.parent / "shared" / "real"
_DIAGRAM = re.compile(r"images/gallery/(?P<run>[\w-]+)\.(?P<circuit>[\w-]+)\.svg")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, where that stands in the page, and the name of the file that it is."""

    language: str
    text: str
    start: int
    end: int
    title: str = ""


@dataclass(frozen=True)
class Step:
    """A command of a console block and the lines printed below it."""

    command: str
    output: tuple[str, ...]


def pages() -> list[Path]:
    """Every page that is written by hand."""
    found = [path for pattern in _PAGES for path in sorted(ROOT.glob(pattern))]
    return [path for path in found if path != ROOT / "docs" / "criteria.md"]


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    return [
        Block(match["language"], match["text"], *match.span("text"), match["title"] or "")
        for match in _FENCE.finditer(page)
    ]


def steps(block: Block) -> list[Step]:
    """The commands of a console block, each with what is printed below it."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    split = [part.rstrip("\n").split("\n") for part in parts]
    return [Step(command, tuple(output)) for command, *output in split]


def findings(text: str) -> str:
    """What `circuitlang check spec.circuit` says of a text, or nothing."""
    try:
        found = pipeline.compile_source(Source("spec.circuit", text)).warnings
    except CircuitError as error:
        found = error.findings
    if not found:
        return ""
    paper = io.StringIO()
    Console(file=paper, width=WIDTH, highlight=False, color_system=None).print(render(found), soft_wrap=True)
    return paper.getvalue().rstrip() + "\n"


def run(command: str, folder: Path, programs: Path = PROGRAMS) -> tuple[str, ...]:
    """The lines a command prints, stdout and stderr together; `programs` is where to look for it first."""
    path = f"{programs}:{PROGRAMS}:{os.environ['PATH']}"
    # What whoever runs this has in the cache, or wants rendered, must not show.
    own = {"CIRCUITLANG_CACHE": str(folder / ".cache"), "CIRCUITLANG_RENDER": "all", "CIRCUITLANG_PROGRESS": "none"}
    variables = {**os.environ, "COLUMNS": str(WIDTH), "PATH": path, **own}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # Where the project lies is nobody's business.
    printed = done.stdout.replace(str(ROOT), HOME).replace(str(folder.resolve()), f"/home/you/{folder.name}")
    lines = [line.rstrip() for line in printed.rstrip().split("\n")]
    return tuple(lines) if lines != [""] else ()


def cut(lines: tuple[str, ...], like: tuple[str, ...]) -> tuple[str, ...]:
    """Output with as many lines before and after the cut as a page shows now; all of it where nothing is cut."""
    if CUT not in like:
        return lines
    before = like.index(CUT)
    after = len(like) - before - 1
    return (*lines[:before], CUT, *(lines[-after:] if after else ()))


def sandbox(folder: Path, page: Path) -> Path:
    """A copy of the specs and examples, pictures linked; gives back where this page's commands run."""
    for name in ("examples", "specs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("images", "runs"))
    (folder / "examples" / "images").symlink_to(ROOT / "examples" / "images")
    folder.joinpath("circuits").mkdir()
    at = page.relative_to(ROOT).parent.as_posix()
    return folder / {".": "", "docs/start": "circuits"}.get(at, "specs" if at.split("/")[0] == "specs" else "examples")


def transcript(
    found: list[Block], folder: Path, programs: Path = PROGRAMS, real: bool = False
) -> Iterator[tuple[Block, Step, str]]:
    """Run a page's commands and its program; yield the block of an output, the command, and what it prints."""
    printed: Iterator[str] | None = None
    for block, following in zip(found, [*found[1:], None], strict=False):
        if block.language == "console" and block.title and not real:
            continue
        if block.title and block.language != "console":
            folder.joinpath(block.title).parent.mkdir(parents=True, exist_ok=True)
            folder.joinpath(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            for step in steps(block):
                yield block, step, "\n".join(cut(run(step.command, folder, programs), step.output))
        elif block.language == "python":
            printed = printed or iter(_python([part for part in found if part.language == "python"], folder, programs))
            expected = following if following is not None and following.language == "text" else None
            output = tuple(expected.text.rstrip("\n").split("\n")) if expected else ()
            yield expected or block, Step(block.text, output), next(printed, "")


def _python(parts: list[Block], folder: Path, programs: Path) -> list[str]:
    """Run the parts of a program; return the output of each."""
    text = f"print({_SEPARATOR!r})\n".join(part.text for part in parts if not part.title)
    folder.joinpath("page.py").write_text(text, encoding="utf-8")
    printed = "\n".join(run("python -W ignore page.py", folder, programs))
    return [part.strip("\n") for part in printed.split(_SEPARATOR)]


def renewed(page: Path) -> str:
    """The page with every output as it is now."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as temporary:
        folder = sandbox(Path(temporary), page)
        # The programs of CONTRIBUTING are parts of the package, which tests put into it.
        found = [block for block in blocks(text) if page.name != "CONTRIBUTING.md" or block.language != "python"]
        changes = list(_changes(found, folder))
        copy_diagrams(text, folder)
        if "images/gallery" in text:
            # Only now, as other pages need no browser.
            from page_images import take

            take(text, folder, ROOT / "docs")
    for block, new in reversed(changes):
        text = text[: block.start] + new + text[block.end :]
    return text


def _changes(found: list[Block], folder: Path) -> Iterator[tuple[Block, str]]:
    outputs: dict[Block, list[str]] = {}
    real = any(block.language == "console" and block.title for block in found) and link_real(folder)
    for block, step, printed in transcript(found, folder, real=real):
        lines = outputs.setdefault(block, [])
        lines += [f"$ {step.command}"] if block.language == "console" else []
        lines += [printed] if printed else []
    for block, following in zip(found, [*found[1:], None], strict=False):
        if block in outputs and block.language in ("console", "text"):
            yield block, "\n".join(outputs[block]) + "\n"
        elif block.language == "circuit-error" and following is not None:
            yield following, findings(block.text)


def link_real(folder: Path) -> bool:
    """Link a real network and photographs into a folder; return whether they are there."""
    if _REAL.exists():
        folder.joinpath("photos").symlink_to(_REAL / "images")
        folder.joinpath("squeezenet1_0.safetensors").symlink_to(_REAL / "squeezenet1_0.safetensors")
    return _REAL.exists()


def copy_diagrams(page: str, folder: Path) -> None:
    """Copy the diagrams that a page shows from the runs of its commands; those with pieces of photographs without their
    images."""
    for match in _DIAGRAM.finditer(page):
        drawn = folder / "runs" / match["run"] / match["circuit"] / "diagram.svg"
        if drawn.exists():
            svg = drawn.read_text(encoding="utf-8")
            photos = "photos/" in folder.joinpath(f"{match['run']}.circuit").read_text(encoding="utf-8")
            if photos and 'data-visualised="all"' not in drawn.with_suffix(".html").read_text(encoding="utf-8"):
                svg = re.sub("<image[^>]*>", "", svg)
            target = ROOT / "docs" / match[0]
            target.parent.mkdir(exist_ok=True)
            target.write_text(svg, encoding="utf-8")


def criteria() -> str:
    """The page of everything that can be named in a spec, or is written by a run."""
    sections: tuple[tuple[str, str, Mapping[str, Declaration]], ...] = (
        ("Criteria", "`criterion=NAME`: how kernels are ranked.", CRITERIA.declarations),
        (
            "Ablations",
            "`ablation=NAME`: the ablation value, which replaces a removed kernel's output.",
            ABLATIONS.declarations,
        ),
        ("Transforms", "`images NAME = SET as TRANSFORM`: images that are changed.", TRANSFORMS.declarations),
        ("Tests", "`tests=[NAME, ...]`: what may refute the claim of a circuit.", TESTS.declarations),
        ("Metrics", "How well a circuit keeps its feature; every run reports all of them.", METRICS.declarations),
        ("Model sources", "`model SOURCE.NAME(...)`: where networks come from.", MODELS.declarations),
        ("Output formats", "What a run writes for each circuit.", FORMATS.declarations),
    )
    lines = ["# What there is to name", ""]
    lines += ["This page is made from the docstrings of the extensions by `make renew`.", ""]
    for title, about, declarations in sections:
        lines += [f"## {title}", "", about, ""]
        for name, declaration in declarations.items():
            lines += [f"### {name}", ""]
            if declaration.parameters:
                defaults = ", ".join(f"{parameter.name}={parameter.default}" for parameter in declaration.parameters)
                lines += [f"`{name}({defaults})`", ""]
            lines += [declaration.doc, ""]
    return "\n".join(lines)


def diagram(programs: Path = PROGRAMS, images: Path | None = None) -> bytes:
    """The diagram that README and documentation show, drawn by a run of `examples/dogs.circuit`; images of its page are
    put into a folder, where one is given."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = sandbox(Path(temporary), ROOT / "examples" / "README.md")
        run("circuitlang run dogs.circuit", folder, programs)
        circuit = folder / "runs" / "dogs" / "sketch"
        if images is not None:
            from page_images import take_sketch

            take_sketch(circuit, images)
        return (circuit / "diagram.svg").read_bytes()


def main() -> None:
    """Renew every page, or those that are named, and say which changed."""
    named = [Path(name).resolve() for name in sys.argv[1:]]
    if not named:
        (ROOT / "docs" / "images" / "diagram.svg").write_bytes(diagram(images=ROOT / "docs" / "images"))
        (ROOT / "docs" / "criteria.md").write_text(criteria(), encoding="utf-8")
    for page in named or pages():
        before = page.read_text(encoding="utf-8")
        after = renewed(page)
        if after != before:
            page.write_text(after, encoding="utf-8")
        print(f"{'renewed' if after != before else 'fresh'}  {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
