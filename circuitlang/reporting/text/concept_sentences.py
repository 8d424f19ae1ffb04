"""Sentences about the probe of a concept, for the terminal and for pages."""

from __future__ import annotations

import math

from msgspec import UNSET

from circuitlang.plan.targets import Concept
from circuitlang.results.types import Probe, Summary

# The probability above which as many images may as well be told right by chance.
LEVEL = 0.05


def probe(summary: Summary) -> str:
    """State how well the probe of a concept does on images it wasn't fitted on; empty for other targets."""
    result, target = summary.probe, summary.plan.target
    if result is UNSET or not isinstance(target, Concept):
        return ""
    (of, others), (hits, rejections) = result.held_out, result.right
    shares = f"{hits:,} of {of:,} of {target.images} and {rejections:,} of {others:,} of {target.against}"
    return (
        f"The probe of the concept tells {result.accuracy:.0%} of held-out images right, where chance is 50%: {shares}"
        f" (p={_rounded(result.p)}); of the {sum(result.fitted):,} it was fitted on with penalty={result.penalty:g},"
        f" {result.fitted_accuracy:.0%}."
    )


def row(summary: Summary) -> str:
    """State the same in a few words; empty for other targets."""
    result = summary.probe
    if result is UNSET:
        return ""
    return f"accuracy {result.accuracy:.3f} on {sum(result.held_out):,} held-out images, p={_rounded(result.p)}"


def remark(summary: Summary) -> str:
    """Say in a few words that a concept's probe is no better than chance, or that this can't be told; else empty."""
    if summary.probe is UNSET or summary.probe.p <= LEVEL:
        return ""
    return "probe at chance" if _can_be_told(summary.probe) else "few images for the probe"


def caveat(summary: Summary) -> str:
    """Warn of a probe that is no better than chance; empty where there is none such."""
    result = summary.probe
    if result is UNSET or result.p <= LEVEL:
        return ""
    shares = f"{result.accuracy:.0%} of {sum(result.held_out):,} held-out images are told right, p={_rounded(result.p)}"
    if _can_be_told(result):
        return f"The concept's probe is no better than chance: {shares}. Its direction need not be that of the concept."
    return f"Whether the concept's probe is better than chance can't be told: {shares}. Give more images."


def _can_be_told(probe: Probe) -> bool:
    """Return whether a probe that tells all of as many held-out images right would be better than chance."""
    of, others = probe.held_out
    return 1 / math.comb(of + others, of) <= LEVEL


def _rounded(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.0e}"
