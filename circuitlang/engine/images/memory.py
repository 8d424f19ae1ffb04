"""Images that are objects in memory: tensors, arrays, PIL images, paths, data sets and loaders of them.

A floating-point tensor is a network input as it is. PIL images and files are resized, cropped and normalised as the
network takes them. A set is one or the other.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from circuitlang.base.diagnostics import Finding, InputError, listing
from circuitlang.engine.images import preprocessing
from circuitlang.engine.images.decoding import decode
from circuitlang.engine.images.file_patterns import not_held
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.images.transformation import transformed
from circuitlang.plan.model import MEMORY, Choice, Images, digest
from circuitlang.plugins.preprocess import Preprocess

# An image, or an image with a label and whatever else a data set gives, which is left out.
Item: TypeAlias = Any
# [channels, height, width] of an image, or a PIL image, as a transformation of torchvision takes and gives it.
Transform: TypeAlias = Callable[[Any], Tensor]
_CURE = "give float tensors [N, C, H, W] as the network takes them, or a list of PIL images or paths"


@dataclass(frozen=True)
class StandardisedInput(Preprocess):
    """Network inputs that are used as they are, and have values of about -2 to 2 instead of 0 to 1."""

    @property
    def unit_scale(self) -> bool:
        """False: values are shown to people from two standard deviations below the mean to two above."""
        return False


@dataclass(frozen=True)
class MemoryImages:
    """The images of a set by name. `inputs` [C, H, W] are network inputs; without them, `raw` are images to prepare."""

    names: tuple[str, ...]
    inputs: tuple[NDArray[np.float32], ...] = ()
    raw: tuple[bytes, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width of network inputs; None for images that have to be prepared."""
        if not self.inputs:
            return None
        channels, height, width = self.inputs[0].shape
        return channels, height, width

    def input_preprocess(self) -> Preprocess:
        """Return the preprocessing of network inputs, which leaves their values as they are."""
        assert self.shape is not None
        channels, side, _ = self.shape
        low = min(float(values.min()) for values in self.inputs)
        high = max(float(values.max()) for values in self.inputs)
        kind = Preprocess if 0 <= low <= high <= 1 else StandardisedInput
        return kind(side, side, (0.0,) * channels, (1.0,) * channels)


def collect(name: str, images: Item, transform: Transform | None = None) -> MemoryImages:
    """Return the images of an object; each is transformed first, if there is a transformation.

    Raises InputError for objects that are no images, and for images of several kinds or sizes.
    """
    names: list[str] = []
    inputs: list[NDArray[np.float32]] = []
    raw: list[bytes] = []
    for index, item in enumerate(_items(name, images)):
        image = transform(_opened(item)) if transform else item
        label = Path(image).name if isinstance(image, (str, Path)) else f"{name}[{index}]"
        names.append(label)
        if isinstance(image, (Tensor, np.ndarray)):
            inputs.append(_input(image, label))
        elif isinstance(image, Image.Image):
            raw.append(_encoded(image))
        elif isinstance(image, (str, Path)):
            raw.append(_read(Path(image)))
        else:
            raise _unfit(f"{label} is no image", f"it is a {type(image).__name__}")
    if not names:
        raise InputError(Finding("E301", f"there are no images in '{name}'", None, "the object is empty"))
    if inputs and raw:
        raise _unfit(f"'{name}' mixes tensors and images", "tensors are network inputs, images are prepared for it")
    if len(shapes := {values.shape for values in inputs}) > 1:
        sizes = listing([" x ".join(map(str, shape)) for shape in sorted(shapes)], limit=4)
        raise _unfit(f"the tensors of '{name}' have several shapes", f"they are {sizes}")
    return MemoryImages(tuple(names), tuple(inputs), tuple(raw))


def memory_set(images: Images, held: Mapping[str, MemoryImages], preprocess: Preprocess) -> ImageSet:
    """Return a set of a plan that consists of images in memory, without its exceptions. Raises InputError."""
    sets = [_image_set(_held(pattern, held), preprocess) for pattern in images.include]
    whole = sets[0]
    for other in sets[1:]:
        whole = _joined(whole, other)
    for patterns in images.exceptions:
        taken = {image for pattern in patterns for image in _image_set(_held(pattern, held), preprocess).digests}
        kept = [number for number, image in enumerate(whole.digests) if image not in taken]
        if len(kept) == len(whole):
            message = f"'except {listing([pattern.removeprefix(MEMORY) for pattern in patterns])}' takes nothing away"
            raise InputError(Finding("E301", message, None, "", "leave it out"))
        if not kept:
            raise InputError(Finding("E301", "no images are left", None, "'except' takes away all of them"))
        whole = whole.take(kept)
    if images.limit is not None and images.limit < len(whole):
        whole = whole.take(sorted(Random(images.seed).sample(range(len(whole)), images.limit)))
    return _transformed(whole, images.transformed) if images.transformed else whole


def _transformed(images: ImageSet, transforms: Sequence[Choice]) -> ImageSet:
    if isinstance(images.preprocess, StandardisedInput) or images.prepared[0].dtype != np.uint8:
        label = "they are the network's inputs: transform them before, or pass images"
        raise _unfit("tensors can't be transformed", label)
    contents = zip(images.prepared, images.digests, strict=True)
    prepared = tuple(transformed(image, transforms, content) for image, content in contents)
    return replace(images, prepared=prepared).known_as(transforms)


