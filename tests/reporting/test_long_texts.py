"""Texts that are long in one place. What took the square of their length would not end here."""

import pytest

from circuitlang.base.diagnostics import CircuitError, did_you_mean
from circuitlang.base.printable import one_line
from circuitlang.base.source import Source
from circuitlang.compiler.formatter import format_source
from circuitlang.compiler.highlighter import highlight
from circuitlang.pipeline import compile_source
from circuitlang.reporting.diagnostics import MACHINE, render
from tests.helpers.fuzzing import survives

LENGTH = 100_000
LETTERS = "a" * LENGTH
TEXTS = {
    "word": LETTERS,
    "statement": f"preserve {LETTERS}",
    "before a sign": f"preserve {LETTERS} = b",
    "path": f"preserve conv1:0 on {'a/' * LENGTH} kernels<=3",
    "path that runs on": f"preserve conv1:0 on a/*{LETTERS}<=3",
    "path of wildcards": f"preserve conv1:0 on {'?' * LENGTH} kernels<=3",
    "hashes": "#" * LENGTH + "\n=",
    "comments": "# " * LENGTH + "\n=",
    "comment": f"preserve conv1:0 on a/* # {LETTERS}\n",
    "spaces": " " * LENGTH + "=",
    "spaces inside": "preserve" + " " * LENGTH + "x",
    "lines": "\n " * LENGTH + "=",
    "marks": "\ufeff" * LENGTH + "=",
    "digits": f"preserve conv1:0 on a/* kernels<={'9' * LENGTH}",
    "dots": f"preserve {'a.' * LENGTH}a:0 on a/* kernels<=3",
    "string": f'preserve conv1:0 on "{LETTERS}" kernels<=3',
    "quotes": '"' * LENGTH,
    "signs": "preserve conv1:0 on a/* sparsity<=" + "1-" * LENGTH,
    "minus": "preserve " + "-" * LENGTH + "conv1:0 on a/*",
    "exponents": "preserve conv1:0 on a/* sparsity<=" + "1e" * LENGTH,
    "brackets": "preserve conv1:0 on " + "[]" * LENGTH,
    "open brackets": "(" * LENGTH,
    "layer": f"preserve {LETTERS}:0 on a/* kernels<=3",
    "criterion": f"preserve conv1:0 on a/* kernels<=3 criterion={LETTERS}",
    "name": f"images {LETTERS} = a/*\npreserve conv1:0 on {LETTERS}b kernels<=3",
    "stars": "*" * LENGTH,
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_long_text_is_answered(text):
    source = Source("spec.circuit", text)
    findings = ()
    try:
        compile_source(source)
    except CircuitError as error:
        findings = error.findings
    survives(lambda: format_source(source))
    assert "".join(part for _, part in highlight(text)) == text
    # What is said of it is short, whatever it quotes.
    assert len(render(findings).plain) < 20_000
    assert all(style(findings) for style in MACHINE.values()) or not findings


def test_many_findings_have_places_without_a_search_from_the_start():
    text = "\n".join(f"preserve conv1:{number} on missing kernels<=3" for number in range(16))
    with pytest.raises(CircuitError) as caught:
        compile_source(Source("spec.circuit", text))
    assert [each.span.source.position(each.span.start)[0] for each in caught.value.findings] == list(range(1, 17))


def test_words_far_longer_than_any_are_not_guessed_at():
    assert did_you_mean(LETTERS, ["a", LETTERS + "b"], "otherwise") == "otherwise"
    assert did_you_mean("snpi", ["snip"]) == "did you mean 'snip'?"


def test_messages_are_cut():
    assert len(one_line(LETTERS + " \n " * LENGTH)) < 3000
    assert one_line("a \n\n  b") == "a b"
