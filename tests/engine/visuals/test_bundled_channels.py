"""Images of channels of the bundled network excite them more than noise and than any image of a set."""

from pathlib import Path

import pytest
import torch

from circuitlang import pipeline
from circuitlang.base.source import Source
from circuitlang.engine.circuits.subnetwork import as_maps
from circuitlang.engine.runtime.jobs import prepare
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.visuals.amounts import STEPS
from circuitlang.engine.visuals.excited_units import of_channels
from circuitlang.engine.visuals.feature_visualisation import ascend


@pytest.mark.parametrize("layer", ["conv2", "conv3", "conv4"])
def test_a_made_image_excites_more_than_noise_and_the_best_crop(layer):
    compiled = pipeline.compile_source(Source("one.circuit", "preserve conv5:34 on bundled.dogs keep<=5%"))
    prepared = prepare(compiled.plan, Path(), compiled.origins, Options())
    subnetwork, preprocess = prepared.jobs[0].subnetwork, prepared.model.preprocess
    node = subnetwork.nodes[layer]
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    with subnetwork.edited(None):
        images = torch.cat(list(prepared.jobs[0].train.batches("images")))
        maps = as_maps(subnetwork.values(images, {node})[node], subnetwork.graph.steps[node])
        # The crop of a position is all that it sees. Channels that nothing excites have no image.
        best, channels = maps.amax((0, 2, 3)).topk(4)
        excited = of_channels(subnetwork, node, channels.tolist())
        noise, made = (
            excited.responses((ascend(excited, preprocess, 0, steps) - mean) / std).diagonal() for steps in (0, STEPS)
        )
    assert (made > noise).all()
    assert (made > best).all(), (made, best)
