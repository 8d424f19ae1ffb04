"""Images of channels in the cache: made once, for every circuit of a network."""

import numpy as np

from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.visuals import feature_visualisation
from circuitlang.engine.visuals.feature_visualisation import visualise
from circuitlang.engine.visuals.stored_images import StoredImages
from circuitlang.plugins.progress import no_progress
from circuitlang.results.visualised_channels import strongest_channels
from tests.engine.visuals.test_activation_maps import thinned
from tests.engine.visuals.test_exemplars import PREPROCESS, circuit
from tests.engine.visuals.test_feature_visualisation import made
from tests.helpers.toy_networks import Residual


def image(channel):
    return np.full((2, 2, 3), channel, np.uint8)


def test_only_what_is_missing_is_made(tmp_path):
    stored, asked = StoredImages(ScoreCache(tmp_path, "network")), []

    def make(channels):
        asked.append(list(channels))
        return np.stack([image(channel) for channel in channels])

    for channels in ([3, 5], [5], [1, 3, 7]):
        images = stored.of("conv2", "few steps", channels, make)
        assert np.array_equal(images, np.stack([image(channel) for channel in channels]))
    assert asked == [[3, 5], [1, 7]]
    stored.of("conv3", "few steps", [3], make)
    stored.of("conv2", "many steps", [3], make)
    assert asked[2:] == [[3], [3]]


def test_circuits_of_a_network_share_images(tmp_path, monkeypatch):
    counts, ascend = [], feature_visualisation.ascend

    def counted(units, preprocess, seed, steps):
        images = ascend(units, preprocess, seed, 2)
        counts.append(len(images))
        return images

    monkeypatch.setattr(feature_visualisation, "ascend", counted)
    stored = StoredImages(ScoreCache(tmp_path, "network"))
    images = []
    for unit in (2, 2, 1):
        _, subnetwork = made(Residual, "head", unit)
        channels = [one for one in strongest_channels(circuit(subnetwork), ()) if one[0] == 0]
        edits = thinned(subnetwork)
        images.append(visualise(subnetwork, edits, channels, PREPROCESS, 0, no_progress, stored).channels)
    every = len(images[0])
    # The feature in the network and in the circuit; channels in the network but once, and in each circuit.
    assert counts == [1, 1, every, every, 1, 1, every, 1, 1, every]
    assert all(np.array_equal(images[0][one][0], other[one][0]) for other in images for one in images[0])
