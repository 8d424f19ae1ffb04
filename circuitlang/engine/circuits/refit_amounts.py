"""Amounts of work of a refit, which the forecast of a run asks for without torch."""

from __future__ import annotations

# The most images that layers are refitted on; all of them are in memory at once.
REFITTED = 64
# The most images that gains are trained on; all of them are in memory at once.
TRAINED = 1024


def training_forwards(passes: int) -> int:
    """Return the number of forward passes beside those of the training of gains itself.

    They are of the network, for each pass and twice more, of two starts, and of the trained circuit.
    """
    return passes + 5


# The passes in which the constants of optimal ablation are trained.
OPTIMAL_PASSES = 32
