"""Words → image sets: names, paths and lists of them."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from pathlib import PurePath

from msgspec.structs import replace

from circuitlang.base.diagnostics import Finding, SpecError, did_you_mean, listing
from circuitlang.base.hub_address import is_on_hub
from circuitlang.base.source import resolved
from circuitlang.compiler import syntax, values
from circuitlang.compiler.hub_addresses import check_address
from circuitlang.compiler.limits import MOST
from circuitlang.compiler.placed import PlacedImages
from circuitlang.compiler.scope import Scope
from circuitlang.plan.model import Choice, Images

# File endings of images, and of files of images.
ENDINGS = ("bmp", "gif", "jpeg", "jpg", "parquet", "png", "ppm", "tar", "tgz", "tif", "tiff", "txt", "webp", "zip")


def selection(node: syntax.Selection, scope: Scope) -> PlacedImages | None:
    """Return the images of a selection; None if a set that it names has errors. Raises SpecError."""
    transforms = _transforms(node, scope)
    images = _without_exceptions(node, scope)
    if images is None or not transforms:
        return images
    name = "".join([images.name, *(f" as {transform}" for transform in transforms)])
    before = images.images.transformed
    return PlacedImages(name, replace(images.images, transforms=[*before, *transforms]), node.span)


def _transforms(node: syntax.Selection, scope: Scope) -> list[Choice]:
    """Return the transforms of a selection. Raises SpecError with everything that is wrong with them."""
    transforms: list[Choice] = []
    findings: list[Finding] = []
    for transform in node.transforms:
        try:
            known = scope.vocabulary.transforms
            transforms.append(values.choice(transform.by, "transform", "E129", known, bare=True))
        except SpecError as error:
            findings.extend(error.findings)
    if findings:
        raise SpecError(findings)
    return transforms


def _without_exceptions(node: syntax.Selection, scope: Scope) -> PlacedImages | None:
    """Return the images of a value without those excepted; None if a set that it names has errors. Raises SpecError."""
    images = image_set(node.value, scope)
    if node.excluded is None:
        return images
    excluded = image_set(node.excluded, scope)
    if images is None or excluded is None:
        return None
    if images.images.limit is not None or excluded.images.limit is not None or excluded.images.exclude:
        message = "'except' can't be combined with a set that has a limit, or be said of one that has an 'except'"
        raise SpecError(Finding("E209", message, node.span))
    if excluded.images.transformed:
        message = "transformed images can't be excepted"
        raise SpecError(Finding("E209", message, node.span))
    name = f"{images.name} except {excluded.name}"
    exceptions = [exception[0] if len(exception) == 1 else exception for exception in _exceptions(node.excluded, scope)]
    return PlacedImages(name, replace(images.images, exclude=exceptions), node.span)


def _exceptions(node: syntax.Value, scope: Scope) -> Iterator[list[str]]:
    """The patterns of each thing that is excepted, of a set all that it has."""
    if isinstance(node, syntax.List):
        for item in node.items:
            yield from _exceptions(item, scope)
    elif (placed := image_set(node, scope)) is not None:
        yield placed.images.include


def image_set(node: syntax.Value, scope: Scope) -> PlacedImages | None:
    """The images a single value stands for: a name, a pattern, or a list of both."""
    match node:
        case syntax.Name(text=name):
            if name not in scope.sets and scope.may_be_defined_elsewhere(name):
                return None
            if name not in scope.sets:
                known = sorted(word for word, images in scope.sets.items() if images is not None)
                own = [word for word in known if word not in scope.vocabulary.images]
                label = f"image sets: {listing(own)}" if own else "no image set is defined"
                path = (
                    f'a file is a path: write ./{name} or "{name}"' if _a_file(name) else f"a path has a '/': {name}/*"
                )
                cure = did_you_mean(name, known, path)
                raise SpecError(Finding("E101", f"unknown image set '{name}'", node.span, label, cure))
            return scope.sets[name]
        case syntax.Path(text=text) if text.startswith("'") and text.endswith("'") and len(text) > 2:
            cure = f'write "{text[1:-1]}", or the path without quotes'
            raise SpecError(
                Finding("E005", "single quotes are not expected here", node.span, "quotes are double", cure)
            )
        case syntax.Path(text=text) | syntax.String(text=text):
            check_address(text, node)
            return PlacedImages(text, Images([_from(scope, node, text)]), node.span)
        case syntax.List():
            return _union(node, scope)
    raise values.wrong(node, "images", "a path such as images/dogs/*, or the name of an image set")


def _a_file(name: str) -> bool:
    """Return whether a word looks like the name of an image: `one.jpg` is a word, and `./one.jpg` a path."""
    return name.rpartition(".")[2].lower() in ENDINGS and "." in name


def _union(node: syntax.List, scope: Scope) -> PlacedImages | None:
    if not node.items:
        raise SpecError(Finding("E301", "no images are listed", node.span, "an empty list"))
    parts = [image_set(item, scope) for item in node.items]
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        return None
    for part, item in zip(whole, node.items, strict=True):
        if part.images.limit is not None or part.images.exclude or part.images.transformed:
            message = "a set with 'except', 'limit' or 'as' can't be part of another"
            raise SpecError(Finding("E209", message, item.span, f"'{part.name}' has its own selection"))
    # Sets of sets can double at each step: counted before they are joined.
    if sum(len(part.images.include) for part in whole) > MOST:
        raise SpecError(Finding("E211", f"this lists more than {MOST:,} patterns", node.span, "", "use wildcards"))
    name = ", ".join(part.name for part in whole)
    patterns = [pattern for part in whole for pattern in part.images.include]
    return PlacedImages(f"[{name}]", Images(patterns), node.span)


def _from(scope: Scope, node: syntax.Node, pattern: str) -> str:
    """Return a pattern of an included file as the spec would write it."""
    folder = node.span.source.folder
    if folder == scope.folder or "\0" in pattern or is_on_hub(pattern):
        return pattern
    short = PurePath(os.path.relpath(folder, scope.folder))
    # Behind a link `..` leads elsewhere than where one came from.
    if resolved(scope.folder / short) != resolved(folder):
        short = PurePath(folder.relative_to(scope.folder) if folder.is_relative_to(scope.folder) else folder.absolute())
    written = (short / pattern).as_posix()
    return f"{written}/" if pattern.endswith("/") else written
