"""State dicts from checkpoints → networks: what PyTorch's `load_state_dict` and torchvision accept, is accepted.

A checkpoint may nest the state dict in other things, and put a prefix before its names. The one state dict that fits
is taken; which, is said in a note; where several fit, the user must say which.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
from circuitlang.engine.device import on_meta_device
from circuitlang.engine.models.checkpoint_reader import Checkpoint

# Modules that hold a network, and put their word into its names wherever they stand.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Names of layers' parts in torchvision's published DenseNets, which may not have a dot any more.
_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.[a-z_]+)")
# Counts of batches that batch norms have seen have no say in evaluation, and weights before PyTorch 0.4.1 lack them.
_COUNTER = "num_batches_tracked"
_DEPTH, _MOST = 8, 10_000


@dataclass(frozen=True)
class StateDict:
    """Some tensors of a checkpoint: the mapping they stand in, the way to it, and the prefix that their names lack."""

    path: tuple[str, ...]
    prefix: str
    tensors: Mapping[str, Tensor]
    versions: Mapping[str, object]
    left: tuple[str, ...]
    unwrapped: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The way to the tensors, as `state` says it; a dot for the file's own names."""
        return ".".join([*self.path, self.prefix.rstrip(".")]).strip(".") or "."

    @property
    def note(self) -> str:
        """A note on where the tensors were found; empty if the file holds nothing else."""
        removed = listing([f"'{prefix}'" for prefix in (self.prefix, *self.unwrapped) if prefix])
        parts = [f"taken from '{'.'.join(self.path)}'"] if self.path else []
        parts += [f"{removed} removed from the names"] if removed else []
        parts += [f"{len(self.left)} other tensors left out, as {self.left[0]}"] if self.left else []
        return ", ".join(parts)


class _Own:
    """The names, shapes and types that a network's own state dict requires."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.state = module.state_dict()
        self.tensors: Mapping[str, Tensor] = {
            key: tensor for key, tensor in self.state.items() if isinstance(tensor, Tensor)
        }
        self.needed = {key for key in self.tensors if not key.endswith(_COUNTER)}
        self.anchor = min(self.needed, key=lambda key: (-key.count("."), key), default="")

    @cached_property
    def words(self) -> set[str]:
        return {word for key in self.tensors for word in key.split(".")}

    def problems(self, state: StateDict) -> str:
        """Return what is missing, superfluous or misshapen; empty if the state dict fits."""
        theirs = state.tensors
        problems = []
        for word, keys in (
            ("missing", self.needed - theirs.keys()),
            ("unexpected", theirs.keys() - self.tensors.keys()),
        ):
            if keys:
                problems.append(f"{word}: {listing(sorted(keys), limit=4)}")
        misshapen = [
            f"{key} is {_shape(theirs[key])}, not {_shape(own)}"
            for key, own in self.tensors.items()
            if key in theirs and not is_lazy(own) and theirs[key].shape != own.shape
        ]
        return "; ".join([*problems, *([listing(misshapen, limit=4)] if misshapen else [])])


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def fill(module: nn.Module, checkpoint: Checkpoint, wanted: str | None = None) -> str:
    """Fill a network, which must be private, with a checkpoint's state dict, or with the one that is wanted; return a
    note of how it was found.

    Raises InputError saying what is missing, too many, misshapen or of the wrong type, or which state dicts there are.
    """
    own = _Own(module)
    candidates = list(_candidates(own, checkpoint))
    if not candidates:
        label = f"it holds {_held(checkpoint.content)}"
        raise InputError(Finding("E306", f"'{checkpoint.name}' holds no state dict", None, label, _ALONE))
    chosen = _named(candidates, wanted, checkpoint.name) if wanted is not None else candidates
    fitting = [candidate for candidate in chosen if not own.problems(candidate)]
    if not fitting:
        return _attempt(own, chosen, checkpoint.name)
    first = fitting[0]
    if any(not _alike(first, candidate) for candidate in fitting[1:]):
        names = [f'"{candidate.name}"' for candidate in fitting]
        message = f"'{checkpoint.name}' holds {len(fitting)} state dicts that fit"
        cure = f"say which in the model statement, as state={names[-1]}"
        raise InputError(Finding("E315", message, None, f"they are {listing(names)}", cure))
    _load(own, first, checkpoint.name)
    return first.note


_ALONE = "save model.state_dict() alone, best as .safetensors"


def _attempt(own: _Own, chosen: list[StateDict], name: str) -> str:
    """Load what fits once the network's own rules for older weights have been applied, if anything does."""
    best = min(
        chosen, key=lambda candidate: (-len(own.tensors.keys() & candidate.tensors.keys()), len(candidate.tensors))
    )
    _load(own, best, name)
    return best.note


