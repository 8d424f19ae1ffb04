"""The command line as its users meet it: what works, and what every mistake gets."""

import json
import os
import re
import signal

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from circuitlang.bundled.doodles import draw
from circuitlang.cli.main import COMMANDS, LazyCommand, main
from circuitlang.engine.runtime import circuit_finder
from circuitlang.results.manifest import SUMS
from tests.helpers import process_endings

LINE = "preserve conv5:34 on images/dogs/* sparsity<=0.1 criterion=snip"


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_help_of_the_program_and_of_its_commands_agree():
    assert list(main.commands) == sorted(COMMANDS)
    for name, summary in COMMANDS.items():
        command = main.commands[name]
        assert isinstance(command, LazyCommand)
        help = command.load().help
        assert help is not None
        assert (command.load().name, help.split("\n\n")[0]) == (name, summary)
        assert f"  {name:8}  {summary}\n" in call("--help").stdout


def test_one_line_leaves_a_circuit_a_report_and_a_diagram(here, with_pages):
    result = call("run", "-e", LINE)
    folder = here / "runs" / "inline" / "conv5_34-snip-0.1"
    names = {path.name for path in folder.iterdir()}
    drawn = {"diagram.html", "diagram.svg", "report.html"}
    assert names == {"circuit.json", "circuit.safetensors", "metrics.json", "report.txt", "module.pt2", SUMS, *drawn}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["asked"] == metrics["relevant"] // 10 == 676
    assert metrics["test.images"] == 1
    assert metrics["train.images"] == 4
    assert "conv5:34 of doodle" in result.stdout
    assert "676 of 6,768 kernels (10.0%)" in result.stdout
    assert f"pearson {metrics['test.pearson']:.3f}" in result.stdout
    assert re.fullmatch(r"circuit 1/1 · conv5_34-snip-0.1 · \d+ s\n", result.stderr)
    assert not [path.name for path in (here / "runs" / "inline").iterdir() if path.name.startswith(".")]


def test_a_finished_circuit_is_not_computed_again(here, numbers_alone, standard_run):
    standard_run(LINE)
    circuit = here / "runs" / "inline" / "conv5_34-snip-0.1" / "circuit.json"
    before = circuit.stat().st_mtime_ns
    assert "finished before" in call("run", "-e", LINE).stdout
    assert circuit.stat().st_mtime_ns == before
    draw("dogs", 3_000_000).save(here / "images" / "dogs" / "new.png")
    assert "finished before" not in call("run", "-e", LINE).stdout
    assert circuit.stat().st_mtime_ns != before


def test_the_plan_a_run_leaves_runs_again_to_the_same_circuit(here, numbers_alone):
    (here / "specs").mkdir()
    (here / "specs" / "dogs.circuit").write_text(LINE.replace("images/", "../images/"))
    call("run", "specs/dogs.circuit")
    folder = here / "runs" / "dogs"
    first = (folder / "conv5_34-snip-0.1" / "circuit.safetensors").read_bytes()
    assert "finished before" in call("run", "runs/dogs/plan.yaml").stdout
    call("run", "runs/dogs/plan.yaml", "--out", "again")
    again = here / "again" / "dogs"
    assert (again / "conv5_34-snip-0.1" / "circuit.safetensors").read_bytes() == first
    assert (again / "conv5_34-snip-0.1" / "metrics.json").read_text() == (
        folder / "conv5_34-snip-0.1" / "metrics.json"
    ).read_text()


def test_show_prints_the_report_again(here, numbers_alone):
    name = "conv5_34-snip-0.1"
    ran = call("run", "-e", LINE).stdout
    short, full = call("show", name).stdout, call("show", name, "--full").stdout
    assert call("show", f"runs/inline/{name}").stdout == short == ran
    assert call("run", "-e", LINE, "--verbose").stdout.startswith(full.rstrip())
    assert len(short.rstrip().splitlines()) <= 14
    assert "spearman" in full
    assert "spearman" not in short
    assert f"circuitlang show --full runs/inline/{name}" in short
    call("run", "-e", f"{LINE}\npreserve conv4:1 on images/dogs/* kernels<=20 criterion=magnitude")
    both = call("show", "inline").stdout
    assert name in both
    assert "conv4_1-magnitude-20kernels" in both
    assert "2 of this run" in both


