import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch import nn

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean
from circuitlang.engine.device import on_meta_device
from circuitlang.engine.models.checkpoint_reader import exists
from circuitlang.engine.models.construction import class_names, filled, options_of, said, said_last
from circuitlang.engine.models.sandbox import materialised, private_copy
from circuitlang.engine.models.weights import seeded, single
from circuitlang.plugins.loaded_model import LoadedModel, PathResolver
from circuitlang.plugins.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from circuitlang.plugins.protocols import model_source


@model_source
def python(name: str, arguments: Mapping[str, Any], locate: PathResolver) -> LoadedModel:
    """A function of your own that returns a module: `python("my_net.py:build", weights="net.safetensors")`.

    It runs the file, and so only where the command line says `--allow-code`. `weights` is a file of weights, or `none`,
    as by default, for those the function leaves; other arguments go to the function. Images are 224 x 224 with
    ImageNet's mean and std, where the statement gives no other; they are 0 and 1 where the network takes another number
    of channels than three.
    """
    file, _, function = name.rpartition(":")
    if not file or not function.isidentifier():
        label = 'a file and a function of it, as "my_net.py:build"'
        raise InputError(Finding("E109", f"'{name}' is not the name of a function", None, label))
    if not locate.allow_code:
        label, cure = "it runs the code of that file", "read the file; if you trust it, add --allow-code"
        raise InputError(Finding("E313", f"'{name}' is refused", None, label, cure))
    path = locate(file)
    if not exists(path):
        raise InputError(Finding("E304", f"there is no file '{path.name}'", None, f"in {path.parent.absolute()}"))
    options, wanted = options_of(arguments), said(arguments, "weights", "none")
    with torch.device("cpu"):
        module = _build(path, function, options)
    module = _complete(module, locate, path)
    module = single(module, "meta") if on_meta_device() else module
    preprocess = Preprocess(224, 224, IMAGENET_MEAN, IMAGENET_STD)
    if wanted == "none":
        return LoadedModel(module, preprocess)
    # The function may have given a network that is used elsewhere.
    module = module if on_meta_device() else private_copy(module)
    checkpoint, notes = filled(module, locate(wanted), arguments)
    return LoadedModel(module, preprocess, class_names(checkpoint), checkpoint.name, notes=notes)


def _build(path: Path, function: str, options: Mapping[str, Any]) -> nn.Module:
    """Return the module that the user's function builds; whatever it raises becomes a finding."""
    try:
        # The code's own output is not the result of the command.
        with _importing(path.parent), seeded(), redirect_stdout(sys.stderr):
            names = _execute(path)
            if callable(names.get(function)):
                built = names[function](**options)
    except (Exception, SystemExit) as error:
        raise _failed(error, path, function) from None
    if not callable(names.get(function)):
        known = sorted(word for word, value in names.items() if callable(value) and not word.startswith("_"))
        cure = did_you_mean(function, known)
        raise InputError(Finding("E307", f"'{path.name}' has no function '{function}'", None, "", cure))
    if not isinstance(built, nn.Module):
        label, cure = f"but a {type(built).__name__}", "return a torch.nn.Module"
        raise InputError(Finding("E307", f"'{function}' of {path.name} returns no module", None, label, cure))
    return built


def _complete(module: nn.Module, locate: PathResolver, path: Path) -> nn.Module:
    """The module with weights in layers that wait for images for them, as LazyConv2d does."""
    try:
        return materialised(module, torch.zeros(1, *(locate.images or (3, 224, 224)), device="cpu"))
    except Exception as error:  # the user's code may raise anything
        label = "it has layers that are made when it is first called, and this call fails"
        message = f"'{path.name}' builds a network that can't be completed: {said_last(error)}"
        cure = "build it with layers that know their input channels, or say crop= and image_channels="
        raise InputError(Finding("E307", message, None, label, cure)) from None


def _execute(path: Path) -> Mapping[str, Any]:
    """The names that a file defines when it is run."""
    spec = spec_from_file_location(f"_circuitlang_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python file")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return vars(module)


@contextmanager
def _importing(folder: Path) -> Iterator[None]:
    """Make the folder's files importable inside the block, and forget those imported afterwards.

    Another folder may have files of the same names.
    """
    before, place, bytecode = set(sys.modules), str(folder.resolve()), sys.dont_write_bytecode
    sys.path.insert(0, place)
    # Bytecode passes for that of a file which is changed within a second and as long as before.
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = bytecode
        sys.path.remove(place)
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None)
            if origin and folder.resolve() in Path(origin).resolve().parents and "site-packages" not in origin:
                del sys.modules[name]


def _failed(error: BaseException, path: Path, function: str) -> InputError:
    """Return the finding for an error that the user's code raised, with the last place in its file."""
    lines = [
        frame.lineno for frame in extract_tb(error.__traceback__) if Path(frame.filename).resolve() == path.resolve()
    ]
    number = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
    place = f"in line {number} of {path.name}" if number else f"in {path.name}"
    message = f"'{path.name}:{function}' can't be built: {said_last(error)}"
    return InputError(Finding("E307", message, None, place))
