"""A linear probe: logistic regression with an L2 penalty, and its accuracy on samples that it was not fitted on.

Reference: Alain & Bengio 2016, "Understanding intermediate layers using linear classifier probes"; Kim et al. 2018,
"Interpretability beyond feature attribution: quantitative testing with concept activation vectors".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Newton steps, which converge in about ten; halvings of one step; and the gradient at which they end.
_STEPS, _HALVINGS, _ENOUGH = 200, 50, 1e-12
# A variable is constant if its standard deviation is a smaller share of its largest value: float32 holds no less.
_CONSTANT = 1e-6


@dataclass(frozen=True)
class LinearProbe:
    """The sign of `coefficients` [variables] times a sample plus `intercept` tells the two sides apart; float64."""

    coefficients: Tensor
    intercept: float

    def __call__(self, samples: Tensor) -> Tensor:
        """Return the log-odds of samples [n, variables], float64 [n]."""
        return samples.double() @ self.coefficients + self.intercept


def fit_probe(samples: Tensor, positive: Tensor, penalty: float) -> LinearProbe:
    """Fit a probe to samples [n, variables], some of which are `positive` [n].

    Variables are standardised, and either side counts as much as the other, however many samples it has. The weights w
    of standardised variables minimise the mean logistic loss plus `penalty` / 2 times the squared length of w; the
    intercept is free. The minimum is unique and is found by Newton's method in float64. A variable that is constant
    has the coefficient 0.
    """
    x, y = samples.double(), positive.double()
    mean, deviation = x.mean(0), x.std(0, correction=0)
    varies = deviation > _CONSTANT * x.abs().amax(0)
    z = torch.where(varies, (x - mean) / torch.where(varies, deviation, 1.0), 0.0)
    share = torch.where(positive, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    # The best weights lie in the span of the samples, which may be fewer than variables.
    basis = torch.linalg.svd(z, full_matrices=False)[2] if len(z) < z.shape[1] else torch.eye(z.shape[1]).double()
    weights, intercept = _minimum(z @ basis.T, y, share, penalty)
    coefficients = torch.where(varies, basis.T @ weights / torch.where(varies, deviation, 1.0), 0.0)
    return LinearProbe(coefficients, float(intercept - coefficients @ mean))


def _minimum(a: Tensor, y: Tensor, share: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Return the weights and the intercept at the minimum, by Newton's method with halved steps."""
    a = torch.cat([a, torch.ones(len(a), 1).double()], 1)
    ridge = torch.full((a.shape[1],), penalty).double()
    ridge[-1] = 0

    def loss(at: Tensor) -> Tensor:
        margin = a @ at
        return share @ (torch.nn.functional.softplus(margin) - y * margin) + (ridge * at.square()).sum() / 2

    at = torch.zeros(a.shape[1]).double()
    value = loss(at)
    for _ in range(_STEPS):
        chance = torch.sigmoid(a @ at)
        gradient = a.T @ (share * (chance - y)) + ridge * at
        if gradient.abs().max() < _ENOUGH:
            break
        hessian = (a.T * (share * chance * (1 - chance))) @ a + torch.diag(ridge)
        # The intercept alone has no ridge: far out, the loss is flat along it.
        hessian[-1, -1] += torch.finfo(torch.float64).tiny
        step, size = torch.linalg.solve(hessian, gradient), 1.0
        for _ in range(_HALVINGS):
            if loss(at - size * step) < value:
                break
            size /= 2
        else:
            break
        at = at - size * step
        value = loss(at)
    return at[:-1], at[-1]


def right(probe: LinearProbe, samples: Tensor, positive: bool) -> int:
    """Return how many samples [n, variables] of one side a probe takes for it."""
    odds = probe(samples)
    return int((odds > 0).sum() if positive else (odds <= 0).sum())


def chance(right: tuple[int, int], counts: tuple[int, int]) -> float:
    """Return the probability that at least as many samples of either side are told right by chance.

    It is that of Fisher's exact test, one-sided: the same samples, and as many of them taken for the first side.
    """
    of, others = counts
    taken = right[0] + others - right[1]
    total = math.comb(of + others, taken)
    ways = (math.comb(of, hits) * math.comb(others, taken - hits) for hits in range(right[0], min(of, taken) + 1))
    return sum(ways) / total