def test_plan_prints_and_writes_what_run_takes(here, numbers_alone):
    printed = call("plan", "--yaml", "-e", LINE).stdout
    assert "layer: conv5" in printed
    (here / "plans").mkdir()
    call("plan", "-e", LINE, "-o", "plans/one.yaml")
    call("run", "plans/one.yaml")
    assert (here / "runs" / "one" / "conv5_34-snip-0.1" / "circuit.json").is_file()


def test_check_reports_every_mistake_of_every_file(here):
    (here / "good.circuit").write_text(LINE)
    (here / "bad.circuit").write_text(f"{LINE}\npresrve\npreserve conv9:1 on cats sparsity=0.1\n")
    assert "good.circuit: 1 circuit, no mistakes" in call("check", "good.circuit").stdout
    result = call("check", "good.circuit", "bad.circuit", code=1)
    assert "no mistakes" in result.stdout
    for code in ("E001", "E102", "E101", "E201"):
        assert f"error[{code}]" in result.stdout
    assert "4 errors" in result.stdout
    assert "--> bad.circuit:2:1" in result.stdout


def test_a_spec_without_held_out_pictures_says_so(here):
    result = call("run", "-e", f"{LINE} holdout=0")
    assert "Nothing was held out" in " ".join(result.stdout.split())


def test_unreadable_pictures_are_named_or_skipped_and_reported(here, numbers_alone):
    (here / "images" / "dogs" / "broken.png").write_bytes(b"nonsense")
    (here / "images" / "dogs" / "empty.png").write_bytes(b"")
    stopped = call("run", "-e", LINE, code=1)
    assert "2 of 7 images can't be read" in stopped.stderr
    assert "broken.png: not an image and empty.png: empty" in stopped.stderr
    assert not (here / "runs").exists()
    result = call("run", "-e", LINE, "--skip-unreadable")
    assert "2 unreadable images were left out: broken.png" in " ".join(result.stdout.split())
    assert "2 unreadable images" in " ".join(call("show", "runs/inline").stdout.split())


def test_a_circuit_that_has_collapsed_says_so(here, numbers_alone):
    result = call("run", "-e", "preserve conv5:34 on images/dogs/* kernels<=1 criterion=magnitude")
    assert "has collapsed" in result.stdout
    assert json.loads(next(here.glob("runs/*/*/metrics.json")).read_text())["test.pearson"] == 0


@pytest.mark.parametrize(
    ("clauses", "code"),
    [("sparsity<=0.1", 0), ("kernels<=20 refill=none", 0), ("pearson>=0.9", 1), ("kernels<=20 criterion=magnitude", 0)],
)
def test_a_feature_that_does_not_answer_to_the_pictures_is_said_to_be_that(here, clauses, code):
    for number in range(3):
        Image.new("RGB", (64, 64), (90 * number, 90, 90)).save(here / f"plain{number}.png")
    result = call("run", "-e", f"preserve relu5:8 on plain*.png {clauses}", code=code)
    words = " ".join(result.stdout.split())
    assert "Nothing to preserve: relu5:8 is constant on these images." in words
    assert "collapsed" not in words
    assert "were allowed" not in words
    drawn = next(here.glob("runs/*/*/diagram.svg")).read_text()
    assert "relu5:8 is constant on these images" in drawn
    assert "No kernel is effective" not in drawn


def test_where_no_kernel_scores_the_feature_is_not_said_to_be_silent(here, monkeypatch):
    """A criterion that sees nothing, as in a network that it pruned too far, says nothing of the feature."""

    def blind(builder, *_):
        return {path: torch.zeros(mask.shape).double() for path, mask in builder.relevant.items()}

    monkeypatch.setattr(circuit_finder, "score", blind)
    words = " ".join(call("run", "-e", LINE).stdout.split())
    assert "The circuit has collapsed" in words
    assert "0 score above zero" in words
    assert "is constant on" not in words


def test_what_biases_and_padding_have_in_common_with_a_feature_is_not_counted(here):
    """Kept kernels that no path joins leave a map that is the same for every image, and not constant at its border."""
    call("run", "-e", "preserve conv5:34 on images/dogs/* kernels<=12 criterion=snip refill=none")
    metrics = json.loads(next(here.glob("runs/*/*/metrics.json")).read_text())
    assert metrics["effective"] == 0
    assert metrics["test.pearson"] == metrics["test.spearman"] == 0
    assert metrics["test.r2"] <= 0


def test_several_circuits_end_with_an_overview(here, numbers_alone):
    line = "preserve conv2:{} on images/dogs/* kernels<=5\n"
    text = "defaults criterion=random\n" + line.format(1) + line.format(2)
    assert "2 of this run" in call("run", "-e", text).stdout


