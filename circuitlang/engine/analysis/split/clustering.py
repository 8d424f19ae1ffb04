"""Points → kinds: clusters of images, and whether one cloud without kinds would look the same."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Labels = NDArray[np.int64]

# As many kinds are looked for at most where their number is left open, and of each at least so many images.
MOST, FEWEST = 8, 4
# Clouds that are drawn to compare with.
CLOUDS = 99
# Starts of k-means, of which the best counts.
_STARTS = 5


@dataclass(frozen=True)
class Kinds:
    """The cluster of each image, from 0, the largest first; the centre of each cluster; and for each number of clusters
    tried the mean silhouette, which says from -1 to 1 how much nearer images are to their own kind than to the next."""

    labels: Labels
    middles: Points
    tried: dict[int, float]

    @property
    def silhouette(self) -> float:
        """The mean silhouette of the chosen clusters."""
        return self.tried[len(self.middles)]

    def nearest(self, points: Points) -> Labels:
        """The kind whose middle is nearest, of each of some other images [images, r]."""
        away = ((points[:, None] - self.middles[None]) ** 2).sum(-1)
        return np.asarray(away.argmin(1), np.int64)


def numbers(into: int | None, images: int) -> range:
    """The numbers of kinds that are tried: the one that is wanted, or from 2 on as many as there are images for."""
    return range(2, max(2, min(MOST, images // FEWEST)) + 1) if into is None else range(into, into + 1)


def kinds(points: Points, into: int | None, seed: int) -> Kinds:
    """Images [images, r] fall into so many kinds, or where it is None into as many as have the best mean silhouette.

    k-means with the best of five starts (Lloyd 1982; Arthur and Vassilvitskii, "k-means++", 2007); the silhouette:
    Rousseeuw 1987. There must be more different images than kinds.
    """
    clusters = {number: _clusters(points, number, seed) for number in numbers(into, len(points))}
    apart = _distances(points)
    tried = {number: silhouette(apart, labels) for number, labels in clusters.items()}
    best = max(tried, key=lambda number: (tried[number], -number))
    labels = _ordered(clusters[best])
    middles = np.stack([points[labels == kind].mean(0) for kind in range(best)])
    return Kinds(labels, middles, tried)


def valley(points: Points, labels: Labels) -> float:
    """Return how many images lie between two clusters for each about the centre of one of them: 0 where nothing is
    between them, 1 and more where they run into each other; of all pairs of kinds that with the most.

    Images of the two are seen along the line through their middles, which is two units long between these. Between
    them, within half a unit of half-way, they are counted against those within half a unit of a middle, of the middle
    with fewer, half an image added to both. A tail, as long as it may be, is no valley: this can't be said of measures
    of how far apart kinds are.
    """
    most = 0.0
    for one, other in combinations(np.unique(labels), 2):
        near, far = points[labels == one], points[labels == other]
        middle, half = (near.mean(0) + far.mean(0)) / 2, (far.mean(0) - near.mean(0)) / 2
        along = (np.concatenate([near, far]) - middle) @ half / max(float(half @ half), 1e-300)
        between, *about = (int((np.abs(along - place) < 0.5).sum()) for place in (0, -1, 1))
        most = max(most, (between + 0.5) / (min(about) + 0.5))
    return most


def clouds(points: Points, held_out: Points, into: int | None, seed: int) -> NDArray[np.float64]:
    """The valleys of clouds without kinds, `CLOUDS` of them, where kinds are found on as many images as there are
    `points` and as many are held out: all drawn from one normal distribution that has the mean and covariance of the
    images, and brought to length 1 as they are.

    The null of SigClust (Liu, Hayes, Nobel and Marron 2008), with the sample's own covariance. Its measure, like the
    silhouette, calls every skewed cloud several; hence the valley.
    """
    random = np.random.default_rng(seed)
    every = np.concatenate([points, held_out])
    mean = every.mean(0)
    around = (every - mean) / np.sqrt(max(len(every) - 1, 1))
    ratios = np.empty(CLOUDS)
    for number in range(CLOUDS):
        cloud = mean + random.standard_normal((len(every), len(every))) @ around
        cloud /= np.linalg.norm(cloud, axis=1, keepdims=True)
        own, others = np.split(cloud, [len(points)])
        there = kinds(own, into, seed)
        ratios[number] = valley(cloud, np.append(there.labels, there.nearest(others)))
    return ratios


def _clusters(points: Points, number: int, seed: int) -> Labels:
    # It takes a second to import, and few runs split anything.
    from sklearn.cluster import KMeans

    fitted: Any = KMeans(number, n_init=_STARTS, random_state=seed).fit(points)
    return np.asarray(fitted.labels_, np.int64)


def _distances(points: Points) -> NDArray[np.float64]:
    """Between all images [images, images]."""
    products = points @ points.T
    squares = products.diagonal()
    return np.asarray(np.sqrt(np.clip(squares[:, None] + squares[None] - 2 * products, 0, None)))


def silhouette(distances: NDArray[np.float64], labels: Labels) -> float:
    """Return the mean silhouette of images at these distances [images, images] (Rousseeuw 1987).

    It is 0 where all images are in one cluster or each is alone in its own, for which scikit-learn has no value.
    """
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(labels)) < len(labels):
        return 0.0
    return float(silhouette_score(distances, labels, metric="precomputed"))


def _ordered(labels: Labels) -> Labels:
    """Numbered by size, the largest first; of kinds of one size the one whose first image comes first."""
    there, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    order = there[np.lexsort((first, -sizes))]
    number = np.empty(int(there.max()) + 1, np.int64)
    number[order] = np.arange(len(order))
    return np.asarray(number[labels], np.int64)
