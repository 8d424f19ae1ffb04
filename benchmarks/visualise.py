"""What a picture that excites a channel costs: `python -m benchmarks.visualise`.

It is made through the part of the picture that the middle position of the channel sees. The time is against that of
making it through the whole picture, taken in turn in the same process, of one thread's processor; the median of some
rounds. The channels are of layers a quarter, half and three quarters of the way to the target of `benchmarks/speed.py`.
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
from circuitlang.engine.visuals.feature_visualisation import ascend, of_feature
from circuitlang.plugins.preprocess import Preprocess

WAYS = {"a quarter": 0.25, "half": 0.5, "three quarters": 0.75}
STEPS = 4
PREPROCESS = Preprocess(SIDE, SIDE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def seconds(subnetwork: TargetSubnetwork) -> float:
    """The processor's time for a few steps of one picture."""
    subnetwork.memo.clear()  # whether the part comes to the same
    begin = time.process_time()
    ascend(of_feature(subnetwork), PREPROCESS, 1, 0, STEPS)
    return time.process_time() - begin


def ratio(graph: Graph, name: str, way: float, rounds: int) -> str:
    """What the part takes of the time of the whole, and how many pixels wide it is."""
    last = [layer.path for layer in graph.layers].index(NETS[name])
    subnetwork = TargetSubnetwork(graph, Target(graph.find(graph.layers[round(last * way)].path), (UNIT,)))
    found = []
    for _ in range(rounds + 1):
        part = seconds(subnetwork)
        with patch("circuitlang.engine.visuals.feature_visualisation.same", return_value=False):
            found.append(part / seconds(subnetwork))
    return f"{median(found[1:]):.2f} ({width(subnetwork)})"


def width(subnetwork: TargetSubnetwork) -> int:
    """Of how many columns of the picture one goes through the network."""
    seen: list[int] = []
    run = subnetwork.full_maps
    with patch.object(subnetwork, "full_maps", lambda images: (seen.append(images.shape[3]), run(images))[1]):
        ascend(of_feature(subnetwork), PREPROCESS, 1, 0, 1)
    return seen[-1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    graphs = {name: trace(graph_model(name), (SIDE, SIDE)) for name in options.nets}
    print("time of the whole that the part takes (its width of 224 pixels)\n")
    print("| | " + " | ".join(graphs) + " |\n|---|" + "---|" * len(graphs))
    for word, way in WAYS.items():
        cells = (ratio(graph, name, way, options.rounds) for name, graph in graphs.items())
        print(f"| {word} of the way | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
