"""The paper's comparison of criteria over sizes, by this program: `python -m benchmarks.paper`.

Hamblin, Konkle and Alvarez, "Pruning for Feature-Preserving Circuits in CNNs" (arXiv 2206.01627) compare four criteria
by the median, over features, of |r| between a feature's map in the circuit and in the network. Printed are the same
medians for a network that is here, with 95% intervals over features, beside those that the paper's authors published
for AlexNet, and of what is kept the share that is effective. As the paper has them, dead kernels are not replaced.

Progress is on stderr; Ctrl-C prints the tables of the features so far.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.fidelity import NETS, Curve, curves, draw, variant
from circuitlang.results.statistics import median

# Medians as the authors' notebook plots them: the masked model, whole kernels.
SIZES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
PUBLISHED = {
    "actgrad": (0, 0.0325, 0.0796, 0.3496, 0.5180, 0.7289, 0.8098, 0.8822, 0.9251, 0.9579, 0.9771, 0.9885, 0.9968),
    "snip": (0, 0.0060, 0.0570, 0.3040, 0.3931, 0.5711, 0.7309, 0.8335, 0.8771, 0.9274, 0.9559, 0.9772, 0.9919),
    "force": (0, 0.1366, 0.2716, 0.3640, 0.4724, 0.6223, 0.7357, 0.8159, 0.8785, 0.9335, 0.9662, 0.9719, 0.9914),
    "magnitude": (0, 0, 0, 0.1655, 0.2433, 0.4245, 0.6063, 0.7286, 0.8218, 0.8804, 0.9272, 0.9652, 0.9883),
}
# And what this program does where a spec doesn't say.
OURS = {"default, greedy": ""}
LAYERS = {
    "squeezenet": ("features.7.expand3x3", "features.10.expand3x3"),
    "bundled": ("conv3", "conv5"),
}


def table(title: str, rows: Mapping[str, Sequence[str]], sizes: Sequence[float]) -> str:
    """Rows of cells, one for each size, as Markdown."""
    escaped = title.replace("|", r"\|")
    lines = [f"| {escaped} | " + " | ".join(f"{size:g}" for size in sizes) + " |", "|---|" + "---|" * len(sizes)]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items())])


def medians(found: Sequence[Curve], measure: str) -> list[str]:
    """At each size the median over features, and its interval."""
    cells = []
    for values in np.array([[at[measure] for at in curve] for curve in found]).T:
        middle, low, high = median(values)
        cells.append(f"**{middle:.2f}** {low:.2f}–{high:.2f}")
    return cells


def main() -> None:
    """Draw features, find and measure their circuits, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--net", choices=NETS, default="squeezenet")
    parser.add_argument("--features", type=int, default=8)
    parser.add_argument("--layers", nargs="+", help="draw from these layers")
    parser.add_argument("--sizes", type=float, nargs="+", default=SIZES, help="some of the paper's")
    parser.add_argument("--pixels", type=int, default=128, help="side of a photograph (default 128)")
    parser.add_argument("--images", type=int, default=80, help="no more images than these, half of them held out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.sizes) - set(SIZES):
        parser.error(f"the paper has no size {', '.join(f'{size:g}' for size in unknown)}")
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.default_int_handler)
    plans = {name: variant(f"criterion={name} refill=none") for name in PUBLISHED}
    plans |= {name: variant(clauses) for name, clauses in OURS.items()}
    ground = NETS[options.net](options.pixels, options.images, options.seed)
    measured: list[dict[str, Curve]] = []
    try:
        layers = options.layers or LAYERS[options.net]
        for layer, unit in draw(ground, options.features, options.seed, layers):
            about = f"{len(measured) + 1}/{options.features} {layer}:{unit}"
            measured.append(curves(ground, layer, unit, plans, options.sizes, about))
    except KeyboardInterrupt:
        print("interrupted: tables of the features so far", file=sys.stderr)
    if not measured:
        sys.exit(130)
    found = {name: [channel[name] for channel in measured] for name in plans}
    print(f"{options.net}, {len(measured)} features of {', '.join(layers)}, {len(ground.train)} + ", end="")
    print(f"{len(ground.test)} images of {ground.train.preprocess.crop} pixels, seed {options.seed}\n")
    places = [SIZES.index(size) for size in options.sizes]
    published = {name: [f"{values[place]:.2f}" for place in places] for name, values in PUBLISHED.items()}
    own = {name: medians(own, "pearson") for name, own in found.items()}
    print(table("AlexNet, published: median |r|", published, options.sizes), end="\n\n")
    print(table("here: median |r| and 95% interval", own, options.sizes), end="\n\n")
    alive = {name: medians(own, "effective") for name, own in found.items()}
    print(table("of what is kept, effective", alive, options.sizes))


if __name__ == "__main__":
    main()
