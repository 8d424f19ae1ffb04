"""A diagram shows the effective circuit, all of it, nothing else, and legibly."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from itertools import combinations, pairwise
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from PIL import Image

from circuitlang.plan import model as plan
from circuitlang.reporting.diagram.captions import channel_name
from circuitlang.reporting.diagram.layout import arrange
from circuitlang.reporting.formats.diagram import EXCITATORY, INHIBITORY, NEUTRAL, diagram
from circuitlang.results.connections import connections
from circuitlang.results.types import (
    ChannelSources,
    Fidelity,
    Result,
)
from tests.helpers.drawn_circuits import (
    EVERY,
    RGB,
    Made,
    chain,
    concatenated,
    crowd,
    empty,
    fed_by,
    flattened,
    residual,
    result,
)

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"


class Drawn:
    """A diagram, read back."""

    def __init__(self, made: Result) -> None:
        self.content = diagram(made)["diagram.svg"]
        self.root = ElementTree.fromstring(self.content)
        self.nodes = {
            node.attrib["data-channel"]: node
            for node in self.root.iter(f"{SVG}g")
            if "circuit-node" in node.get("class", "")
        }
        self.edges = {
            (edge.attrib["data-from"], edge.attrib["data-to"]): edge
            for edge in self.root.iter(f"{SVG}path")
            if "circuit-edge" in edge.get("class", "")
        }

    @property
    def texts(self) -> list[str]:
        return [text.text or "" for text in self.root.iter(f"{SVG}text")]

    def tooltip(self, edge: tuple[str, str]) -> str:
        return self.edges[edge].findtext(f"{SVG}title", "")

    def place(self, node: str) -> tuple[float, float]:
        x, y = self.nodes[node].attrib["transform"].removeprefix("translate(").rstrip(")").split()
        return float(x), float(y)


@pytest.fixture(params=EVERY)
def every(request: pytest.FixtureRequest) -> Result:
    made: Result = EVERY[request.param]()
    return made


def test_what_is_effective_is_drawn_and_nothing_else() -> None:
    drawn = Drawn(chain())
    assert set(drawn.edges) == {
        ("image", "conv1:4"),
        ("conv1:4", "conv2:2"),
        ("conv1:4", "conv2:3"),
        ("conv2:2", "conv3:6"),
        ("conv2:3", "conv3:6"),
    }
    assert set(drawn.nodes) == {"image", "conv1:4", "conv2:2", "conv2:3", "conv3:6"}


def test_a_sum_is_fed_by_each_living_summand() -> None:
    drawn = Drawn(residual())
    into = {source for source, target in drawn.edges if target == "conv3:3"}
    assert into == {"conv1:0", "conv2:0", "conv1:1"}
    assert "conv2:1" not in drawn.nodes


def test_concatenation_reaches_back_several_columns() -> None:
    assert {source for source, target in Drawn(concatenated()).edges if target == "head:7"} == {
        "branch1:1",
        "branch3:0",
    }


def test_parallel_kernels_are_one_edge_with_the_sums() -> None:
    drawn = Drawn(flattened())
    assert set(drawn.edges) == {
        ("image", "conv1:0"),
        ("image", "conv1:1"),
        ("conv1:0", "fc:9"),
        ("conv1:1", "fc:9"),
    }
    assert drawn.edges["conv1:0", "fc:9"].get("stroke") == INHIBITORY  # three positive weights, together negative
    assert drawn.edges["conv1:1", "fc:9"].get("stroke") == EXCITATORY
    tooltip = drawn.tooltip(("conv1:0", "fc:9"))
    assert "score 1," in tooltip
    assert "rank 4 of 7" in tooltip  # after 0.9, 0.8 and the other bundle's 0.5
    assert "4 kernels of 1×1, weight sum -0.5" in tooltip


def test_colour_is_the_sign() -> None:
    drawn = Drawn(chain())
    colours = {edge: path.get("stroke") for edge, path in drawn.edges.items()}
    assert colours["image", "conv1:4"] == EXCITATORY
    assert colours["conv1:4", "conv2:2"] == INHIBITORY
    assert colours["conv2:2", "conv3:6"] == NEUTRAL
    assert "zero sum" in drawn.texts
    assert "zero sum" not in Drawn(residual()).texts


def test_wider_is_stronger_and_on_top(every: Result) -> None:
    drawn = Drawn(every)
    drawn_edges = connections(every.circuit, 2000).strongest
    names = every.summary.layers
    influence = {
        (channel_name(one.source, names), channel_name(one.target, names)): one.influence for one in drawn_edges
    }
    influences = [influence[edge] for edge in drawn.edges]  # in the order of drawing
    widths = [float(path.get("stroke-width", "")) for path in drawn.edges.values()]
    opacities = [float(path.get("stroke-opacity", "")) for path in drawn.edges.values()]
    assert influences == sorted(influences)
    assert widths == sorted(widths)
    assert opacities == sorted(opacities)
    assert all(0 < opacity <= 1 for opacity in opacities)
    assert not influences or influences[0] == influences[-1] or widths[0] < widths[-1]


def test_tooltips_tell_the_details() -> None:
    drawn = Drawn(chain())
    assert drawn.tooltip(("conv1:4", "conv2:2")) == (
        "conv1:4 → conv2:2\ninfluence 98%, 100% of what conv2:2 reads\n"
        "score 0.5, rank 2 of 6\n3×3 kernel, weight sum -1"
    )
    assert drawn.nodes["conv2:3"].findtext(f"{SVG}title") == (
        "conv2:3\ntotal score 0.25, rank 2 of 2 in its layer\n1 kernel of 3×3, weight sum +1"
    )


def test_columns_go_from_the_image_to_the_target(every: Result) -> None:
    found = connections(every.circuit, 2000).strongest
    layout = arrange(found, {(len(every.summary.layers) - 1, every.summary.plan.target.unit)}, {})
    assert [column.layer for column in layout.columns] == sorted(column.layer for column in layout.columns)
    assert all(one.right < other.left for one, other in pairwise(layout.columns))
    for one in found:
        xs = [x for piece in layout.routes[one.source, one.target] for x, _ in piece]
        assert xs == sorted(xs)


def test_nodes_do_not_overlap_and_stay_inside(every: Result) -> None:
    found = connections(every.circuit, 2000).strongest
    layout = arrange(found, {(len(every.summary.layers) - 1, every.summary.plan.target.unit)}, {})
    for one, other in combinations(layout.nodes.values(), 2):
        apart = (one.size + other.size) / 2
        assert abs(one.x - other.x) > apart or abs(one.y - other.y) > apart + 5  # room for the number
    for node in layout.nodes.values():
        assert node.size / 2 - 0.01 <= node.x <= layout.width - node.size / 2 + 0.01
        assert node.size / 2 - 0.01 <= node.y <= layout.height - node.size / 2 + 0.01


def test_long_connections_pass_between_nodes(every: Result) -> None:
    found = connections(every.circuit, 2000).strongest
    layout = arrange(found, {(len(every.summary.layers) - 1, every.summary.plan.target.unit)}, {})
    passed = 0
    for one in found:
        for (left, y), (right, low) in layout.routes[one.source, one.target][1:-1]:
            for node in layout.nodes.values():
                if left <= node.x <= right:
                    here = y + (low - y) * (node.x - left) / (right - left)
                    assert abs(here - node.y) > node.size / 2
                    passed += 1
    assert passed or not any(one.target[0] - one.source[0] > 1 for one in found)


def test_few_crossings() -> None:
    """Two strands whose channel numbers are the other way round in each layer can be drawn without a crossing."""
    strands = result(
        [
            Made([(0, 0, 0.9, 1.0, True), (1, 1, 0.9, 1.0, True)], RGB),
            Made([(1, 0, 0.9, 1.0, True), (0, 1, 0.9, 1.0, True)], fed_by(0, 2)),
            Made([(0, 1, 0.9, 1.0, True), (1, 0, 0.9, 1.0, True)], fed_by(1, 2)),
            Made([(0, 0, 0.9, 1.0, True), (0, 1, 0.9, 1.0, True)], fed_by(2, 2)),
        ],
        unit=0,
    )
    drawn = Drawn(strands)
    assert drawn.place("conv1:0")[1] == drawn.place("conv2:1")[1] == drawn.place("conv3:0")[1]


def test_what_is_left_out_is_counted() -> None:
    drawn = Drawn(EVERY["3000"]())
    assert 380 < len(drawn.edges) <= 400
    (note,) = (text for text in drawn.texts if text.startswith("Drawn: "))
    assert note.startswith(
        f"Drawn: {len(drawn.edges)} edges of the strongest paths, with {len(drawn.edges)} of 3,000 effective kernels. "
    )
    assert 10 < int(note.removesuffix("% of the influence.").split()[-1]) < 30


def test_nothing_is_left_out_of_300() -> None:
    made = crowd(300, 30, skipping=5)
    drawn = Drawn(made)
    assert not any(text.startswith("Drawn: ") for text in drawn.texts)
    single = sum(len(made.circuit.kernels[layer].target) for layer in (0, 1, 3, 4))
    assert len(drawn.edges) >= single + len(made.circuit.kernels[2].target)


def test_an_empty_circuit_is_the_target_and_a_sentence() -> None:
    drawn = Drawn(empty())
    assert set(drawn.nodes) == {"conv2:2"}
    assert not drawn.edges
    assert any(text.startswith("No kernel is effective") for text in drawn.texts)


def test_title_and_headings() -> None:
    texts = Drawn(chain()).texts
    assert texts[0] == "conv3:6 · 8 kernels (10% of 80) · pearson 0.93 held-out"
    for text in ("image", "conv1", "features.0", "kept 3 of 30", "2 effective", "excitatory", "inhibitory"):
        assert text in texts


def test_without_test_images_the_title_says_so() -> None:
    made = chain()
    made = replace(made, summary=msgspec.structs.replace(made.summary, test=None))
    assert Drawn(made).texts[0].endswith("pearson 0.99 on its own images")


def test_a_metric_that_is_not_a_number_is_not_claimed() -> None:
    made = chain()
    nothing = Fidelity(images=8, metrics={"pearson": float("nan")})
    made = replace(made, summary=msgspec.structs.replace(made.summary, test=nothing))
    assert Drawn(made).texts[0] == "conv3:6 · 8 kernels (10% of 80)"


@pytest.mark.parametrize("name", ["<script>&\"'</svg>", "层" * 40, "a\x00b\x1b\ud800", "]]>"])
def test_names_of_users_are_text(name: str) -> None:
    made = chain()
    layers = [msgspec.structs.replace(made.summary.layers[0], name=name), *made.summary.layers[1:]]
    target = msgspec.structs.replace(made.summary.plan, images=name, id=name)
    drawn = Drawn(replace(made, summary=msgspec.structs.replace(made.summary, layers=layers, plan=target)))
    assert len(drawn.edges) == 5
    assert not list(drawn.root.iter(f"{SVG}script"))
    if name.isprintable() and len(name) < 30:
        assert name in drawn.texts
        assert f"{name}:4" in drawn.nodes


def test_the_target_may_be_named_by_its_path() -> None:
    made = chain()
    circuit = msgspec.structs.replace(made.summary.plan, target=plan.Channel("features.2", 6))
    drawn = Drawn(replace(made, summary=msgspec.structs.replace(made.summary, plan=circuit)))
    assert set(drawn.nodes) == set(Drawn(chain()).nodes)


def test_a_refitted_circuit_is_said_to_be_that() -> None:
    made = chain()
    circuit = msgspec.structs.replace(made.summary.plan, calibrate="affine")
    refitted = Drawn(replace(made, summary=msgspec.structs.replace(made.summary, plan=circuit)))
    assert any("refitted (affine)" in text for text in refitted.texts)
    assert not any("refitted" in text for text in Drawn(made).texts)


def picture(node: ElementTree.Element) -> Image.Image | None:
    image = node.find(f"{SVG}image")
    if image is None:
        return None
    head, _, content = image.attrib[HREF].partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")


def test_first_layer_shows_its_filters() -> None:
    shown = picture(Drawn(chain()).nodes["conv1:4"])
    assert shown is not None
    # Red is the largest weight, green half of it, and blue isn't there: mid grey.
    assert shown.getpixel((1, 1)) == pytest.approx((255, 128 + 64, 128), abs=2)


def test_deeper_layers_show_exemplars_or_a_disc() -> None:
    exemplar = np.zeros((40, 60, 3), np.uint8)
    exemplar[:, 10:50] = (10, 200, 30)
    drawn = Drawn(replace(chain(), exemplars={(1, 2): exemplar}))
    shown = picture(drawn.nodes["conv2:2"])
    assert shown is not None
    assert shown.width == shown.height
    assert shown.getpixel((0, 0)) == pytest.approx((10, 200, 30), abs=4)  # the middle square
    assert picture(drawn.nodes["conv2:3"]) is None
    assert drawn.nodes["conv2:3"].find(f"{SVG}circle") is not None


def test_photographs_keep_the_file_small() -> None:
    made = EVERY["500"]()
    rng = np.random.default_rng(0)
    channels = [(layer, channel) for layer in range(1, 4) for channel in range(40)]
    exemplars = {channel: rng.integers(0, 255, (224, 224, 3), np.uint8) for channel in channels}
    assert len(diagram(replace(made, exemplars=exemplars))["diagram.svg"]) < 3_000_000


def test_same_result_same_bytes(every: Result) -> None:
    assert diagram(every) == diagram(every)
    # Nor does the order matter in which wires or equal kernels are listed.
    wires = tuple(
        ChannelSources(wire.source[::-1], wire.origin[::-1], wire.channel[::-1]) for wire in every.circuit.wires
    )
    assert diagram(replace(every, content=replace(every.circuit, wires=wires))) == diagram(every)


def test_it_needs_nothing_else(every: Result) -> None:
    drawn = Drawn(every)
    assert drawn.root.get("role") == "img"
    assert drawn.root.findtext(f"{SVG}title")
    assert drawn.root.findtext(f"{SVG}desc")
    for element in drawn.root.iter():
        assert element.tag != f"{SVG}script"
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert "http" not in value
            assert not name.endswith("href") or value.startswith("data:image/")


def _of_a_loop() -> Result:
    """Layer 1 feeds itself, and its input once comes from layer 2, which it feeds."""
    own = [(channel, origin, channel) for channel in range(4) for origin in (0, 1, 2)]
    return result(
        [
            Made([(0, 0, 0.9, 1.0, True), (1, 1, 0.3, -0.5, True)], RGB),
            Made([(0, 0, 0.8, 1.0, True), (1, 0, 0.2, -1.0, True), (2, 1, 0.1, 0.0, True)], own),
            Made([(0, 1, 0.7, 1.0, True), (1, 2, 0.4, -1.0, True)], fed_by(1, 4)),
            Made([(0, 1, 0.6, 1.0, True)], fed_by(2, 4)),
        ],
        0,
    )


def test_layers_that_feed_themselves_are_drawn():
    drawn = _of_a_loop()
    found = connections(drawn.circuit, 2000)
    layout = arrange(found.strongest, {(3, 0)}, {})
    back = [one for one in found.strongest if one.source[0] >= one.target[0]]
    assert {(one.source[0], one.target[0]) for one in back} == {(1, 1), (2, 1)}
    for one in found.strongest:
        route = layout.routes[one.source, one.target]
        source, target = layout.nodes[one.source], layout.nodes[one.target]
        # It leaves to the right of its source and arrives from the left of its target, back or not.
        assert route[0][0][0] == source.x + source.size / 2 <= route[0][1][0]
        assert route[-1][0][0] <= target.x - target.size / 2 == route[-1][1][0]
        for (begin, _), (end, _) in route[1:-1]:
            assert begin > end if one in back else begin < end
    assert diagram(drawn)["diagram.svg"].count(b"circuit-edge ") == len(found.strongest)


@pytest.mark.parametrize("channels", [3, 90])
def test_no_text_is_smaller_than_nine_units(channels):
    root = ElementTree.fromstring(diagram(crowd(6 * channels, channels))["diagram.svg"])
    sizes = [float(text.get("font-size")) for text in root.iter(f"{SVG}text")]
    assert len(sizes) > channels
    assert min(sizes) >= 9