def _misfit(own: _Own, state: StateDict, name: str, reason: str = "") -> InputError:
    where = f" (in '{state.name}')" if state.name != "." else ""
    message = f"'{name}'{where} does not fit the model {type(own.module).__name__}"
    return InputError(Finding("E305", message, None, own.problems(state) or reason, "is it of another model?"))


def _named(states: list[StateDict], wanted: str, name: str) -> list[StateDict]:
    """The state dicts of a name, or else those whose name begins or ends with it. Raises InputError for none."""
    rules: tuple[Callable[[StateDict], bool], ...] = (
        lambda candidate: candidate.name == wanted,
        lambda candidate: candidate.name.startswith(f"{wanted}."),
        lambda candidate: candidate.name.endswith(f".{wanted}"),
    )
    for rule in rules:
        if chosen := [candidate for candidate in states if rule(candidate)]:
            return chosen
    names = sorted({candidate.name for candidate in states})
    label = f"there {'is' if len(names) == 1 else 'are'} {listing(names)}" if names != ["."] else "it is one state dict"
    cure = did_you_mean(wanted, names, "leave state= away" if len(names) == 1 else "")
    raise InputError(Finding("E315", f"'{name}' holds no state dict '{wanted}'", None, label, cure))


def _alike(one: StateDict, other: StateDict) -> bool:
    """Return whether two state dicts are the same tensors in memory."""
    return one.tensors.keys() == other.tensors.keys() and all(
        tensor is other.tensors[key]
        or (not tensor.is_meta and tensor.layout == other.tensors[key].layout == torch.strided
            and tensor.data_ptr() == other.tensors[key].data_ptr() and tensor.stride() == other.tensors[key].stride())
        for key, tensor in one.tensors.items()
    )  # fmt: skip


