"""YAML of strangers: what it says is what PyYAML says it says, and no text makes more than it is long."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitlang.base import yaml_document
from circuitlang.base.diagnostics import InputError, SpecError
from circuitlang.base.printable import is_hidden
from circuitlang.base.source import Source
from circuitlang.base.yaml_document import DamagedError, read_yaml
from circuitlang.compiler.sources import open_source
from circuitlang.engine.runtime.lockfile import lock_path, read_lock
from circuitlang.pipeline import compile_source
from circuitlang.plan.model import Images, Model, Plan
from circuitlang.plan.yaml import read_plan, write_plan

SPEC = Source("spec.circuit", "preserve conv1:[0..2] on [a/*, b/*] except c/* sparsity<=each(1%, 5%) test=d/*")
HALF = "&a [1, 1, 1, 1, 1, 1, 1, 1, 1]"


def laughs(name: str, levels: int = 30) -> str:
    lines = [f"a0: &a0 [{', '.join(['x'] * 9)}]"]
    lines += [f"a{each}: &a{each} [{', '.join([f'*a{each - 1}'] * 9)}]" for each in range(1, levels)]
    return "\n".join(lines) + f"\n{name}: *a{levels - 1}\n"


REFUSED = {
    "aliases": laughs("images"),
    "an alias alone": "model: &m {source: bundled, name: doodle}\nimages: *m\n",
    "itself": "images: &a\n  x: *a\n",
    "a key that is an alias": "? &a x\n: 1\n*a : 2\n",
    "merge": "base: &b {x: 1}\nimages:\n  <<: *b\n",
    "merge without alias": "version: 1\n<<: {images: {}}\n",
    "deep": "images: " + "[" * 100_000,
    "deep and closed": "images: " + "[" * 5000 + "]" * 5000,
    "deep mappings": "{a: " * 100_000,
    "deep blocks": "".join(f"{' ' * each}a:\n" for each in range(200)),
    "a tag": "images: !!python/object/apply:os.system ['true']\n",
    "a set": "images: !!set {a}\n",
    "binary": "base: !!binary aGVsbG8=\n",
    "two documents": "version: 1\n---\nversion: 1\n",
    "twice": "version: 1\nversion: 1\n",
    "a list as key": "? [a]\n: 1\n",
    "a control": "version: \x01\n",
    "nul": "version: 1\0\n",
    "an integer": "version: " + "9" * 5000 + "\n",
    "a sexagesimal": "version: " + "1:" * 100_000 + "1\n",
    "a tagged integer": "version: !!int x\n",
    "a date": "version: 2020-13-45\n",
    "a float": "version: .inf\n",
    "nothing": "",
    "a list": "- 1\n",
    "a tab": "\tversion: 1\n",
    "unclosed": 'base: "x',
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_plans_and_locks_refuse_at_a_place(text, tmp_path, monkeypatch):
    # More parts than a text has letters would be an expansion.
    monkeypatch.setattr(yaml_document, "MAX_VALUES", len(text) + 1)
    with pytest.raises(SpecError) as caught:
        read_plan(Source("plan.yaml", text))
    (finding,) = caught.value.findings
    assert finding.code == "E311"
    assert 0 <= finding.span.start <= len(text)
    spec = tmp_path / "s.circuit"
    lock_path(spec).write_text(text)
    with pytest.raises(SpecError) as caught:
        read_lock(spec)
    assert caught.value.findings[0].code == "E341"


def test_more_values_than_any_plan_has_are_refused(monkeypatch):
    monkeypatch.setattr(yaml_document, "MAX_VALUES", 1000)
    with pytest.raises(DamagedError, match="more than 1,000"):
        read_yaml(Source("plan.yaml", "images: [" + ",".join(["a"] * 2000) + "]"))


@pytest.mark.parametrize("text", ["", "a", "link to /etc/passwd", "[" * 20_000_000])
def test_locks_are_ordinary_files_of_a_bounded_size(tmp_path, text):
    spec = tmp_path / "s.circuit"
    if text.startswith("link"):
        (tmp_path / "secret").write_text("PASSWORD")
        lock_path(spec).symlink_to("secret")
    else:
        lock_path(spec).write_text(text)
    with pytest.raises((SpecError, InputError)) as caught:
        read_lock(spec)
    assert "PASSWORD" not in repr(caught.value.findings)


def test_a_plan_reads_back_with_its_places():
    plan = compile_source(SPEC).plan
    text = write_plan(plan)
    read, origins = read_plan(Source("plan.yaml", text))
    assert read == plan
    assert read_yaml(Source("plan.yaml", text))[0] == yaml.safe_load(text)
    for circuit in plan.circuits:
        assert origins["circuits", circuit.id, "target", "layer"].text == "conv1"
        assert origins["circuits", circuit.id, "images"].text.strip() == circuit.images.join("''")


SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(max_size=20)
    | st.sampled_from(["1:2", "0x1f", "0b11", "1_0", "yes", "~", "null", "<<", "=", "2020-01-01"])
    | st.sampled_from([".5", "1e5", "1.e+5", "-", "0o7", ".inf", "1_000.5"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(VALUES, st.booleans())
def test_what_pyyaml_writes_is_read_the_same(value, flow):
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    if any("\ud800" <= each <= "\udfff" for each in text) or "\\uD" in text:
        return
    assert read_yaml(Source("x.yaml", text))[0] == yaml.safe_load(text)


@settings(deadline=None, max_examples=150)
@given(
    st.text(
        st.characters(exclude_categories=["Cs"]) | st.sampled_from("\x1b\u202e\u2066\ufeff\U000e0001\x85\u2028 :#"),
        min_size=1,
        max_size=200,
    )
)
def test_a_plan_shows_every_character_and_reads_back(name):
    plan = Plan(model=Model("bundled", name), images={name: Images([name])}, circuits=[])
    text = write_plan(plan)
    assert not any(is_hidden(each) for each in text if each != "\n")
    assert read_plan(Source("plan.yaml", text))[0] == plan


def test_a_plan_is_judged_by_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("plan.yaml").write_bytes(b"model: \xff\n")
    with pytest.raises(InputError, match="not text"):
        open_source(Path("plan.yaml"))
