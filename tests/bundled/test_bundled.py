"""The bundled pictures and the bundled network are what the model card says they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from circuitlang.bundled.doodles import CLASSES, FIGURES, SIZE, draw, write
from circuitlang.bundled.network import MEAN, STD, Doodle, build

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "circuitlang" / "bundled" / "weights.safetensors"
IMAGES = ROOT / "examples" / "images"
UNSEEN = range(2_000_000, 2_000_020)  # neither training, held-out nor example seeds


@pytest.fixture(scope="module")
def network() -> Doodle:
    doodle = build()
    doodle.load_state_dict(load_file(WEIGHTS), strict=True)
    return doodle


def as_input(pictures: list[Image.Image]) -> Tensor:
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std


def examples(label: str) -> Tensor:
    pictures = []
    for path in sorted((IMAGES / label).glob("*.png")):
        with Image.open(path) as picture:
            pictures.append(picture.convert("RGB"))
    return as_input(pictures)


@torch.no_grad()
def conv5(network: Doodle, inputs: Tensor) -> Tensor:
    """The pre-activation maps of conv5: (pictures, channels, height, width)."""
    names = [name for name, _ in network.named_children()]
    for name in names[: names.index("conv5") + 1]:
        inputs = network.get_submodule(name)(inputs)
    return inputs


@pytest.mark.parametrize("label", CLASSES)
def test_same_seed_same_pixels(label: str) -> None:
    first, again, other = draw(label, 7), draw(label, 7), draw(label, 8)
    assert first.size == (SIZE, SIZE)
    assert first.mode == "RGB"
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_another_process_draws_the_same() -> None:
    code = "import sys; from circuitlang.bundled.doodles import draw; print(draw('cats', 3).tobytes().hex())"
    drawn = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT, text=True)
    assert bytes.fromhex(drawn.stdout) == draw("cats", 3).tobytes()


def test_figures_differ_on_the_same_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between classes the figure changes, not just the backdrop: drawn with one class's random numbers."""
    figures, seen = dict(FIGURES), set()
    for figure in figures.values():
        monkeypatch.setitem(FIGURES, "dogs", figure)
        seen.add(draw("dogs", 11).tobytes())
    assert len(seen) == len(CLASSES) >= 12


def test_unknown_class_is_refused() -> None:
    with pytest.raises(KeyError, match="unicorns"):
        draw("unicorns", 0)


def test_examples_are_what_the_generator_writes(tmp_path: Path) -> None:
    """Decoded pixels, not bytes: another zlib may pack a PNG differently."""
    write(tmp_path, "dogs", 2, 1_000_000)
    for path in sorted((tmp_path / "dogs").iterdir()):
        with Image.open(path) as fresh, Image.open(IMAGES / "dogs" / path.name) as kept:
            assert fresh.tobytes() == kept.tobytes()


def test_examples_are_complete() -> None:
    counts = {folder.name: len(list(folder.glob("*.png"))) for folder in IMAGES.iterdir() if folder.is_dir()}
    assert counts == {label: 40 if label in {"dogs", "cats"} else 12 for label in CLASSES}


@pytest.mark.parametrize("module", ["circuitlang.bundled", "circuitlang.bundled.doodles"])
def test_importing_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_weights_are_small_and_say_what_they_are() -> None:
    assert WEIGHTS.stat().st_size < 2_000_000
    with safe_open(WEIGHTS, framework="pt") as weights:
        metadata = weights.metadata()
    assert sorted(metadata) == ["classes", "name", "version"]
    assert tuple(json.loads(metadata["classes"])) == CLASSES


def test_network_is_traceable(network: Doodle) -> None:
    targets = [node.target for node in torch.fx.symbolic_trace(network).graph.nodes if node.op == "call_module"]
    assert targets == [name for name, _ in network.named_children()]


@pytest.mark.slow
def test_network_names_fresh_pictures(network: Doodle) -> None:
    inputs = as_input([draw(label, seed) for label in CLASSES for seed in UNSEEN])
    labels = torch.arange(len(CLASSES)).repeat_interleave(len(UNSEEN))
    with torch.no_grad():
        right = network(inputs).argmax(1) == labels
    assert right.float().mean() >= 0.9


def test_channel_34_is_alive_on_dogs_and_prefers_them(network: Doodle) -> None:
    maps = {label: conv5(network, examples(label))[:, 34] for label in CLASSES}
    peaks = {label: channel.amax((1, 2)).mean().item() for label, channel in maps.items()}
    assert (network.conv5.weight[34] != 0).any()
    assert (maps["dogs"].amax((1, 2)) > 0).float().mean() > 0.75
    assert maps["dogs"].std() > 0.1
    assert peaks["dogs"] == max(peaks.values())
    fired = {label: channel.relu().mean().item() for label, channel in maps.items()}
    others = [mean for label, mean in fired.items() if label != "dogs"]
    assert fired["dogs"] > 1.5 * sum(others) / len(others)


@pytest.mark.parametrize("layer", ["conv3", "conv4", "conv5"])
def test_most_kernels_are_exactly_zero(network: Doodle, layer: str) -> None:
    weight = network.get_parameter(f"{layer}.weight")
    assert (weight == 0).flatten(2).all(2).float().mean() > 0.5


def test_most_channels_of_conv5_are_alive(network: Doodle) -> None:
    assert (network.conv5.weight != 0).flatten(1).any(1).float().mean() > 0.75