def _held(pattern: str, held: Mapping[str, MemoryImages]) -> MemoryImages:
    name = pattern.removeprefix(MEMORY)
    if pattern.startswith(MEMORY) and name in held:
        return held[name]
    if not pattern.startswith(MEMORY):
        message = f"'{pattern}' are files, which can't be joined with images in memory"
        raise InputError(Finding("E301", message, None, "", "pass their paths to images= as well"))
    raise not_held(pattern)


def _image_set(images: MemoryImages, preprocess: Preprocess) -> ImageSet:
    paths = tuple(map(Path, images.names))
    if not images.inputs:
        prepared, digests = [], []
        for name, content in zip(images.names, images.raw, strict=True):
            try:
                prepared.append(preprocessing.read(preprocess, content))
            except ValueError as error:
                raise InputError(Finding("E303", f"{name} can't be used", None, str(error))) from None
            digests.append(digest(content))
        return ImageSet(paths, tuple(digests), preprocess, tuple(prepared))
    assert images.shape is not None
    channels, height, width = images.shape
    if (channels, height, width) != (preprocess.channels, preprocess.crop, preprocess.crop):
        wanted = f"{preprocess.channels} x {preprocess.crop} x {preprocess.crop}"
        raise _unfit(f"tensors of {channels} x {height} x {width} for a network of {wanted}", "[C, H, W] of each image")
    digests = [digest(b"input %r" % (values.shape,) + values.tobytes()) for values in images.inputs]
    arrays = tuple(values.transpose(1, 2, 0) for values in images.inputs)
    return ImageSet(paths, tuple(digests), images.input_preprocess(), arrays)


def _joined(one: ImageSet, other: ImageSet) -> ImageSet:
    if one.preprocess != other.preprocess:
        raise _unfit("sets of tensors and of images can't be joined", "they are prepared in two ways")
    new = [number for number, image in enumerate(other.digests) if image not in one.digests]
    if not new:
        return one
    more = other.take(new)
    return ImageSet(one.paths + more.paths, one.digests + more.digests, one.preprocess, one.prepared + more.prepared)


def _items(name: str, images: Item) -> Iterator[Item]:
    """Yield single images: rows of tensors, of batches that a loader gives, or items without their labels."""
    if isinstance(images, (str, Path, Image.Image)):
        yield images
    elif isinstance(images, (Tensor, np.ndarray)):
        if images.ndim not in (3, 4):
            raise _unfit(f"'{name}' has {images.ndim} dimensions", "images have [N, C, H, W]")
        yield from images if images.ndim == 4 else [images]
    elif hasattr(images, "__len__") and hasattr(images, "__getitem__") and not isinstance(images, Mapping):
        # Data sets end by their length; not all of them raise IndexError behind it.
        yield from (_without_label(images[index]) for index in range(len(images)))
    elif isinstance(images, Iterable) and not isinstance(images, Mapping):
        for batch in map(_without_label, images):
            yield from batch if isinstance(batch, Tensor) and batch.ndim == 4 else [batch]
    else:
        raise _unfit(f"'{name}' are no images", f"it is a {type(images).__name__}")


def _without_label(item: Item) -> Item:
    return item[0] if isinstance(item, (tuple, list)) and item else item


def _opened(item: Item) -> Item:
    """Return the image of a path as PIL has it, for a transformation; other objects as they are."""
    if not isinstance(item, (str, Path)):
        return item
    try:
        return next(iter(decode(_read(Path(item)))))
    except ValueError as error:
        raise InputError(Finding("E303", f"{item} can't be read", None, str(error))) from None


def _read(path: Path) -> bytes:
    from circuitlang.base.source import read_bytes
    from circuitlang.engine.images.image_set import LARGEST

    try:
        return read_bytes(path, LARGEST)
    except (OSError, ValueError) as error:
        raise InputError(Finding("E303", f"{path} can't be read", None, str(error))) from None


def _input(image: Tensor | NDArray[Any], name: str) -> NDArray[np.float32]:
    tensor = torch.as_tensor(image).detach().cpu()
    if tensor.ndim != 3:
        raise _unfit(f"{name} has {tensor.ndim} dimensions", "an image has [C, H, W]")
    if not tensor.is_floating_point():
        label = f"its values are {str(tensor.dtype).removeprefix('torch.')}, and network inputs are floats"
        raise _unfit(f"{name} is no network input", label)
    if tensor.shape[1] != tensor.shape[2]:
        label = f"it is {tensor.shape[1]} x {tensor.shape[2]}: crop or resize it"
        raise _unfit(f"{name} is not square", label)
    # A copy: the object may be changed while circuits are computed.
    values = np.array(tensor.float().numpy())
    if not np.isfinite(values).all():
        raise InputError(Finding("E303", f"{name} has values that are infinite or not numbers"))
    return values


def _encoded(image: Image.Image) -> bytes:
    """Return a PIL image as the content of a PNG file, without loss."""
    if image.mode not in ("1", "L", "LA", "RGB", "RGBA", "P", "I;16"):
        image = image.convert("RGB")
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def _unfit(message: str, label: str) -> InputError:
    return InputError(Finding("E316", message, None, label, _CURE))