MISTAKES = [
    ("preserve conv5:34 on imgs/dogs/* sparsity<=0.1", "E302", "'imgs/dogs' does not exist"),
    ("preserve conv5:34 on images/dogs/*.jpg sparsity<=0.1", "E301", "nothing matches"),
    ("preserve conv5:34 on images/dogs sparsity<=0.1", "E301", "is a folder"),
    ("preserve conv5:64 on images/dogs/* sparsity<=0.1", "E111", "no channel 64"),
    ("model doodle\npreserve conv1:1 on images/dogs/* kernels<=1", "E109", "write model bundled.doodle"),
    ("model nonet\npreserve conv1:1 on images/dogs/* sparsity<=0.1", "E109", "no model 'nonet'"),
    ('model resnet18(weights="NOPE")\npreserve conv1:1 on images/dogs/* kernels<=1', "E304", "no weights 'NOPE'"),
    ('model alexnet(weights="x.pt")\npreserve conv1:1 on images/dogs/* kernels<=1', "E304", "no weights file"),
    ("model alexnet(weights=none, layers=3)\npreserve conv1:1 on images/dogs/* kernels<=1", "E307", "can't be built"),
    ("model alexnet(weights=none)\npreserve conv9:1 on images/dogs/* kernels<=1", "E102", "unknown layer 'conv9'"),
    ("model alexnet(weights=none)\npreserve conv1:64 on images/dogs/* kernels<=1", "E111", "no channel 64"),
    ("model alexnet(weights=none, crop=300)\npreserve conv1:1 on images/dogs/* kernels<=1", "E203", "larger than"),
    ("model alexnet(weights=none, crop=20)\npreserve conv5:1 on images/dogs/* kernels<=1", "E308", "20 x 20 pixels"),
    ("model bundled.doodel\npreserve conv1:1 on images/dogs/* kernels<=1", "E109", "unknown bundled model"),
    ('model bundled.doodle(weights="bad.pt")\npreserve conv1:1 on images/dogs/* kernels<=1', "E306", "is refused"),
    (
        'model bundled.doodle(weights="cut.safetensors")\npreserve conv1:1 on images/dogs/* kernels<=1',
        "E306",
        "not a safe",
    ),
    ('model bundled.doodle(weights="other.safetensors")\npreserve conv1:1 on images/dogs/* kernels<=1', "E305", "fit"),
    ('model bundled.doodle(weights="list.pt")\npreserve conv1:1 on images/dogs/* kernels<=1', "E306", "no state dict"),
    ("images dogs = images/dogs/*", "E208", "nothing is preserved"),
    ("", "E208", "nothing is preserved"),
]


@pytest.mark.parametrize(("text", "code", "words"), MISTAKES, ids=[f"{m[1]}-{n}" for n, m in enumerate(MISTAKES)])
def test_every_mistake_gets_a_clear_error_and_leaves_nothing(here, text, code, words):
    import torch
    from safetensors.torch import save_file

    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(here / "harmed"),)

    torch.save({"conv1.weight": Harmful()}, here / "bad.pt")
    torch.save([1, 2], here / "list.pt")
    (here / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    save_file({"conv1.weight": torch.zeros(3, 3), "extra": torch.zeros(1)}, here / "other.safetensors")
    result = call("run", "-e", text, code=1)
    assert f"error[{code}]" in result.stderr
    assert words in result.stderr
    assert result.stdout == ""
    assert not (here / "runs").exists()
    assert not (here / "harmed").exists()


def test_everything_wrong_with_the_inputs_is_said_at_once(here):
    text = (
        "images cats = images/cats/*\npreserve conv5:1 on cats kernels<=1\npreserve conv4:2 on images/*.gif kernels<=1"
    )
    result = call("run", "-e", text, code=1)
    assert "E302" in result.stderr
    assert "E301" in result.stderr
    assert "--> <-e>:1:15" in result.stderr
    assert "2 errors" in result.stderr
    text = 'model alexnet(weights="no.pt")\npreserve conv1:1 on images/cats/* kernels<=1'
    assert "2 errors" in call("run", "-e", text, code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "missing.circuit"], "can't read missing.circuit"),
        (["run", "images"], "give a file in it"),
        (["check", "images/dogs/0.png"], "is not text"),
        (["show", "images"], "holds no circuit"),
        (["show", "nowhere"], "no result in runs is named nowhere"),
        (["run", "bad.yaml"], "not a valid plan"),
    ],
)
def test_files_that_are_not_what_they_should_be(here, arguments, words):
    (here / "bad.yaml").write_text("model: 3\n")
    result = call(*arguments, code=1)
    assert words in result.stderr + result.stdout


