"""Trains the bundled network from nothing: `python -m circuitlang.bundled.train [--out weights.safetensors]`.

Cross entropy with a group lasso on whole 2-D kernels, taken as a proximal step after each step of the
optimiser (block soft thresholding: Parikh and Boyd, "Proximal Algorithms", 2014, section 6.5.4), so that
most kernels become exactly zero. Three phases: learn with all kernels, shrink them, then settle with the
zeros held and no shrinkage. Two last steps leave what the network computes as it is: `trim` and `appoint`.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from circuitlang.bundled.doodles import CLASSES, draw
from circuitlang.bundled.network import MEAN, STD, Doodle, build

TRAINING_SEEDS = range(0, 1000)  # of every class
HELD_OUT_SEEDS = range(500_000, 500_200)
CHANNEL, FAVOURITE = 34, "dogs"  # the channel of conv5 that is to be the most selective for dogs


@dataclass(frozen=True)
class Recipe:
    """The length and strength of training.

    `shrinkage` is, by layer, what a proximal step takes off a kernel's norm per unit of the learning rate.
    """

    learn: int = 5
    shrink: int = 21
    settle: int = 8
    batch: int = 64
    rate: float = 2e-3
    seed: int = 0
    shrinkage: tuple[tuple[str, float], ...] = (
        ("conv2", 0.5),
        ("conv3", 0.25),
        ("conv4", 0.22),
        ("conv5", 0.38),
    )

    @property
    def epochs(self) -> int:
        """Passes over the training images, all phases together."""
        return self.learn + self.shrink + self.settle


@dataclass(frozen=True)
class Pictures:
    """Normalised images (count, 3, 64, 64) and the numbers of their classes (count)."""

    inputs: Tensor
    labels: Tensor


def render(seeds: range) -> Pictures:
    """Draw the images with these seeds, of every class, on all cores."""
    jobs = [(label, seed) for label in CLASSES for seed in seeds]
    with multiprocessing.Pool() as pool:
        drawn = pool.map(_pixels, jobs, chunksize=100)
    pixels = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    labels = torch.arange(len(CLASSES)).repeat_interleave(len(seeds))
    return Pictures((pixels - mean) / std, labels)


def _pixels(job: tuple[str, int]) -> np.ndarray:
    return np.asarray(draw(*job))


def train(images: Pictures, recipe: Recipe) -> Iterator[tuple[int, float, Doodle]]:
    """Train a new network; yields the epoch, its mean loss and the network, after every epoch."""
    generator = torch.Generator().manual_seed(recipe.seed)
    network = build().train()
    _initialise(network, generator)
    optimiser = torch.optim.AdamW(_groups(network), lr=recipe.rate)
    steps = recipe.epochs * math.ceil(len(images.labels) / recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps, pct_start=0.15)
    for epoch in range(recipe.epochs):
        losses = []
        for inputs, labels in _batches(images, recipe.batch, generator):
            loss = functional.cross_entropy(network(inputs), labels, label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            _step(network, optimiser, recipe, epoch)
            schedule.step()
            losses.append(loss.item())
        yield epoch, sum(losses) / len(losses), network


def _groups(network: Doodle) -> list[dict[str, object]]:
    """Return the parameters in two groups: conv1 decays until its first noise is gone: filters one can look at."""
    filters = network.conv1.weight
    rest = [parameter for parameter in network.parameters() if parameter is not filters]
    return [{"params": [filters], "weight_decay": 0.5}, {"params": rest, "weight_decay": 1e-4}]


def _initialise(network: Doodle, generator: torch.Generator) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def _batches(images: Pictures, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images in a new order, each batch mirrored or not and shifted by up to 3 pixels."""
    for chosen in torch.split(torch.randperm(len(images.labels), generator=generator), size):
        inputs = images.inputs[chosen]
        mirror, down, right = torch.randint(0, 42, (3,), generator=generator).tolist()
        if mirror % 2:
            inputs = inputs.flip(3)
        padded = functional.pad(inputs, (3, 3, 3, 3), mode="replicate")
        yield padded[:, :, down % 7 : down % 7 + 64, right % 7 : right % 7 + 64], images.labels[chosen]


@torch.no_grad()
def _step(network: Doodle, optimiser: torch.optim.Optimizer, recipe: Recipe, epoch: int) -> None:
    """Take a step of the optimiser, then apply the epoch's phase to the kernels."""
    settling = epoch >= recipe.learn + recipe.shrink
    layers = {name: _weight(network, name) for name, _ in recipe.shrinkage}
    zeros = {name: _norms(weight) == 0 for name, weight in layers.items()}
    optimiser.step()
    rate = optimiser.param_groups[0]["lr"]
    for name, strength in recipe.shrinkage:
        if settling:
            layers[name][zeros[name]] = 0.0
        elif epoch >= recipe.learn:
            kept = 1 - rate * strength / _norms(layers[name]).clamp_min(1e-12)
            layers[name].mul_(kept.clamp_min(0)[:, :, None, None])


def _weight(network: Doodle, name: str) -> Tensor:
    layer = network.get_submodule(name)
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"{name} is not a convolution")
    return layer.weight


def _norms(weight: Tensor) -> Tensor:
    """Return the L2 norm of every 2-D kernel: (out, in, height, width) to (out, in)."""
    norms: Tensor = torch.linalg.vector_norm(weight, dim=(2, 3))
    return norms


