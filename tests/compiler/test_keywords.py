"""Highlighting: the rules that Pygments and editors share, by the grammar and the registries."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pygments.lexers import get_lexer_by_name
from pygments.token import Error, Token
from pygments.util import ClassNotFound

import circuitlang
from circuitlang.base.source import Source
from circuitlang.compiler.clauses import ALIASES
from circuitlang.compiler.grammar import parser
from circuitlang.compiler.highlighter import highlight
from circuitlang.compiler.keywords import keywords, rules, terminals
from circuitlang.compiler.parser import parse
from circuitlang.compiler.pygments_lexer import CircuitLexer
from circuitlang.compiler.words import words
from circuitlang.pipeline import compile_source
from circuitlang.plan.clauses import EDIT, IMAGES, PRESERVE
from circuitlang.plugins.protocols import CRITERIA, METRICS

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = ROOT / "editors" / "vscode" / "snippets" / "circuit.json"
SPECS = sorted([*ROOT.glob("specs/**/*.circuit"), *ROOT.glob("examples/*.circuit")])
TEXT = """\
include "holdout.circuit" as sets  # of another file
images pets = [images/dogs/*, images/cats/*] except sets.seen limit=60
target curve = 0.7*conv5:34 - 0.3*conv5:12
circuit sweep = preserve "0":[30..32]@center on pets {
    keep <= each(2%, 5%)
    criterion = each(snip, force(steps=5))
}
preserve conv3:* on pets as grey train.error<=.2; split class(4) on pets into auto kernels<=9
expect sweep[keep=0.02].pearson >= 0.9
preserve layer3.*:* on pets; preserve 0.7*conv*:3 on pets
"""
KINDS = [
    "include statement", '"holdout.circuit" string', "as word", "sets name", "# of another file comment",
    "images statement", "pets definition", "= operator", "[ punctuation", "images/dogs/* string", ", punctuation",
    "images/cats/* string", "] punctuation", "except word", "sets.seen name", "limit clause", "= operator", "60 number",
    "target statement", "curve definition", "= operator", "0.7 number", "* operator", "conv5 layer", ": punctuation",
    "34 number", "- operator", "0.3 number", "* operator", "conv5 layer", ": punctuation", "12 number",
    "circuit statement", "sweep definition", "= operator", "preserve statement", '"0" layer', ": punctuation",
    "[ punctuation", "30 number", ".. operator", "32 number", "] punctuation", "@ punctuation", "center constant",
    "on word", "pets name", "{ punctuation",
    "keep clause", "<= operator", "each word", "( punctuation", "2% number", ", punctuation", "5% number",
    ") punctuation",
    "criterion clause", "= operator", "each word", "( punctuation", "snip constant", ", punctuation", "force call",
    "( punctuation", "steps argument", "= operator", "5 number", ") punctuation", ") punctuation",
    "} punctuation",
    "preserve statement", "conv3 layer", ": punctuation", "* operator", "on word", "pets name", "as word", "grey name",
    "train.error clause",
    "<= operator", ".2 number", "; punctuation", "split statement", "class word", "( punctuation", "4 number",
    ") punctuation", "on word", "pets name", "into word", "auto constant", "kernels clause", "<= operator", "9 number",
    "expect statement", "sweep name", "[ punctuation", "keep clause", "= operator", "0.02 number", "] punctuation",
    ".pearson name", ">= operator", "0.9 number",
    "preserve statement", "layer3.* layer", ": punctuation", "* operator", "on word", "pets name", "; punctuation",
    "preserve statement", "0.7 number", "* operator", "conv* layer", ": punctuation", "3 number", "on word",
    "pets name",
]  # fmt: skip


def tokens_by_rules(text: str) -> Iterator[tuple[str, str]]:
    """Yield kinds and texts as an editor finds them, line by line: the first match, of several the first rule's."""
    compiled = [(re.compile(rule.pattern, re.MULTILINE), rule.kinds) for rule in rules()]
    for line in text.splitlines():
        place = 0
        while place < len(line):
            matches = [(match, kinds) for pattern, kinds in compiled if (match := pattern.search(line, place))]
            match, kinds = min(matches, key=lambda pair: pair[0].start(), default=(None, ()))
            if match is None:
                break
            yield from ((kind, part) for kind, part in zip(kinds, match.groups(), strict=True) if part and part.strip())
            place = match.end()


def test_editors_find_the_kinds() -> None:
    assert [f"{part} {kind}" for kind, part in tokens_by_rules(TEXT)] == KINDS


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_pygments_and_editors_find_the_same_tokens(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tokens = [(kind, part) for kind, part in CircuitLexer().get_tokens(text) if part.strip()]
    assert [part for _, part in tokens] == [part for _, part in tokens_by_rules(text)]
    assert all(kind is not Token and kind is not Error for kind, _ in tokens)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_tokens_are_those_of_the_grammar(path: Path) -> None:
    """The parser has the same words, numbers and paths of every statement, apart from commas of kinds."""
    for statement in parse(Source(path.name, path.read_text(encoding="utf-8"))).statements:
        text = statement.span.text
        parsed = [part for kind, part in highlight(text) if part.strip() and kind != "comment"]
        assert [part for kind, part in tokens_by_rules(text) if kind != "comment"] == parsed


def test_no_text_is_lost() -> None:
    text = TEXT + "preserve ??? § conv5:34 'on' \t dogs keep=<5%"
    assert "".join(part for _, part in CircuitLexer(ensurenl=False).get_tokens(text)) == text


def test_keywords_are_those_of_the_grammar() -> None:
    literals = {terminal.pattern.value for terminal in parser().terminals if terminal.pattern.value.isalpha()}
    known = keywords()
    assert {*known.statements, *known.words} == literals
    assert set(known.statements) == {name for name, entries in words().items() if entries[0].kind == "statement"}
    assert set(terminals()) == {"COMMENT", "LAYERS", "NAME", "NUMBER", "PATH", "STRING", "SUFFIX"}


def test_keywords_are_those_of_the_tables_and_registries() -> None:
    known = keywords()
    names = {clause.name for clause in (*PRESERVE.values(), *IMAGES.values(), *EDIT.values())}
    assert {*names, *ALIASES, *METRICS.declarations} == set(known.clauses)
    assert set(CRITERIA.declarations) <= set(known.constants)
    assert {"each", "joint", "class", "concept", "vector"} == set(known.calls)


def test_the_grammar_of_editors_is_fresh() -> None:
    spec = importlib.util.spec_from_file_location("textmate", ROOT / "editors" / "textmate.py")
    assert spec is not None
    assert spec.loader is not None
    textmate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(textmate)
    written = textmate.GRAMMAR.read_text(encoding="utf-8")
    assert written == textmate.grammar(), "`make renew` writes it"
    assert [pattern["match"] for pattern in json.loads(written)["patterns"]] == [rule.pattern for rule in rules()]


def test_the_extension_names_files_that_are_there() -> None:
    folder = ROOT / "editors" / "vscode"
    manifest = json.loads(folder.joinpath("package.json").read_text(encoding="utf-8"))
    assert folder.joinpath(manifest["icon"]).is_file()
    assert folder.joinpath(manifest["contributes"]["snippets"][0]["path"]) == SNIPPETS
    (language,), (grammar,) = manifest["contributes"]["languages"], manifest["contributes"]["grammars"]
    assert manifest["version"] == circuitlang.__version__
    assert language["id"] == grammar["language"]
    assert language["extensions"] == [".circuit"]
    content = json.loads(folder.joinpath(grammar["path"]).read_text(encoding="utf-8"))
    assert content["scopeName"] == grammar["scopeName"]
    pairs = json.loads(folder.joinpath(language["configuration"]).read_text(encoding="utf-8"))["brackets"]
    assert {sign for pair in pairs for sign in pair} == set("{}[]()")


@pytest.mark.parametrize("name", json.loads(SNIPPETS.read_text(encoding="utf-8")))
def test_a_snippet_is_sound_as_it_is_inserted(name: str) -> None:
    snippet = json.loads(SNIPPETS.read_text(encoding="utf-8"))[name]
    text = "\n".join(snippet["body"])
    values = dict(re.findall(r"\$\{(\d+):([^}]*)\}", text))
    text = re.sub(r"\$\{(\d+):[^}]*\}|\$(\d+)", lambda match: values[match[1] or match[2]], text)
    target = "layer1.0.conv1:3" if name == "Model" else "conv5:34"
    source = Source(name, f"{text}\npreserve {target} on images/cats/* kernels<=7\n", ROOT / "examples")
    assert not compile_source(source).warnings


def test_pygments_finds_the_lexer_once_the_package_is_installed(tmp_path: Path) -> None:
    info = tmp_path / "circuitlang-0.dist-info"
    info.mkdir()
    pyproject = ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8")
    (entry,) = re.findall(r'\[project\.entry-points\."(pygments\.lexers)"\]\n(.*)\n', pyproject)
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: circuitlang\nVersion: 0\n")
    info.joinpath("entry_points.txt").write_text("[{}]\n{}\n".format(*entry).replace('"', ""))
    try:
        sys.path.insert(0, str(tmp_path))
        assert isinstance(get_lexer_by_name("circuit-error"), CircuitLexer)
    except ClassNotFound as error:
        pytest.fail(str(error))
    finally:
        sys.path.remove(str(tmp_path))


def test_the_command_line_starts_without_pygments() -> None:
    program = "import sys; from circuitlang.cli.main import main\n"
    program += "try: main(['--help'])\nexcept SystemExit: pass\nprint('pygments' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
