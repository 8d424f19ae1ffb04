"""The cost of a keystroke to the language server in a file of 500 statements: `python benchmarks/lsp.py`.

Letters of a clause are typed at places all over the file. A keystroke is the change of the buffer, its analysis, and
the completion that an editor asks for; the mistakes of the buffer are computed when typing pauses, and are timed apart.
Times are the processor's, which other work on the machine changes less than those of a clock. Like the server, the
benchmark collects no garbage while one types.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from statistics import median

from lsprotocol import types

from circuitlang.lsp.completion import complete, warm_up
from circuitlang.lsp.documents import Documents
from circuitlang.lsp.positions import position
from circuitlang.lsp.semantic_tokens import semantic_tokens

STATEMENTS = 500
TYPED = " refill=none"
URI = "file:///nowhere/many.circuit"


def spec() -> str:
    """A file of 500 statements, no two alike."""
    circuits = (
        f"circuit c{number} = preserve conv5:{number % 64} on dogs keep<={1 + number % 40}% "
        f"criterion=force(steps={5 + number % 3}) seed={number}"
        for number in range(STATEMENTS - 1)
    )
    return "\n".join(["images dogs = images/dogs/*", *circuits, ""])


def seconds(action: Callable[[], object]) -> float:
    """Return the processor time that an action takes."""
    before = time.process_time()
    action()
    return time.process_time() - before


def typed(documents: Documents, line: int, count: int) -> None:
    """Type the next letter of the clause at the end of a line, of which `count` letters are there, and complete."""
    source = documents.source(URI)
    place = position(source, source.start(line + 1) + len(source.line(line + 1)))
    change = types.TextDocumentContentChangePartial(types.Range(place, place), TYPED[count])
    documents.change(URI, [change])
    analysis = documents.analysis(URI)
    complete(analysis, analysis.source.start(line + 1) + len(analysis.source.line(line + 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10, help="lines that are typed in")
    options = parser.parse_args()
    gc.disable()
    warm_up()
    documents = Documents()
    documents.open(URI, spec())
    opened = seconds(lambda: documents.analysis(URI))
    tokens = seconds(lambda: semantic_tokens(documents.source(URI)))
    keystrokes, coloured, mistakes = [], [], []
    for line in range(1, STATEMENTS, STATEMENTS // options.lines):
        for count in range(len(TYPED)):
            keystrokes.append(seconds(lambda line=line, count=count: typed(documents, line, count)))
            coloured.append(seconds(lambda: semantic_tokens(documents.source(URI))))
        mistakes.append(seconds(lambda: documents.analysis(URI).findings))
    print(f"| {STATEMENTS} statements | median, ms | worst, ms |\n|---|---|---|")
    rows = {
        "read when the file is opened": [opened],
        "its tokens": [tokens],
        "a keystroke, with completion": keystrokes,
        "the tokens after it": coloured,
        "the mistakes, in a pause": mistakes,
    }
    for name, times in rows.items():
        print(f"| {name} | {1000 * median(times):.0f} | {1000 * max(times):.0f} |")


if __name__ == "__main__":
    main()
