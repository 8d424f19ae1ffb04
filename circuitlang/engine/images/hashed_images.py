"""Sets of images as far as identities follow from them: their files and hashes, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TypeVar

from circuitlang.engine.cache.tensor_cache import outside
from circuitlang.plan.model import Choice, digest

I = TypeVar("I", bound="HashedImages")  # noqa: E741


@dataclass(frozen=True)
class HashedImages:
    """A set of readable images.

    `digests[i]` is the hash of the file at `paths[i]`, or, if images are transformed, of that hash and the transforms.
    """

    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    # The hashes of the files, where images are transformed.
    files: tuple[str, ...] = field(default=(), kw_only=True)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def digest(self) -> str:
        """A hash of the contents of the images, in order and with repetitions, wherever their files are."""
        return digest("\n".join(self.digests).encode())

    @property
    def contents(self) -> tuple[str, ...]:
        """The hash of each image's file, however the image is transformed."""
        return self.files or self.digests

    def known_as(self: I, transforms: Sequence[Choice]) -> I:
        """Return the images as known by the hashes of their files, and by transforms."""
        if not transforms:
            return self
        digests = tuple(identity(content, transforms) for content in self.contents)
        return replace(self, digests=digests, files=self.contents)

    def take(self: I, indices: Sequence[int]) -> I:
        """Return the images at some indices as a set."""
        return replace(
            self,
            paths=tuple(self.paths[i] for i in indices),
            digests=tuple(self.digests[i] for i in indices),
            files=tuple(self.files[i] for i in indices) if self.files else (),
        )

    def split(self: I, share: float, seed: int) -> tuple[I, I | None]:
        """Return the set without a share that is held out, and that share, drawn by `seed`; at least one image each.

        Copies of one image stay together, or the held-out part would hold nothing out.
        """
        groups = sorted(set(self.contents))
        count = held_out(share, len(groups))
        if count == 0:
            return self, None
        out = set(Random(seed).sample(groups, count))
        held = [index for index, content in enumerate(self.contents) if content in out]
        kept = [index for index, content in enumerate(self.contents) if content not in out]
        return self.take(kept), self.take(held)

    def blocks(self: I, most: int, seed: int) -> list[I]:
        """Return the set in at most so many blocks of equally many images, except the last, drawn by `seed`.

        Copies of one image are in one block. As many images as blocks, or fewer, are a block each, in order of content.
        """
        groups = sorted(set(self.contents))
        size = -(-len(groups) // most)
        if size > 1:
            Random(seed).shuffle(groups)
        block = {content: number // size for number, content in enumerate(groups)}
        members: list[list[int]] = [[] for _ in range(-(-len(groups) // size))]
        for index, content in enumerate(self.contents):
            members[block[content]].append(index)
        return [self.take(indices) for indices in members]

    def without(self: I, digests: Sequence[str]) -> I:
        """Return the images whose hashes are not among some."""
        own = set(digests)
        return self.take([number for number, content in enumerate(self.digests) if content not in own])

    def of_other_files(self: I, others: HashedImages) -> I:
        """Return the images that are of other files than some, however either are transformed."""
        own = set(others.contents)
        return self.take([number for number, content in enumerate(self.contents) if content not in own])


def identity(content: str, transforms: Sequence[Choice]) -> str:
    """Return the hash of an image after some transforms, by that of its file."""
    text = "".join(f" as {choice}" for choice in transforms)
    return digest(f"{content}{text}{outside([choice.name for choice in transforms])}".encode()) if text else content


def held_out(share: float, count: int) -> int:
    """Return how many of `count` different images are held out: a share, but at least one on each side if possible."""
    return max(min(max(round(share * count), 1), count - 1), 0) if share else 0