def tensor_names(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield the names of all tensors in a checkpoint, as its mappings have them."""
    for _, _, tensors in _mappings(checkpoint):
        yield from tensors


def _mappings(checkpoint: Checkpoint) -> Iterator[tuple[tuple[str, ...], object, dict[str, Tensor]]]:
    """Yield every mapping in a checkpoint with its path and its tensors."""
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], object]] = [((), checkpoint.content)]
    while waiting and len(seen) < _MOST:
        path, content = waiting.pop(0)
        if not isinstance(content, Mapping) or id(content) in seen or len(path) > _DEPTH:
            continue
        seen.add(id(content))
        entries = dict(content)
        waiting += [((*path, word), entry) for word, entry in entries.items() if isinstance(word, str)]
        yield (
            path,
            content,
            {word: entry for word, entry in entries.items() if isinstance(word, str) and isinstance(entry, Tensor)},
        )


def _candidates(own: _Own, checkpoint: Checkpoint) -> Iterator[StateDict]:
    """Every mapping with tensors in a checkpoint, its names as they are, and without each prefix that could be one."""
    for path, content, tensors in _mappings(checkpoint):
        if tensors:
            versions = getattr(content, "_metadata", None)
            plain = StateDict(path, "", tensors, versions if isinstance(versions, Mapping) else {}, ())
            yield from _variants(own, plain)


def _variants(own: _Own, plain: StateDict) -> Iterator[StateDict]:
    """A state dict as it is, and without wrappers' words and prefixes; the first of those that fit, if any do."""
    unwrapped = _unwrapped(own, plain)
    variants: list[StateDict] = []
    for state in [plain, *([unwrapped] if unwrapped else [])]:
        below = [_below(state, prefix) for prefix in _prefixes(own, state.tensors)]
        fitting = [one for one in below if not own.problems(one)]
        # Weights beside an average of them, whose names begin with a prefix: either may be meant.
        beside = _beside(own, state, tuple(one.prefix for one in fitting))
        variants = [one for one in (beside, *fitting) if not own.problems(one)] or [*variants, state, *below]
        if not own.problems(variants[0]):
            break
    yield from variants


def _beside(own: _Own, state: StateDict, prefixes: tuple[str, ...]) -> StateDict:
    """A state dict less what belongs to others, whose names begin with these prefixes."""
    others = tuple(key for key in state.tensors if prefixes and key.startswith(prefixes) and key not in own.tensors)
    tensors = {key: tensor for key, tensor in state.tensors.items() if key not in others}
    return replace(state, tensors=tensors, left=others)


def _prefixes(own: _Own, names: Iterable[str]) -> list[str]:
    ends = f".{own.anchor}"
    return sorted({name.removesuffix(own.anchor) for name in names if name.endswith(ends)})


def _below(state: StateDict, prefix: str) -> StateDict:
    """The tensors whose names begin with a prefix, without it."""
    tensors = {key.removeprefix(prefix): tensor for key, tensor in state.tensors.items() if key.startswith(prefix)}
    left = tuple(sorted(key for key in state.tensors if not key.startswith(prefix)))
    versions = {
        str(key)[len(prefix) :]: version for key, version in state.versions.items() if f"{key}.".startswith(prefix)
    }
    return StateDict(state.path, prefix, tensors, versions, left, state.unwrapped)


def _unwrapped(own: _Own, state: StateDict) -> StateDict | None:
    """A state dict under the names that the network has today; None where that changes nothing, or two become one."""
    words = _WRAPPERS - own.words
    removed = sorted({f"{word}." for key in state.tensors for word in key.split(".") if word in words})

    def renamed(key: str) -> str:
        plain = ".".join(word for word in str(key).split(".") if word not in words)
        old = _DENSENET.fullmatch(plain)
        return f"{old[1]}{old[2]}" if old and plain not in own.tensors else plain

    tensors = {renamed(key): tensor for key, tensor in state.tensors.items()}
    if len(tensors) < len(state.tensors) or tensors.keys() == state.tensors.keys():
        return None
    versions = {renamed(key): version for key, version in state.versions.items()}
    return StateDict(state.path, "", tensors, versions, (), tuple(removed))


def _load(own: _Own, state: StateDict, name: str) -> None:
    """Fill the network. Raises InputError where types or, after all, names and shapes don't fit."""
    if odd := list(_odd(own, state)):
        message = f"'{name}' has weights that can't be loaded"
        raise InputError(Finding("E305", message, None, listing(odd, limit=4), "save them as float32"))
    tensors = OrderedDict(
        (key, _hollow(tensor) if on_meta_device() else tensor.detach()) for key, tensor in state.tensors.items()
    )
    # Modules read older formats by these versions; without any, a state dict counts as current.
    versions = state.versions or getattr(own.state, "_metadata", {})
    tensors._metadata = versions  # type: ignore[attr-defined]
    try:
        lacking = own.module.load_state_dict(tensors, strict=False)
    except Exception as error:  # modules have rules of their own, which may raise anything
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise _misfit(own, state, name, reason) from None
    if lacking.unexpected_keys or not all(key.endswith(_COUNTER) for key in lacking.missing_keys):
        raise _misfit(own, state, name, f"missing: {lacking.missing_keys}; unexpected: {lacking.unexpected_keys}")


def _hollow(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _odd(own: _Own, state: StateDict) -> Iterator[str]:
    """Return what is wrong with the types of tensors that have the right names."""
    for key, tensor in state.tensors.items():
        wanted = own.tensors.get(key)
        kind = str(tensor.dtype).removeprefix("torch.")
        if tensor.layout != torch.strided or tensor.is_nested:
            yield f"{key} is sparse"
        elif tensor.is_quantized:
            yield f"{key} is quantised"
        elif tensor.is_meta and not on_meta_device():
            yield f"{key} has no content"
        elif wanted is not None and not is_lazy(wanted) and not _converts(tensor.dtype, wanted.dtype):
            yield f"{key} is {kind}, not {str(wanted.dtype).removeprefix('torch.')}"


def _converts(stored: torch.dtype, wanted: torch.dtype) -> bool:
    """Return whether a type can be converted to another: floats to floats, and integers to integers."""
    if wanted in _FLOATS:
        return stored in _FLOATS
    whole = [not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool) for dtype in (stored, wanted)]
    return stored == wanted or all(whole)


def _held(content: object) -> str:
    """Return a short description of a checkpoint without a state dict."""
    if isinstance(content, Mapping):
        words = [str(word)[:40] for word in content]
        odd = [word for word, entry in content.items() if isinstance(entry, Tensor) and not isinstance(word, str)]
        if odd:
            return f"tensors under {odd[0]!r:.40}, which is no name"
        return listing(words, limit=6) if words else "nothing"
    return f"a {type(content).__name__}"
