"""The words of the language, explained: statements, clauses, and the values of clauses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from circuitlang.base.diagnostics import listing
from circuitlang.plan.clauses import EDIT, IMAGES, PRESERVE, Clause


class Word(NamedTuple):
    """A word: its kind, its meaning in a sentence, and an example."""

    kind: str
    meaning: str
    example: str


_STATEMENTS = {
    "model": ("The network. Without this statement, it is the bundled one.", "model resnet18"),
    "images": ("Name an image set: a pattern, or a list of patterns and names.", "images dogs = images/dogs/*"),
    "target": ("Name a target: a channel, a class or a weighted sum.", "target ear = 0.7*conv5:3 - 0.3*conv5:12"),
    "defaults": ("Clauses of all circuits that don't have their own.", "defaults keep<=10% criterion=greedy"),
    "preserve": ("Find a circuit that preserves a target on images.", "preserve conv5:34 on images/dogs/* keep<=10%"),
    "split": ("Group images by the kernels that they use, with a circuit for each group.",
              "split conv5:34 on images/dogs/* into 2 keep<=10%"),
    "circuit": ("Name a circuit, for its folder, `compare` and `expect`.",
                "circuit face = preserve conv5:34 on images/dogs/* keep<=10%"),
    "edit": ("Scale or patch a part of the network, and measure what becomes of features and classes.",
             "edit lesion = conv4:[3, 8] scale=0 on images/dogs/* measure conv5:34, classes"),
    "compare": ("Compare the kernels and maps of circuits.", "compare face, ear"),
    "expect": ("Fail the run if a measurement doesn't hold.", "expect face.pearson >= 0.9"),
    "include": ("Use the image sets and targets of another file.", 'include "shared.circuit" as shared'),
    "label": ("Name a channel in diagrams and reports; nothing that is computed depends on it.",
              'label conv4:3 "snout"'),
    "group": ("Draw several channels of a layer as one node, which opens.", 'group "dog face" = conv4:[3, 8]'),
}  # fmt: skip
_CLAUSES = {
    "sparsity": "Keep at most this share of the relevant kernels. `keep` and `sparsity` mean the same.",
    "kernels": "Keep at most this many kernels.",
    "criterion": "The rule that scores kernels; `circuitlang criteria` lists them.",
    "ablation": "The constant that removed kernels put out.",
    "calibrate": "Refit what is kept, so that the circuit's outputs come nearer to the network's.",
    "refill": "Replace kept kernels that are not connected by the next best that are.",
    "structure": "The unit that is removed.",
    "holdout": "The share of the images that is only measured on.",
    "test": "Images to measure on, in place of a holdout.",
    "contrast": "Images that the circuit is to be specific against.",
    "also": "Images to measure on besides: a set or a list of sets, such as transformed ones.",
    "tests": "Test what a circuit claims: `none`, `all`, a test or a list; `circuitlang criteria` lists them.",
    "robust": "Measure the circuit under other ablations: `none`, `all`, one or a list.",
    "within": "Find the circuit among the kernels of another circuit of the same feature; sizes are shares of these.",
    "stable": "Keep only kernels that this share of circuits of other images has; see `tests=stability`.",
    "seed": "The seed of every random choice.",
    "scale": "The factor of the edited kernels or channels; 0 removes them.",
    "patch": "Images that the edited kernels or channels are taken from, the first for the first, and so on.",
    "limit": "Draw at most this many images of the set.",
}
_VALUES = {
    "none": ("`calibrate=none` refits nothing, `refill=none` replaces nothing, `tests=none` tests nothing, and "
             "`weights=none` has random weights.",
             "preserve conv5:34 on images/dogs/* keep<=10% refill=none"),
    "bias": ("Refit the bias of each channel.", "calibrate=bias"),
    "kernels": ("Refit a gain of each kernel and the bias of each channel.", "calibrate=kernels"),
    "affine": ("Refit a scale and the bias of each channel.", "calibrate=affine"),
    "live": ("Replace kernels that are not connected.", "refill=live"),
    "kernel": ("Remove kernels, one by one.", "structure=kernel"),
    "weight": ("Remove single weights.", "structure=weight"),
    "zero": ("Removed kernels put out nothing.", "ablation=zero"),
    "mean": ("Removed kernels put out their mean over the images.", "ablation=mean"),
    "resample": ("Removed kernels put out what they do for another image.", "robust=resample"),
    "optimal": ("Removed kernels put out the constants that keep the target best.", "robust=optimal"),
    "blur": ("Removed kernels put out what they do for the blurred image.", "robust=blur"),
    "all": ("Run every test of a circuit that there is.", "tests=all"),
    "channel": ("Remove whole channels.", "structure=channel"),
}  # fmt: skip
_KEYWORDS = {
    "on": ("What follows are the images.", "preserve conv5:34 on images/dogs/* keep<=10%"),
    "except": ("Leave images out of a set.", "preserve conv5:34 on images/dogs/* except images/dogs/1.png keep<=10%"),
    "measure": (
        "The targets that are measured in the edited network.",
        "edit lesion = conv4:3 scale=0 on images/dogs/* measure conv5:34",
    ),
    "classes": (
        "The table of classes: those that an edit changes most.",
        "edit lesion = conv4:3 scale=0 on images/dogs/* measure classes",
    ),
    "change": (
        "The change of the mean response that an edit makes, as a share of it.",
        "expect lesion[conv5:34].change <= -0.5",
    ),
    "before": ("The mean response of a target without an edit.", "expect lesion[conv5:34].before >= 0.1"),
    "after": ("The mean response of a target with an edit.", "expect lesion[conv5:34].after <= 0.1"),
    "same_top": ("The share of images whose top class an edit leaves as it is.", "expect lesion.same_top >= 0.9"),
    "into": ("The number of parts of a split.", "split conv5:34 on images/dogs/* into auto keep<=10%"),
    "auto": ("As many parts as the images have clusters.", "split conv5:34 on images/dogs/* into auto keep<=10%"),
    "each": ("A circuit for each of several values.", "preserve conv5:34 on images/dogs/* keep<=each(1%, 10%)"),
    "joint": ("Several channels as one target.", "preserve conv5:joint(3, 7) on images/dogs/* keep<=10%"),
    "class": ("The output of a class, by its number or name.", "preserve class(7) on images/dogs/* keep<=10%"),
    "vector": (
        "A direction from a file, .safetensors or .npy.",
        'preserve vector("sae.safetensors", row=17) in conv5 on images/dogs/* keep<=10%',
    ),
    "concept": (
        "The direction of a layer that tells images from others, by a linear probe.",
        "preserve concept(images/dogs/* against images/cats/*) in conv5 on images/dogs/* keep<=10%",
    ),
    "against": (
        "The images that those of a concept are told from.",
        "preserve concept(images/dogs/* against images/cats/*) in conv5 on images/dogs/* keep<=10%",
    ),
    "penalty": (
        "The weight of the L2 penalty of a concept's probe.",
        "preserve concept(images/dogs/* against images/cats/*, penalty=1) in conv5 on images/dogs/* keep<=10%",
    ),
    "probe_accuracy": (
        "The share of held-out images that the probe of a concept tells right.",
        "expect face.probe_accuracy >= 0.8",
    ),
    "probe_p": ("The probability that a concept's probe is as good by chance.", "expect face.probe_p <= 0.01"),
    "in": (
        "The layer of a direction from a file, or of a concept.",
        'preserve vector("sae.safetensors", row=17) in conv5 on images/dogs/* keep<=10%',
    ),
    "center": ("The middle position of a map.", "preserve conv5:34@center on images/dogs/* keep<=10%"),
    "max": ("The position of the largest response of each image.", "preserve conv5:34@max on images/dogs/* keep<=10%"),
    "as": ("A transform of the images, or the prefix of included names.", "images grey = images/dogs/* as grey"),
    "low": ("The lower end of a 95% interval.", "expect face.pearson.low >= 0.5"),
    "high": ("The upper end of a 95% interval.", "expect face.error.high <= 0.5"),
    "train": ("Measured on the images that the circuit was found on.", "expect face.train.pearson >= 0.9"),
    "test": ("Measured on held-out images.", "expect face.test.pearson >= 0.9"),
    "without": ("Measured of the network with the circuit ablated.", "expect face.without.error >= 0.5"),
}


def words() -> Mapping[str, tuple[Word, ...]]:
    """Return every word of the language with its meanings."""
    meanings: dict[str, list[Word]] = {}
    for kind, table in (("statement", _STATEMENTS), ("word", _KEYWORDS), ("value", _VALUES)):
        for name, (meaning, example) in table.items():
            meanings.setdefault(name, []).append(Word(kind, meaning, example))
    for clause in {**IMAGES, **PRESERVE, **EDIT}.values():
        for name in filter(None, (clause.alias, clause.name)):
            meanings.setdefault(name, []).append(_clause(clause))
    return {name: tuple(entries) for name, entries in meanings.items()}


def _clause(clause: Clause) -> Word:
    meaning = _CLAUSES.get(clause.name, "")
    if clause.words:
        meaning += f" One of {listing(clause.words, 'or')}."
    if clause.kind in ("tests", "words"):
        meaning += " The default is none."
    elif clause.name in PRESERVE and clause.default not in (None, []):
        meaning += f" The default is {clause.default}."
    return Word("clause", meaning.strip(), clause.example)
