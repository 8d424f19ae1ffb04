"""Cost of an image that excites a channel: `python -m benchmarks.visualise`.

It is made through the part of the image that the middle position of the channel sees, or on a smaller one where it sees
more. The time is against that of making it through the whole image, taken in turn in the same process, of one thread's
processor; the median of some rounds. The channels are of layers a quarter, half and three quarters of the way to the
target of `benchmarks/speed.py`. Below is how many images of each the budget of a run allows.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from unittest.mock import patch

import torch

from benchmarks.speed import NETS, SIDE, UNIT, graph_model
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.visuals import amounts
from circuitlang.engine.visuals.excited_units import of_feature
from circuitlang.engine.visuals.feature_visualisation import ascend
from circuitlang.engine.visuals.visualised_part import work
from circuitlang.plugins.preprocess import Preprocess

WAYS = {"a quarter": 0.25, "half": 0.5, "three quarters": 0.75}
STEPS = 4
PREPROCESS = Preprocess(SIDE, SIDE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def seconds(subnetwork: TargetSubnetwork) -> float:
    """Return the processor's time for a few steps of one image."""
    subnetwork.memo.clear()  # whether the part comes to the same
    units = of_feature(subnetwork)
    begin = time.process_time()
    ascend(units, PREPROCESS, 0, STEPS)
    return time.process_time() - begin


def unit(graph: Graph, name: str, way: float) -> TargetSubnetwork:
    """Return the network up to a channel that is part of the way to the target."""
    last = [layer.path for layer in graph.layers].index(NETS[name])
    return TargetSubnetwork(graph, Target(graph.find(graph.layers[round(last * way)].path), (UNIT,)))


def ratio(graph: Graph, name: str, way: float, rounds: int) -> str:
    """Return the time as a share of that of the whole, and how many pixels wide the image is."""
    subnetwork = unit(graph, name, way)
    shares = []
    for _ in range(rounds + 1):
        part = seconds(subnetwork)
        with (
            patch("circuitlang.engine.visuals.excited_units.same", return_value=False),
            patch.object(amounts, "SIDE", SIDE),
        ):
            shares.append(part / seconds(subnetwork))
    subnetwork.memo.clear()
    return f"{median(shares[1:]):.2f} ({of_feature(subnetwork).size[1]})"


def affordable(graph: Graph, name: str, way: float) -> str:
    """Return how many images of such channels a run makes without being asked to."""
    subnetwork = unit(graph, name, way)
    return str(min(amounts.MOST, amounts.OPERATIONS // work(graph, subnetwork.target.step.name)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    graphs = {name: trace(graph_model(name), (SIDE, SIDE)) for name in options.nets}
    head = "| | " + " | ".join(graphs) + " |\n|---|" + "---|" * len(graphs)
    print(f"share of the time through the whole image (width of the image, of {SIDE} pixels)\n\n{head}")
    for word, way in WAYS.items():
        cells = (ratio(graph, name, way, options.rounds) for name, graph in graphs.items())
        print(f"| {word} of the way | " + " | ".join(cells) + " |")
    print(f"\nimages within the budget, of at most {amounts.MOST}\n\n{head}")
    for word, way in WAYS.items():
        cells = (affordable(graph, name, way) for name, graph in graphs.items())
        print(f"| {word} of the way | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
