"""Cures of unknown clauses and values: other words for them, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping

from circuitlang.compiler import syntax
from circuitlang.plan.clauses import IMAGES, PRESERVE, Clause

# Other words for a clause, and the clause as it is written, with its relation.
_CLAUSES = {
    **dict.fromkeys(
        ("method", "algorithm", "attribution", "score", "scoring", "scores", "saliency", "pruner", "strategy", "rule",
         "ranking", "importance"), "criterion="),
    **dict.fromkeys(
        ("size", "density", "ratio", "amount", "fraction", "percent", "percentage", "share", "keep_ratio", "kept",
         "proportion"), "keep<="),
    **dict.fromkeys(
        ("edges", "connections", "budget", "count", "top", "topk", "top_k", "k", "number", "max_kernels", "num_kernels",
         "n_kernels"), "kernels<="),
    **dict.fromkeys(
        ("fidelity", "accuracy", "similarity", "r", "corr", "quality", "faithfulness", "preserved"), "pearson>="),
    **dict.fromkeys(("loss", "mse", "distance", "difference", "err"), "error<="),
    **dict.fromkeys(("random_state", "rng", "random_seed", "manual_seed"), "seed="),
    **dict.fromkeys(("granularity", "unit", "level", "mode"), "structure="),
    **dict.fromkeys(("refit", "recalibrate", "finetune", "fine_tune", "rescale", "scale"), "calibrate="),
    **dict.fromkeys(("ablate", "replace", "fill_value", "fill", "baseline"), "ablation="),
    **dict.fromkeys(("against", "negative", "negatives", "versus", "vs", "except"), "contrast="),
    **dict.fromkeys(("inside", "among", "parent", "subset_of", "part_of", "refine", "refines"), "within="),
    **dict.fromkeys(
        ("split", "validation", "val", "test_size", "held_out", "heldout", "holdout_share", "val_split"), "holdout="),
}  # fmt: skip
# Other words for the clauses of `images`.
_IMAGES = {
    **dict.fromkeys(("max", "n", "count", "first", "number", "num", "size", "samples", "sample", "take"), "limit="),
    **dict.fromkeys(("shuffle", "random", "random_state", "rng"), "seed="),
}
# Settings that are made elsewhere, and the place.
_ELSEWHERE = {
    **dict.fromkeys(("device", "gpu", "cuda", "cpu"), "an option of the command line: run --device NAME"),
    **dict.fromkeys(("batch_size", "batch", "batchsize"), "an option of the command line: run --batch-size N"),
    **dict.fromkeys(("jobs", "workers", "processes", "threads"), "an option of the command line: run --jobs N"),
    **dict.fromkeys(("out", "output", "folder", "save", "save_to"), "an option of the command line: run --out DIR"),
    **dict.fromkeys(
        ("steps", "epochs", "iterations", "passes", "lr", "base"),
        "parameters belong to a criterion, as criterion=force(steps=10)",
    ),
    **dict.fromkeys(("name", "id", "label", "title"), "a name comes first: circuit NAME = preserve ..."),
    **dict.fromkeys(("pruning", "prune", "remove"), "write what is kept: keep<=10% removes 90%"),
    "weights": "to count single weights, write keep<=10% structure=weight",
    "channels": "to remove whole channels, write keep<=10% structure=channel",
    "metric": "write the metric as a clause: pearson>=0.9",
    "images": "the images follow 'on': preserve LAYER:CHANNEL on IMAGES",
    "model": "write a statement of its own: model NAME",
    "into": "only a split has parts: split LAYER:CHANNEL on IMAGES into 2",
}  # fmt: skip
# Other words for the values of clauses.
_VALUES = {
    "calibrate": {"true": "affine", "yes": "affine", "on": "affine", "false": "none", "no": "none", "off": "none",
                  "scale": "affine", "all": "kernels", "offset": "bias", "weights": "kernels"},
    "refill": {"true": "live", "yes": "live", "on": "live", "false": "none", "no": "none", "off": "none"},
    "structure": {"filter": "channel", "filters": "channel", "structured": "channel", "neuron": "channel",
                  "unstructured": "weight", "single": "weight", "edge": "kernel", "edges": "kernel",
                  "connection": "kernel"},
}  # fmt: skip


def clause_cure(clause: syntax.Clause, rules: Mapping[str, Clause]) -> str:
    """Return the help line for a clause of an unknown name; empty if it is no other word for something known."""
    name, value = clause.name.text.lower(), clause.value.span.text
    names = _IMAGES if rules is IMAGES else _CLAUSES
    if name in names:
        written = names[name]
        if name == "shuffle" or (written == "seed=" and not value.isdecimal()):
            return "a limit draws at random already: limit=20 seed=0"
        return f"write {written}{_translated(written.rstrip('<>='), value)}"
    return _ELSEWHERE.get(name, "") if rules is PRESERVE else ""


def value_cure(clause: str, text: str) -> str:
    """Return the help line for a word that a clause doesn't take; empty if it is no other word for one."""
    known = _VALUES.get(clause, {}).get(text.lower())
    return f"write {clause}={known}" if known else ""


def _translated(clause: str, value: str) -> str:
    return _VALUES.get(clause, {}).get(value.lower(), value)
