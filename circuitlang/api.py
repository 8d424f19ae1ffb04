"""A finished circuit as a notebook wants it: numbers, masks, a graph, a module, the network with the circuit in it."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from circuitlang.base.diagnostics import Finding, InputError, listing
from circuitlang.results.comparison import Comparison
from circuitlang.results.types import ChannelSources, Circuit, Result, Summary

if TYPE_CHECKING:
    import networkx
    from torch import nn

    from circuitlang.results.outputs import ComparisonResult

# A layer's path and a channel of it.
Channel = tuple[str, int]


@dataclass(frozen=True, repr=False)
class LoadedCircuit:
    """A finished circuit and its folder. Only `module` and `masked_model` need torch."""

    folder: Path
    result: Result

    @property
    def summary(self) -> Summary:
        """What was asked for, what was found, how good it is."""
        return self.result.summary

    @property
    def circuit(self) -> Circuit:
        """The kept kernels and the wires, as arrays."""
        return self.result.circuit

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Every number of the circuit by one key, as in `metrics.json`: `kept`, `test.pearson`, ..."""
        return self.summary.flat()

    @property
    def notes(self) -> list[str]:
        """Reservations about the circuit and the files it was found from, as its report says them."""
        from circuitlang.reporting.text import circuit_sentences

        return circuit_sentences.notes(self.summary)

    @cached_property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """By layer path, which kernels are kept [out, in / groups]."""
        found = {}
        for layer, kernels in zip(self.summary.layers, self.circuit.kernels, strict=True):
            inner = layer.in_channels // layer.groups
            found[layer.path] = np.zeros((layer.out_channels, inner), np.bool_)
            found[layer.path][kernels.target, kernels.source % inner] = True
        return found

    @cached_property
    def graph(self) -> networkx.DiGraph[Channel]:
        """Channels as nodes, (path of the layer, number) or ("image", number), joined by the kept kernels.

        A node has `layer` (what users call it), `channel` and `target`. An edge has `score`, `weight` (the sum of the
        kernel's weights, as the circuit has them), `sign` of that, and `effective` (on a path from the image to the
        target). A kernel whose input is a sum of channels is an edge from each; kernels between the same two channels
        are one edge, their scores and weights summed.
        """
        import networkx as nx

        graph: networkx.DiGraph[Channel] = nx.DiGraph()
        circuit, layers = self.circuit, self.summary.layers
        names = {layer.path: layer.name for layer in layers}
        targets = [self._origin(*carrier) for carriers in _carriers(circuit.target).values() for carrier in carriers]
        for node in targets:
            graph.add_node(node)
        for layer, kernels, wire in zip(layers, circuit.kernels, circuit.wires, strict=True):
            carriers = _carriers(wire)
            weights = kernels.weight.astype(np.float64).sum((1, 2))
            each = zip(kernels.target, kernels.source, kernels.score, weights, kernels.effective, strict=True)
            for target, source, score, weight, effective in each:
                for carrier in carriers[int(source)]:
                    edge = (self._origin(*carrier), (layer.path, int(target)))
                    old = graph.get_edge_data(*edge, default={"score": 0.0, "weight": 0.0, "effective": False})
                    total = old["weight"] + float(weight)
                    graph.add_edge(
                        *edge,
                        score=old["score"] + float(score),
                        weight=total,
                        sign=int(np.sign(total)),
                        effective=old["effective"] or bool(effective),
                    )
        for path, channel in graph.nodes:
            about = {"layer": names.get(path, path), "channel": channel, "target": (path, channel) in targets}
            graph.nodes[path, channel].update(about)
        return graph

    @property
    def named_graph(self) -> networkx.DiGraph[str]:
        """`graph` with nodes called as in a spec: `conv5:34`, `image:0`."""
        import networkx as nx

        names = {node: f"{about['layer']}:{node[1]}" for node, about in self.graph.nodes.items()}
        graph: networkx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from((names[node], about) for node, about in self.graph.nodes.items())
        graph.add_edges_from((names[a], names[b], about) for a, b, about in self.graph.edges(data=True))
        return graph

    def module(self) -> nn.Module:
        """The circuit as a network of its own: images [N, C, H, W] → the target's maps [N, maps, H, W].

        It is read from `module.pt2` without running anything that is in it. Raises InputError.
        """
        from circuitlang.engine.programs.aten_import import network
        from circuitlang.engine.programs.pt2_reader import read_program
        from circuitlang.results.reader import unchanged

        unchanged(self.folder, "module.pt2")
        return network(read_program(self.folder / "module.pt2"))

    def sparse_module(self) -> nn.Module:
        """`module`, run over its kept kernels alone: the same maps to rounding, several times faster on a CPU.

        In single precision and without gradients. Raises InputError, also where the extra `fast` is not installed.
        """
        from importlib.util import find_spec

        from torch import fx

        if find_spec("numba") is None:
            cure = "pip install 'circuitlang[fast]'"
            raise InputError(Finding("E361", "what compiles loops over kernels is not installed", None, "", cure))
        from circuitlang.engine.loops.sparse_runner import Sparse

        module = self.module()
        assert isinstance(module, fx.GraphModule)
        return Sparse(module)

    def export(self, path: str | Path) -> None:
        """Write the circuit to a file of the kind that its ending says: `.onnx`, `.graphml`, `.json`, ...

        Raises CircuitError.
        """
        from circuitlang.results.outputs import EXPORTS
        from circuitlang.results.writer import write_file

        path = Path(path)
        kind = path.suffix.removeprefix(".").lower()
        if kind not in EXPORTS.declarations:
            cure = "end its name in " + listing([f".{each}" for each in EXPORTS.declarations], "or")
            raise InputError(Finding("E360", f"a circuit can't be exported as '{path.name}'", None, "", cure))
        write_file(path, EXPORTS.load(kind)(self), "give another place for it")

    @contextmanager
    def masked_model(self, model: nn.Module | None = None, allow_code: bool = False) -> Iterator[nn.Module]:
        """A copy of the whole network, in evaluation mode, with only the circuit's kernels upstream of the target and
        all others as they were; the model itself is left alone.

        Weights that are computed, by `weight_norm` or `prune` for example, are plain ones in the copy. Without a model
        it is loaded as the plan in the folder above says; `allow_code` lets a `model python(...)` run.
        Raises InputError where there is no such model, or it is another.
        """
        from circuitlang.engine.circuits.transplant import transplant

        yield transplant(self._model(allow_code) if model is None else model, self.result, self._image_shape)

    def _image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images that the circuit was found for."""
        from circuitlang.engine.programs.pt2_reader import read_program

        program = read_program(self.folder / "module.pt2")
        channels, height, width = (int(each) for each in program.sizes[program.image][1:])
        return channels, height, width

    def _model(self, allow_code: bool) -> nn.Module:
        from circuitlang.engine.models.weights import fingerprint
        from circuitlang.engine.runtime.jobs import load_model
        from circuitlang.pipeline import compile_source, open_source

        base = compile_source(open_source(self.folder.parent / "plan.yaml")).folder
        module = load_model(self.summary.model, base, allow_code).module
        if fingerprint(module) != self.summary.provenance.weights:
            label = "its weights are others than those the circuit was found in"
            raise InputError(Finding("E352", f"the model is not the circuit's: {self.summary.model.name}", None, label))
        return module

    def _origin(self, number: int, channel: int) -> Channel:
        return ("image" if number < 0 else self.summary.layers[number].path), channel

    def _repr_html_(self) -> str:
        from circuitlang.results.reader import read_file

        page = self.folder / "report.html"
        with suppress(InputError):
            return _framed(read_file(self.folder, page.name).decode(errors="replace"), page)
        # It was lost or changed, or is of a version that wrote none.
        from circuitlang.reporting.formats.page import page as write

        return _framed(write(self.result)["report.html"].decode(), page)

    def __repr__(self) -> str:
        summary = self.summary
        return f"<circuit {summary.plan.target}: {summary.kept:,} of {summary.relevant:,} kernels, {self.folder}>"


class Run(list[LoadedCircuit]):
    """The circuits of a run, in the order of its plan, and its folder. A notebook shows them side by side."""

    def __init__(self, folder: Path, circuits: Iterable[LoadedCircuit], notes: Sequence[Finding] = ()) -> None:
        super().__init__(circuits)
        self.folder = folder
        # The warnings that the command line prints: about the spec, and about files that it names.
        self.notes = tuple(notes)

    def _repr_html_(self) -> str:
        if len(self) == 1:
            return self[0]._repr_html_()
        from circuitlang.base.plain_files import read_plain

        page = self.folder / "index.html"
        with suppress(OSError):
            return _framed(read_plain(page).decode(errors="replace"), page)
        return "".join(each._repr_html_() for each in self)


@dataclass(frozen=True, repr=False)
class LoadedComparison:
    """Circuits side by side. A notebook shows the report."""

    comparison: Comparison
    circuits: tuple[Result, ...]

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of what circuits keep [circuits, circuits]; NaN of two that keep nothing."""
        found = np.full((len(self.circuits),) * 2, np.nan)
        for number, member in enumerate(self.comparison.members):
            found[number, number] = 1.0 if member.kept else np.nan
        for pair in self.comparison.pairs:
            if pair.overlap.total.iou is not None:
                found[pair.first, pair.second] = found[pair.second, pair.first] = pair.overlap.total.iou
        return found

    @cached_property
    def pearson(self) -> NDArray[np.float64]:
        """The correlation of circuits' maps [circuits, circuits]; NaN where it can't be said."""
        found = np.full((len(self.circuits),) * 2, np.nan)
        np.fill_diagonal(found, 1.0)
        for pair in self.comparison.pairs:
            if pair.agreement is not None:
                value = pair.agreement.metrics["pearson"]
                found[pair.first, pair.second] = found[pair.second, pair.first] = value
        return found

    def write(self, folder: str | Path) -> None:
        """Leave the report, the numbers and the diagrams in a folder. Raises OutputError."""
        from circuitlang.results.writer import write_comparison

        write_comparison(self._result, Path(folder))

    @cached_property
    def _result(self) -> ComparisonResult:
        from circuitlang.results.outputs import ComparisonResult

        return ComparisonResult(self.comparison, self.circuits)

    def _repr_html_(self) -> str:
        from circuitlang.results.outputs import COMPARISON_FORMATS

        page = COMPARISON_FORMATS.load("page")(self._result)["report.html"]
        return _framed(page.decode(), Path("comparison"))

    def __repr__(self) -> str:
        from circuitlang.reporting.terminal.comparison_report import claims

        return f"<comparison: {' '.join(claims(self.comparison))}>"


def compare(folders: Sequence[Path]) -> LoadedComparison:
    """Finished circuits, or all of runs, side by side. Raises InputError."""
    from circuitlang import pipeline

    comparison, results = pipeline.compare(folders)
    return LoadedComparison(comparison, tuple(results))


def load(folder: Path) -> LoadedCircuit:
    """What a run left in a circuit's folder. Raises InputError."""
    from circuitlang.results.reader import read

    return LoadedCircuit(folder, read(folder))


def _framed(page: str, path: Path) -> str:
    """A page inside a notebook, which its styles and its script stay out of."""
    content, name = html.escape(page), html.escape(str(path))
    style = "width: 100%; height: 720px; border: 1px solid #8884; border-radius: 12px; resize: vertical"
    return f'<iframe srcdoc="{content}" sandbox="allow-scripts" title="{name}" style="{style}"></iframe>'


def _carriers(wire: ChannelSources) -> dict[int, list[tuple[int, int]]]:
    """By input channel, the layers (-1: the image) and their channels that carry it."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for source, origin, channel in zip(wire.source.tolist(), wire.origin.tolist(), wire.channel.tolist(), strict=True):
        found[source].append((origin, channel))
    return found