@torch.no_grad()
def trim(network: Doodle) -> None:
    """Zero the channels that no kernel of the next layer reads; the network computes the same as before.

    From the last layer to the first, as a channel may have been read by an unread one only. What is left in
    conv1's unread filters would be faint noise, which looks like a filter and is none.
    """
    layers = [layer for layer in network.children() if isinstance(layer, nn.Conv2d)]
    for layer, reader in reversed(list(pairwise(layers))):
        unread = (_norms(reader.weight) == 0).all(0)
        for parameter in layer.parameters():
            parameter[unread] = 0.0


@torch.no_grad()
def appoint(network: Doodle, images: Pictures, channel: int, label: str) -> tuple[int, float]:
    """Swap `channel` of conv5 with the one most selective for the class, and fc1's columns to match.

    The network computes the same as before; only the numbering changes, so that examples can name a channel.
    Returns the number the channel had before and its d' (see `selectivity`).
    """
    scores = selectivity(network, images, label)
    best = int(scores.argmax())
    order = torch.arange(len(scores))
    order[[channel, best]] = order[[best, channel]]
    network.conv5.weight.copy_(network.conv5.weight[order].clone())
    if network.conv5.bias is not None:
        network.conv5.bias.copy_(network.conv5.bias[order].clone())
    network.fc1.weight.copy_(network.fc1.weight[:, order].clone())
    return best, float(scores[best])


@torch.no_grad()
def activations(network: Doodle, images: Pictures) -> Tensor:
    """Return the mean of every conv5 channel over each image, after the ReLU, as fc1 sees it: (images, channels)."""
    trunk = nn.Sequential(*list(network.children())[:-1])
    return torch.cat([trunk(inputs) for inputs in torch.split(images.inputs, 256)])


def selectivity(network: Doodle, images: Pictures, label: str) -> Tensor:
    """d' of every conv5 channel for a class: (channels).

    From the channel's mean activations: the class's mean less that of the rest, over the root mean of the two
    variances.
    """
    means, ours = activations(network, images), images.labels == CLASSES.index(label)
    gap = means[ours].mean(0) - means[~ours].mean(0)
    return gap / ((means[ours].var(0) + means[~ours].var(0)) / 2 + 1e-12).sqrt()


@torch.no_grad()
def accuracies(network: Doodle, images: Pictures) -> dict[str, float]:
    """Return the share of each class's images that the network names correctly."""
    guesses = torch.cat([network(inputs).argmax(1) for inputs in torch.split(images.inputs, 256)])
    right = guesses == images.labels
    return {label: float(right[images.labels == k].float().mean()) for k, label in enumerate(CLASSES)}


def sparsity(network: Doodle) -> dict[str, float]:
    """Return the share of each convolution's 2-D kernels that are exactly zero."""
    layers = {name: layer for name, layer in network.named_children() if isinstance(layer, nn.Conv2d)}
    return {name: float((_norms(layer.weight) == 0).float().mean()) for name, layer in layers.items()}


def alive(network: Doodle) -> int:
    """Count the channels of conv5 that have a kernel left."""
    return int((_norms(network.conv5.weight) > 0).any(1).sum())


def save(network: Doodle, path: Path) -> None:
    """Write the weights, without anything that depends on the machine or the day."""
    metadata = {"name": "doodle", "version": "1", "classes": json.dumps(CLASSES)}
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path, metadata)


def report(network: Doodle, held_out: Pictures) -> Iterator[str]:
    """Return the lines of the model card's table: accuracy, sparsity, size, and how channel 34 is disposed."""
    by_class = accuracies(network, held_out)
    yield f"held-out accuracy {sum(by_class.values()) / len(by_class):.4f}"
    yield "  " + ", ".join(f"{label} {share:.3f}" for label, share in by_class.items())
    yield "kernels exactly zero: " + ", ".join(f"{name} {share:.3f}" for name, share in sparsity(network).items())
    yield f"parameters {sum(tensor.numel() for tensor in network.parameters())}"
    yield f"conv5 channels with a kernel left: {alive(network)} of {network.conv5.out_channels}"
    kept = int((_norms(network.conv5.weight)[CHANNEL] > 0).sum())
    dprime = float(selectivity(network, held_out, FAVOURITE)[CHANNEL])
    yield f"conv5:{CHANNEL}: {kept} kernels, d' for {FAVOURITE} {dprime:.2f} (held out); mean activation by class"
    means = activations(network, held_out)[:, CHANNEL].view(len(CLASSES), -1).mean(1).tolist()
    yield "  " + ", ".join(f"{label} {mean:.2f}" for label, mean in zip(CLASSES, means, strict=True))


def run(out: Path) -> Iterator[str]:
    """Train, number, measure and save the network; yields what there is to say, line by line."""
    torch.set_num_threads(2)  # sums depend on how the work is split
    recipe, images = Recipe(), render(TRAINING_SEEDS)
    for epoch, loss, network in train(images, recipe):
        zeros = ", ".join(f"{name} {share:.2f}" for name, share in sparsity(network).items())
        yield f"epoch {epoch + 1}/{recipe.epochs}: loss {loss:.3f}, zero kernels {zeros}"
    network.eval()
    trim(network)
    former, dprime = appoint(network, images, CHANNEL, FAVOURITE)
    yield f"conv5:{CHANNEL} was conv5:{former}, the most selective for {FAVOURITE} (training d' {dprime:.2f})"
    save(network, out)
    yield from report(network, render(HELD_OUT_SEEDS))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the bundled network and print what the model card says of it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("weights.safetensors"))
    for line in run(parser.parse_args(arguments).out):
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