def test_a_damaged_circuit_is_said_to_be_that(here, numbers_alone, standard_run):
    standard_run(LINE)
    folder = here / "runs" / "inline" / "conv5_34-snip-0.1"
    (folder / "circuit.safetensors").write_bytes(b"junk")
    assert "circuit.safetensors was changed" in call("show", str(folder), code=1).stderr
    again = call("run", "-e", LINE).stdout
    assert "finished before" not in again
    assert "made again: circuit.safetensors was changed" in again
    call("show", str(folder))


def test_usage_errors_exit_with_two(here):
    call("run", code=2)
    call("run", "x.circuit", "-e", LINE, code=2)
    call("ruin", code=2)


def test_results_cannot_go_where_a_file_is(here):
    (here / "runs").write_text("mine")
    result = call("run", "-e", LINE, code=1)
    assert "E390" in result.stderr
    assert "--out" in result.stderr
    assert (here / "runs").read_text() == "mine"


@pytest.mark.slow
def test_names_of_files_and_folders_may_be_anything(here, numbers_alone):
    odd = here / "images" / "mes chiens é 犬"
    odd.mkdir()
    for number in range(3):
        Image.new("RGB", (80, 70), (number * 80, 9, 9)).save(odd / f"a b {number} ü.webp")
    call("run", "-e", 'preserve conv5:34 on "images/mes chiens é 犬/*" kernels<=10')


@pytest.mark.slow
@pytest.mark.parametrize(
    "signum",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        signal.SIGTERM,
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_killed_leaves_nothing_half_done_and_goes_on_where_it_was(here, signum):
    """Killed while the second of three circuits is computed: the first stays, the second is done again."""
    channels = (34, 33, 32)
    spec = "".join(f"preserve conv5:{c} on images/dogs/* kernels<=30 criterion=magnitude\n" for c in channels)
    (here / "three.circuit").write_text(spec)
    os.mkfifo(here / "begun")
    process = process_endings.begin(f"works:2:{here / 'begun'}", "run", "three.circuit")
    with process_endings.begun(process, here / "begun") as begun:
        assert int(begun.readline()) == process.pid
        process.send_signal(signum)
        _, errors = process.communicate()
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 130, signal.SIGKILL: -9}[signum]
    assert "Traceback" not in errors
    first = here / "runs" / "three" / "conv5_34-magnitude-30kernels" / "circuit.json"
    before = first.stat().st_mtime_ns
    for folder in (here / "runs" / "three").glob("[!.]*/"):
        assert (folder / "circuit.json").is_file(), "a folder under its own name is whole"
    finished = call("run", "three.circuit").stdout
    assert "finished before" in finished
    assert first.stat().st_mtime_ns == before
    left = {path.name for path in (here / "runs" / "three").iterdir()}
    assert left == {"plan.yaml", "index.html", *(f"conv5_{channel}-magnitude-30kernels" for channel in channels)}


@pytest.mark.slow
def test_what_a_plan_has_no_more_is_not_of_the_run(here):
    (here / "a.circuit").write_text("preserve conv5:[33, 34] on images/dogs/* kernels<=20 criterion=magnitude\n")
    call("run", "a.circuit")
    (here / "a.circuit").write_text(
        "circuit x = preserve conv5:34 on images/dogs/* kernels<=20 criterion=magnitude\n"
        "circuit y = preserve conv5:34 on images/dogs/* kernels<=30 criterion=magnitude\ncompare x, y\n"
    )
    call("run", "a.circuit")
    said = call("show", "runs/a").stdout
    assert "2 of this run" in said
    assert "conv5_33" not in said
    assert "x and y share" in " ".join(said.split())
    assert (here / "runs" / "a" / "conv5_33-magnitude-20kernels").is_dir()


@pytest.mark.parametrize(
    ("name", "folder"), [("noending", "noending"), (".circuit", "circuit"), ("a.b.circuit", "a.b")]
)
def test_a_run_is_called_what_its_file_is(here, name, folder, numbers_alone):
    (here / name).write_text("preserve conv5:34 on images/dogs/* kernels<=20 criterion=magnitude\n")
    call("run", name)
    assert (here / "runs" / folder / "plan.yaml").is_file()
