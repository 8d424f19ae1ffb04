"""A circuit cut out as a module computes what the masked network computes."""

import pytest
import torch
from torch import nn

from circuitlang.compiler.plan import Choice
from circuitlang.engine.build import Builder
from circuitlang.engine.contracts import Edit
from circuitlang.engine.extract import extract
from circuitlang.engine.intervene import Section, Target
from circuitlang.engine.trace import trace
from tests.nets import CASES, CHANNEL_CASES, CHANNEL_IDS, IDS, SIZE, Fixed, build, images

ALL = pytest.mark.parametrize(("net", "path", "unit"), [*CASES, *CHANNEL_CASES], ids=[*IDS, *CHANNEL_IDS])


def section(module, path, *units, **how):
    graph = trace(module, (SIZE, SIZE))
    return Section(graph, Target(graph.find(path), units, **how))


def random_masks(part, share, seed):
    generator = torch.Generator().manual_seed(seed)
    return {path: (torch.rand(mask.shape, generator=generator) < share) & mask for path, mask in part.relevant.items()}


def same(part, edits, x):
    module = extract(part, edits)
    with part.edited(edits):
        expected = part.maps(x)
    torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)
    return module


@pytest.mark.parametrize("share", [1, 0.8, 0.5, 0.25, 0.1, 0])
@ALL
def test_random_masks(net, path, unit, share):
    part, x = section(build(net), path, unit), images()
    for seed in range(4):
        masks = random_masks(part, share, seed)
        same(part, {name: Edit(mask) for name, mask in masks.items()}, x)


@pytest.mark.parametrize("calibrate", ["none", "bias", "kernels"])
@ALL
def test_stand_ins_and_refits(net, path, unit, calibrate):
    part, x = section(build(net), path, unit), images()
    builder = Builder(part, Fixed(x), Choice("mean"), calibrate)
    for share in (0.6, 0.2):
        same(part, builder.build(random_masks(part, share, 1)), x)
