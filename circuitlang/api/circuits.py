"""A finished circuit as an object: its numbers, masks, graph and modules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from circuitlang.api.frames import framed
from circuitlang.base.diagnostics import Finding, InputError, listing
from circuitlang.compiler.sources import open_source
from circuitlang.results.types import ChannelSources, Circuit, KeptKernels, Result, Summary
from circuitlang.results.verdict import Verdict, verdict

if TYPE_CHECKING:
    import networkx
    import pandas
    from matplotlib.axes import Axes
    from torch import nn

# Path of a layer ("image" for the input) and number of a channel.
Channel = tuple[str, int]


@dataclass(frozen=True, repr=False)
class LoadedCircuit:
    """A finished circuit and its folder. Only the methods that return modules need torch.

    Examples:
        >>> circuitlang.load("runs/dogs/sketch")
        <circuit conv5:34: 135 of 6,768 kernels, runs/dogs/sketch>
    """

    folder: Path
    result: Result

    @property
    def summary(self) -> Summary:
        """Plan, sizes, measurements and provenance of the circuit.

        Examples:
            >>> circuit.summary.kept, circuit.summary.relevant
            (135, 6768)
        """
        return self.result.summary

    @property
    def circuit(self) -> Circuit:
        """Kept kernels and the sources of their inputs, as arrays.

        Examples:
            >>> strongest = circuit.circuit.kernels[-1]  # of the last layer
            >>> int(strongest.source[0]), strongest.weight[0].shape
            (45, (3, 3))
        """
        return self.result.circuit

    @cached_property
    def metrics(self) -> dict[str, float]:
        """All numbers of the circuit by their keys in `metrics.json`: `kept`, `test.pearson`, ...

        Examples:
            >>> round(circuit.metrics["train.pearson"], 2)
            0.98
        """
        return self.summary.flat()

    def to_frame(self) -> pandas.DataFrame:
        """Return the kept kernels as a data frame of pandas, a row for each: layer, channels, score and weight.

        Raises InputError if pandas is not installed.

        Examples:
            >>> circuit.to_frame().groupby("layer").size()["conv5"]
            np.int64(12)
        """
        from circuitlang.api.tables import circuit_frame

        return circuit_frame(self.result)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Plot the share of kernels that is kept in each layer, and return the axes of matplotlib.

        Examples:
            >>> circuit.plot().get_ylabel()
            'kept kernels (%)'
        """
        from circuitlang.api.plots import circuit_axes

        return circuit_axes(self.result, axes)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the circuit in a word, as in the headline of its report.

        Examples:
            >>> circuit.verdict
            'preserved'
        """
        return verdict(self.summary)

    @property
    def notes(self) -> list[str]:
        """Reservations about the circuit and its inputs, as in its report.

        Examples:
            >>> circuit.notes
            []
        """
        from circuitlang.reporting.text import circuit_sentences

        return circuit_sentences.notes(self.summary)

    @cached_property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """Masks of the kept kernels, [out, in / groups] by path of the layer.

        Examples:
            >>> circuit.masks["conv5"].shape, int(circuit.masks["conv5"].sum())
            ((64, 64), 12)
        """
        masks = {}
        for layer, kernels in zip(self.summary.layers, self.circuit.kernels, strict=True):
            in_channels = layer.in_channels // layer.groups
            masks[layer.path] = np.zeros((layer.out_channels, in_channels), np.bool_)
            masks[layer.path][kernels.target, kernels.source % in_channels] = True
        return masks

    @cached_property
    def graph(self) -> networkx.DiGraph[Channel]:
        """Channels as nodes, (path of the layer, number) or ("image", number), joined by the kept kernels.

        A node has `layer` (its name in specs), `channel` and `target`. An edge has `score`, `weight` (the sum of the
        kernel's weights in the circuit), `sign` of the weight, and `effective` (on a path from the image to the
        target). A kernel whose input is a sum of channels is an edge from each. Kernels between the same two channels
        are one edge with the sums of their scores and weights.

        Examples:
            >>> print(circuit.graph)
            DiGraph with 51 nodes and 135 edges
            >>> circuit.graph.edges[("conv4", 45), ("conv5", 34)]["sign"]
            1
        """
        import networkx as nx

        graph: networkx.DiGraph[Channel] = nx.DiGraph()
        layers = self.summary.layers
        # In order, as exports list the nodes in the order of their insertion.
        targets = [self._node(*carrier) for carriers in _carriers(self.circuit.target).values() for carrier in carriers]
        graph.add_nodes_from(targets)
        for layer, kernels, inputs in zip(layers, self.circuit.kernels, self.circuit.wires, strict=True):
            self._add_kernels(graph, layer.path, kernels, inputs)
        names = {layer.path: layer.name for layer in layers}
        for path, channel in graph.nodes:
            attributes = {"layer": names.get(path, path), "channel": channel, "target": (path, channel) in targets}
            graph.nodes[path, channel].update(attributes)
        return graph

    def _add_kernels(
        self, graph: networkx.DiGraph[Channel], path: str, kernels: KeptKernels, inputs: ChannelSources
    ) -> None:
        """Add the kept kernels of a layer as edges."""
        carriers = _carriers(inputs)
        weights = kernels.weight.astype(np.float64).sum((1, 2))
        rows = zip(kernels.target, kernels.source, kernels.score, weights, kernels.effective, strict=True)
        for target, source, score, weight, effective in rows:
            for carrier in carriers[int(source)]:
                edge = (self._node(*carrier), (path, int(target)))
                old = graph.get_edge_data(*edge, default={"score": 0.0, "weight": 0.0, "effective": False})
                total = old["weight"] + float(weight)
                graph.add_edge(
                    *edge,
                    score=old["score"] + float(score),
                    weight=total,
                    sign=int(np.sign(total)),
                    effective=old["effective"] or bool(effective),
                )

    @property
    def named_graph(self) -> networkx.DiGraph[str]:
        """Copy of `graph` with nodes named as in a spec: `conv5:34`, `image:0`.

        Examples:
            >>> sorted(circuit.named_graph.predecessors("conv5:34"))[:2]
            ['conv4:22', 'conv4:25']
        """
        import networkx as nx

        names = {node: f"{attributes['layer']}:{node[1]}" for node, attributes in self.graph.nodes.items()}
        graph: networkx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from((names[node], attributes) for node, attributes in self.graph.nodes.items())
        graph.add_edges_from((names[a], names[b], attributes) for a, b, attributes in self.graph.edges(data=True))
        return graph

    def module(self) -> nn.Module:
        """Return the circuit as a standalone network.

        It takes images [N, C, H, W] and returns the activation maps of the target [N, maps, H, W]. It is read from
        `module.pt2` without running code from that file. Raises InputError.

        Examples:
            >>> circuit.module()(torch.rand(2, 3, 64, 64)).shape
            torch.Size([2, 1, 8, 8])
        """
        from circuitlang.engine.programs.aten_import import network
        from circuitlang.engine.programs.pt2_reader import read_program
        from circuitlang.results.reader import unchanged

        unchanged(self.folder, "module.pt2")
        return network(read_program(self.folder / "module.pt2"))

    def sparse_module(self) -> nn.Module:
        """Return `module` with convolutions that compute the kept kernels alone, several times faster on a CPU.

        The maps are the same to rounding, in single precision and without gradients. Raises InputError, also if the
        extra `fast` is not installed.

        Examples:
            >>> images = torch.rand(2, 3, 64, 64)
            >>> torch.allclose(circuit.sparse_module()(images), circuit.module()(images), atol=1e-5)
            True
        """
        from importlib.util import find_spec

        from torch import fx

        if find_spec("numba") is None:
            cure = "pip install 'circuitlang[fast]'"
            raise InputError(Finding("E361", "numba is not installed", None, "", cure))
        from circuitlang.engine.loops.sparse_runner import Sparse

        module = self.module()
        assert isinstance(module, fx.GraphModule)
        return Sparse(module)

    def export(self, path: str | Path) -> None:
        """Write the circuit to a file in the format of its ending: `.onnx`, `.graphml`, `.json`, ...

        Raises CircuitError.

        Examples:
            >>> circuit.export("sketch.graphml")
        """
        from circuitlang.results.outputs import EXPORTS
        from circuitlang.results.writer import write_file

        path = Path(path)
        format = path.suffix.removeprefix(".").lower()
        if format not in EXPORTS.declarations:
            cure = "end its name in " + listing([f".{name}" for name in EXPORTS.declarations], "or")
            raise InputError(Finding("E360", f"a circuit can't be exported as '{path.name}'", None, "", cure))
        write_file(path, EXPORTS.load(format)(self), "give another place for it")

    @contextmanager
    def masked_model(self, model: nn.Module | None = None, allow_code: bool = False) -> Iterator[nn.Module]:
        """Provide a copy of the whole network whose kernels upstream of the target are those of the circuit.

        The copy is in evaluation mode. All other kernels are kept, and the model itself is not changed. Weights that
        are computed, by `weight_norm` or `prune` for example, are plain ones in the copy. Without `model` the network
        is loaded by the plan in the folder above; `allow_code` permits that to run the file of a `model python(...)`.

        Raises:
            InputError: If the model can't be loaded or is not the one that the circuit was found in.

        Examples:
            >>> with circuit.masked_model() as network:
            ...     network(torch.rand(1, 3, 64, 64)).shape
            torch.Size([1, 14])
        """
        from circuitlang.engine.circuits.transplant import transplant

        yield transplant(self._model(allow_code) if model is None else model, self.result, self._image_shape)

    def _image_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of the images that the circuit takes."""
        from circuitlang.engine.programs.pt2_reader import read_program

        program = read_program(self.folder / "module.pt2")
        channels, height, width = map(int, program.sizes[program.image][1:])
        return channels, height, width

    def _model(self, allow_code: bool) -> nn.Module:
        from circuitlang.engine.models.weights import fingerprint
        from circuitlang.engine.runtime.model_loading import load_model
        from circuitlang.pipeline import compile_source

        base = compile_source(open_source(self.folder.parent / "plan.yaml")).folder
        module = load_model(self.summary.model, base, allow_code).module
        if fingerprint(module) != self.summary.provenance.weights:
            label = "its weights are others than those the circuit was found in"
            raise InputError(Finding("E352", f"the model is not the circuit's: {self.summary.model.name}", None, label))
        return module

    def _node(self, number: int, channel: int) -> Channel:
        return ("image" if number < 0 else self.summary.layers[number].path), channel

    def _repr_html_(self) -> str:
        from circuitlang.results.reader import read_file

        page = self.folder / "report.html"
        with suppress(InputError):
            return framed(read_file(self.folder, page.name).decode(errors="replace"), page)
        # The file is missing or changed, or of a version that did not write it.
        from circuitlang.reporting.formats.page import page as render

        return framed(render(self.result)["report.html"].decode(), page)

    def __repr__(self) -> str:
        summary = self.summary
        return f"<circuit {summary.plan.target}: {summary.kept:,} of {summary.relevant:,} kernels, {self.folder}>"


def _carriers(wire: ChannelSources) -> dict[int, list[tuple[int, int]]]:
    """Return the sources of each input channel: numbers of layers (-1: the image) and of their channels."""
    carriers: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for source, origin, channel in zip(wire.source.tolist(), wire.origin.tolist(), wire.channel.tolist(), strict=True):
        carriers[source].append((origin, channel))
    return carriers


def load(folder: Path) -> LoadedCircuit:
    """Read a finished circuit from its folder, which is made first if the circuit is packed. Raises CircuitError."""
    from circuitlang.results.reader import read
    from circuitlang.results.run_folders import is_packed_circuit

    if is_packed_circuit(folder):
        from circuitlang.pipeline import unpack

        unpack(folder.parent, [folder.name])
    return LoadedCircuit(folder, read(folder))
