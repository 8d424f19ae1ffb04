"""A linear probe by gradient descent in NumPy, for comparison."""

from __future__ import annotations

import numpy as np

ROUNDS = 20_000


def naive_probe(x: np.ndarray, positive: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Coefficients and intercept for samples [n, variables]: logistic regression on standardised variables."""
    mean, deviation = x.mean(0), x.std(0)
    z = (x - mean) / np.where(deviation > 0, deviation, 1)
    share = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())
    w, b = np.zeros(x.shape[1]), 0.0
    rate = 1 / (0.25 * np.linalg.norm(np.sqrt(share)[:, None] * np.c_[z, np.ones(len(z))], 2) ** 2 + penalty)
    for _ in range(ROUNDS):
        error = share * (1 / (1 + np.exp(-(z @ w + b))) - positive)
        w, b = w - rate * (z.T @ error + penalty * w), b - rate * error.sum()
    coefficients = np.where(deviation > 0, w / np.where(deviation > 0, deviation, 1), 0)
    return coefficients, float(b - coefficients @ mean)
