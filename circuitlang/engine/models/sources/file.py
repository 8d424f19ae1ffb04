from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.programs.aten_import import network
from circuitlang.engine.programs.pt2_reader import read_program
from circuitlang.plan.preprocessing import unsuitable
from circuitlang.plugins.loaded_model import LoadedModel
from circuitlang.plugins.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from circuitlang.plugins.protocols import model_source


@model_source
def file(name: str, arguments: Mapping[str, Any], locate: Callable[[str], Path]) -> LoadedModel:
    """A program of torch.export, weights and graph without any Python: `file("net.pt2")`.

    It is what `torch.export.save(torch.export.export(model.eval(), (images,)), "net.pt2")` wrote, and is read without
    running anything. Images get the size of `images` and ImageNet's mean and std, where the statement gives no other;
    mean and std are 0 and 1 where `images` has another number of channels than three. Those of a circuit's `module.pt2`
    are prepared as they were for the circuit.
    """
    if arguments:
        label = "weights and graph are in the file; it takes resize, crop, mean and std"
        raise InputError(Finding("E105", f"file has no parameter '{min(arguments)}'", None, label))
    path = locate(name)
    program = read_program(path)
    module = network(program)
    channels, height, width = program.sizes[program.image][1:]
    size = height if isinstance(height, int) else 224
    if height != width:
        message = f"the program takes images of {height} x {width} pixels, not square ones"
        raise InputError(Finding("E308", message, None, "", "export it for square images"))
    count = channels if isinstance(channels, int) else 3
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if count == 3 else ((0.0,) * count, (1.0,) * count)
    usual = Preprocess(size, size, mean, std)
    preprocess = _stored(program.preprocess, usual, name) if program.preprocess else usual
    return LoadedModel(module, preprocess, files=(path,))


def _stored(content: bytes, usual: Preprocess, name: str) -> Preprocess:
    """Return the preprocessing that the program itself specifies."""
    size = usual.crop
    try:
        preprocess = msgspec.json.decode(content, type=Preprocess)
        # Larger images would fill memory, by malice or by mistake.
        if preprocess.crop != size or not size <= preprocess.resize <= 16 * size:
            raise ValueError(f"resize={preprocess.resize}, crop={preprocess.crop} for images of {size} pixels")
        for word, values in (("mean", preprocess.mean), ("std", preprocess.std)):
            if len(values) != usual.channels or unsuitable(word, values):
                raise ValueError(f"{word} is not a number for each of {usual.channels} channels")
    except (msgspec.DecodeError, ValueError) as error:
        message = f"'{name}' says wrongly how images are prepared"
        raise InputError(Finding("E306", message, None, str(error), "write the file again")) from None
    return preprocess
