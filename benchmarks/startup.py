"""What a command costs before it does anything: `python benchmarks/startup.py`.

Each command is timed against `python -c "import click, lark"`, which is what the two libraries cost that no command can
do without. Times are the processor's, since other work on the machine delays a command more than it slows it. The
commands of a round run one after the other; a ratio is taken within each round, of what both take beyond the start of
the interpreter, and the median of the ratios is printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

STATEMENTS = 200
BARE = "python -c pass"
REFERENCE = "import click, lark"
ONE = "preserve conv5:34 on bundled.dogs sparsity<=0.1 criterion=snip\n"
TWO = """circuit a = preserve conv5:34 on bundled.dogs sparsity<=0.1 criterion=snip
circuit b = preserve conv5:34 on bundled.dogs sparsity<=0.2 criterion=snip
compare a, b
"""


def spec() -> str:
    """A file of 200 statements, no two alike."""
    circuits = (
        f"circuit c{number} = preserve conv5:{number % 64} on dogs sparsity<={1 + number % 40}% "
        f"criterion=force(steps={5 + number % 3}) seed={number}"
        for number in range(STATEMENTS - 1)
    )
    return "\n".join(["images dogs = images/dogs/*", *circuits, ""])


def commands(folder: Path) -> dict[str, list[str]]:
    """What is timed, the reference first."""
    folder.joinpath("one.circuit").write_text(ONE, encoding="utf-8")
    folder.joinpath("two.circuit").write_text(TWO, encoding="utf-8")
    folder.joinpath("many.circuit").write_text(spec(), encoding="utf-8")
    python, program = sys.executable, [sys.executable, "-m", "circuitlang"]
    return {
        f"python -c '{REFERENCE}'": [python, "-c", REFERENCE],
        BARE: [python, "-c", "pass"],
        "circuitlang --help": [*program, "--help"],
        "circuitlang check, 1 statement": [*program, "check", "one.circuit"],
        "circuitlang fmt, 1 statement": [*program, "fmt", "one.circuit"],
        f"circuitlang check, {STATEMENTS} statements": [*program, "check", "many.circuit"],
        "circuitlang cache": [*program, "cache"],
        "circuitlang models": [*program, "models"],
        "circuitlang layers, a known model": [*program, "layers", "alexnet"],
        "circuitlang show, a circuit": [*program, "show", "runs/two/a"],
        "circuitlang plan, a known model": [*program, "plan", "two.circuit"],
        "circuitlang run, all finished": [*program, "run", "two.circuit", "-q"],
        "circuitlang compare, of a run": [*program, "compare", "runs/two/a", "runs/two/b"],
    }


def seconds(command: list[str], folder: Path) -> float:
    """Return the processor time of a command, with the system's for it. Raises CalledProcessError if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print each command's median time, and the median of its ratios to the reference."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", metavar="TEXT", help="time only commands with this in their names")
    options = parser.parse_args()
    rounds = options.rounds
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["CIRCUITLANG_CACHE"] = str(folder / "cache")
        # Where Python may not write its bytecode, every module of a checkout would be compiled anew each time.
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        timed = commands(folder)
        seconds([sys.executable, "-m", "circuitlang", "run", "two.circuit"], folder)  # for `show` and `compare`
        reference = next(iter(timed))
        timed = {name: timed[name] for name in timed if name in (reference, BARE) or options.only in name}
        for command in timed.values():
            seconds(command, folder)  # once untimed: files and caches are warm afterwards
        taken = [{name: seconds(command, folder) for name, command in timed.items()} for _ in range(rounds)]
    print(f"medians of {rounds} rounds; ratios to the first line, beyond the interpreter's start, within each round")
    for name in timed:
        milliseconds = 1000 * median(times[name] for times in taken)
        ratio = median((times[name] - times[BARE]) / (times[reference] - times[BARE]) for times in taken)
        print(f"{name:34}{milliseconds:6.0f} ms{ratio:7.2f} x")


if __name__ == "__main__":
    main()
