"""Mutation checks: mistakes that are put into a copy of the package, each of which some quick test must find.

`python -m tests.mutations [AREA...]` prints a line for each mistake, and fails if one survives. A mistake is a text
that stands once in a module, and what is put in its place; the tests are those of the module's area.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("benchmarks", "circuitlang", "docs", "examples", "grammar", "specs", "tests")
# The tests that must find the mistakes of each area.
TESTS = {
    "selection": (
        "tests/engine/circuits/test_selection.py",
        "tests/engine/circuits/test_structure.py",
        "tests/engine/circuits/test_builder.py",
    ),
    "scoring": (
        "tests/engine/attribution/test_criteria.py",
        "tests/engine/attribution/test_contrast.py",
        "tests/engine/attribution/test_multi_target.py",
        "tests/engine/attribution/test_annealed.py",
        "tests/engine/circuits/test_structure.py",
        "tests/engine/loops/test_scoring.py",
    ),
    "graph": (
        "tests/engine/graph/test_channel_graph.py",
        "tests/engine/graph/test_index_tracing.py",
        "tests/engine/graph/test_targets.py",
        "tests/engine/graph/test_image_mixing.py",
        "tests/engine/circuits/test_constant_channels.py",
        "tests/engine/circuits/test_builder.py",
    ),
    "extraction": (
        "tests/engine/circuits/test_extraction.py",
        "tests/engine/circuits/test_constant_channels.py",
        "tests/engine/programs/test_aten_import.py",
    ),
}


@dataclass(frozen=True)
class Mutation:
    """A mistake: `old`, which stands once in the module, becomes `new`."""

    area: str
    module: str
    old: str
    new: str


_SELECTION = "circuits/selection.py"
_EFFECTS = "attribution/effects.py"
_SCORER = "attribution/scorer.py"
_ANNEALED = "attribution/criteria/annealed.py"
_BATCHES = "circuits/small_batches.py"
_RULES = "graph/channel_rules.py"
_PATHS = "graph/reachability.py"
_LIVENESS = "circuits/extraction/liveness.py"
_SLICING = "circuits/extraction/slicing.py"
_FOLDING = "circuits/extraction/folding.py"
_EXTRACTOR = "circuits/extraction/extractor.py"
MUTATIONS = (
    # Kernels of score zero fill up; one too few; the last of equal kernels; rounded, not rounded down.
    Mutation("selection", _SELECTION, "kept = values > 0\n", "kept = values >= 0\n"),
    Mutation("selection", _SELECTION, "np.partition(some, -number)[-number]",
             "np.partition(some, -number)[1 - number]"),
    Mutation("selection", _SELECTION, "np.flatnonzero(some == least)[: number - np.count_nonzero(kept)]",
             "np.flatnonzero(some == least)[np.count_nonzero(kept) - number :]"),
    Mutation("selection", _SELECTION, "if taken == ranks.first and not ranks.complete:", "if False:"),
    Mutation("selection", _SELECTION, "math.floor(Fraction(str(size.at_most)) * relevant)",
             "math.floor(size.at_most * relevant)"),
    Mutation("selection", _SELECTION, "order[np.argsort(-values[order], kind=\"stable\")]", "order"),
    Mutation("selection", _SELECTION, "taken = _fitting(needed, budget, ranks.first)",
             "taken = _fitting(needed, budget, ranks.first) - 1"),
    Mutation("selection", _SELECTION, "if 0 < count(chosen) < budget:", "if False:"),
    Mutation("selection", _SELECTION, "graph.path(scores, best(needed, taken + 2), through)",
             "graph.path(scores, best(needed, taken + 1), through)"),
    Mutation("selection", _SELECTION, "if count(between(middle)) <= budget", "if count(between(middle)) < budget"),
    Mutation("selection", _SELECTION, ".sum(1) / mask.sum(1).clamp_min(1)", ".sum(1)"),
    # Signs, groups, strides, dilation, moments; a contrast that is added; scores of what is not relevant.
    Mutation("scoring", _EFFECTS, "absolute[image, rows] = part.abs_().sum(1)",
             "absolute[image, rows] = part.sum(1).abs_()"),
    Mutation("scoring", _EFFECTS, "effect - 2 * mean * both + mean", "effect - mean * both + mean"),
    Mutation("scoring", _EFFECTS, "mean = output / images.clamp_min(1)", "mean = output"),
    Mutation("scoring", _EFFECTS, "seen = x[..., :: kernels.stride[0], :: kernels.stride[1]]",
             "seen = x[..., :: kernels.stride[0], :: kernels.stride[0]]"),
    Mutation("scoring", _EFFECTS, "taps = row * kernels.dilation[0], column * kernels.dilation[1]",
             "taps = row * kernels.dilation[0], column * kernels.dilation[0]"),
    Mutation("scoring", _EFFECTS, "first, step = start * kernels.dilation[axis], kernels.stride[axis]",
             "first, step = start * kernels.dilation[0], kernels.stride[axis]"),
    Mutation("scoring", _EFFECTS, "seen = x[0, group * inner : (group + 1) * inner]", "seen = x[0, :inner]"),
    Mutation("scoring", _EFFECTS, "output *= strength[group, o : o + rows]", "output *= strength[0, o : o + rows]"),
    Mutation("scoring", _SCORER, "own[path] / numbers[0] - others[path] / numbers[1]",
             "own[path] / numbers[0] - others[path] / numbers[0]"),
    Mutation("scoring", _SCORER, "scores[path].cpu().double() * mask", "scores[path].cpu().double() * (mask | True)"),
    Mutation("scoring", _SCORER, "if request.source == sources[number]:",
             "if request.source[1] == sources[number][1]:"),
    Mutation("scoring", _SCORER, "top, left = i * kernels.dilation[0], j * kernels.dilation[1]",
             "top, left = i * kernels.dilation[0], j"),
    # Windows, blocks, axes, neighbours; paths that forget or invent channels.
    Mutation("graph", _RULES, "torch.zeros_like(own), own) for step in sources",
             "torch.zeros_like(own), own) for step in sources[:1]"),
    Mutation("graph", _RULES, "torch.arange(-(size // 2), (size - 1) // 2 + 1)",
             "torch.arange(-(size // 2), (size - 1) // 2)"),
    Mutation("scoring", _ANNEALED, "curvature, -curvature)", "curvature, curvature)"),
    Mutation("scoring", _ANNEALED, "min(1.0, mu / _SMALL_LOSS)", "1.0"),
    Mutation("scoring", _ANNEALED, "_CURVATURE * self._dimensions / max", "_CURVATURE / max"),
    Mutation("scoring", _ANNEALED, "network, 0, variance)).relu()", "network, 0, variance))"),
    Mutation("scoring", _ANNEALED, "if self.others and other and other.numbers:", "if False:"),
    Mutation("scoring", _BATCHES, "return circuit, batch.wanted\n", "return circuit, batch.wanted.flip(0)\n"),
    Mutation("scoring", _BATCHES, "max(1, math.ceil(BATCHES / images))", "1"),
    Mutation("scoring", _BATCHES, "images = self._moved(numbers, generator)", "images = self._images[numbers]"),
    Mutation("scoring", _ANNEALED, "-ranks.log(), -math.inf)", "-ranks.log(), -ranks.log())"),
    Mutation("scoring", _ANNEALED, "math.pow(0.01 / share, _FORGET_GROWTH)", "(0.01 / share)"),
    Mutation("scoring", _ANNEALED, "(len(above) - 1) * self.between)", "0)"),
    Mutation("scoring", _SCORER, "None if inner.edits else self._cache", "self._cache"),
    Mutation("graph", _RULES, "return same(call, steps, None, call.argument(1, \"num_groups\"))",
             "return same(call, steps, None, 1)"),
    Mutation("graph", _RULES, "return same(call, steps, windows_of(kernel, stride, padding, dilation))",
             "return same(call, steps, windows_of(kernel, stride, padding))"),
    Mutation("graph", _RULES, "place = axis if kept else axis - sum(reduced < axis for reduced in over)",
             "place = axis"),
    Mutation("graph", _RULES, "return same(call, steps, ONE if axes == {axis} else None, int(axis in axes))",
             "return same(call, steps, ONE if axes == {axis} else None, 0)"),
    Mutation("graph", _PATHS, "values.scatter_reduce_(0, index, source, \"amin\")",
             "values.scatter_reduce_(0, index, source, \"amax\")"),
    Mutation("graph", _PATHS, "return one | other", "return other"),
    Mutation("graph", _PATHS, "values[index[source]] = True", "values[index] = source"),
    Mutation("graph", _PATHS, "kernels if masks is None else {path: kernels[path] & masks[path] for path in kernels}",
             "kernels"),
    Mutation("graph", _PATHS, "ranked = torch.where(leading, ranked + 1 + ranked.amax(), ranked)", "pass"),
    # Channels too few, the wrong ones, settings of layers that get lost, norms folded where others read.
    Mutation("extraction", _LIVENESS, "fed[step.name] = step.block_any(reached)", "fed[step.name] = reached"),
    Mutation("extraction", _LIVENESS, "wanted[edge.node][:] = True", "wanted[edge.node][:] = wanted[edge.node]"),
    Mutation("extraction", _LIVENESS, "wanted[step.edges[0].node] |= step.layer",
             "wanted[step.edges[0].node] = step.layer"),
    Mutation("extraction", _LIVENESS, "(step.layer.per_kernel(fed[step.edges[0].node]) & kept[step.layer.path]).any(1)",
             "kept[step.layer.path].any(1)"),
    Mutation("extraction", _SLICING, "\"dilation\", \"padding_mode\"", "\"dilation\""),
    Mutation("extraction", _SLICING, "\"stride\", \"padding\", \"dilation\"", "\"stride\", \"padding\""),
    Mutation("extraction", _FOLDING, "tensor.detach()[channels.to(tensor.device)].clone()",
             "tensor.detach()[: len(channels)].clone()"),
    Mutation("extraction", _FOLDING, "norm.running_var, norm.eps, norm.weight", "norm.running_var, 0, norm.weight"),
    Mutation("extraction", _EXTRACTOR, "or self._read(node) > 1:", "or False:"),
    Mutation("extraction", _EXTRACTOR, "or len(self._out.calls(path)) > 1:", "or False:"),
    Mutation("extraction", _EXTRACTOR, "return offset if own is None else own + offset", "return offset"),
    Mutation("extraction", _EXTRACTOR, "full[within * height + place] = bias[rows]", "full[: len(rows)] = bias[rows]"),
)  # fmt: skip


def survives(folder: Path, mutation: Mutation) -> bool:
    """Return whether the tests of an area pass in a copy of the project with a mistake in it."""
    path = folder / "circuitlang" / "engine" / mutation.module
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.module}: {text.count(mutation.old)} times {mutation.old!r}, and not once")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return passes(folder, mutation.area)
    finally:
        path.write_text(text, encoding="utf-8")


def passes(folder: Path, area: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TESTS[area]]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        # Neither passed nor failed: the mistake is one of Python, or the tests can't be collected.
        raise SystemExit(done.stdout + done.stderr)
    return done.returncode == 0


def main(areas: list[str]) -> int:
    """Return the number of mistakes that survive."""
    chosen = [each for each in MUTATIONS if not areas or each.area in areas]
    survivors = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in COPIED:
            shutil.copytree(ROOT / name, folder / name)
        for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md"):
            shutil.copy2(ROOT / name, folder / name)
        for area in dict.fromkeys(each.area for each in chosen):
            if not passes(folder, area):
                raise SystemExit(f"the tests of {area} fail without any mistake")
        for mutation in chosen:
            alive = survives(folder, mutation)
            survivors += alive
            word = "SURVIVES" if alive else "found"
            print(f"{word:8}  {mutation.area}: {mutation.module}: {' '.join(mutation.new.split())}", flush=True)  # noqa: T201
    return survivors


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
