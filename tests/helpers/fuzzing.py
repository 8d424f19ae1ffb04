"""Damaged inputs for the readers, made from a good one: the same for a seed.

A reader must end in a result or in findings. `make test` tries a fixed number of inputs of a fixed seed; the tests
marked `nightly` go on for `MINUTES` each, with a seed of their own that a failure names.
"""

from __future__ import annotations

import copy
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from circuitlang.base.diagnostics import CircuitError

# Of one nightly test; ten of them take an hour.
MINUTES = float(os.environ.get("CIRCUITLANG_FUZZ_MINUTES", "6"))
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "",
    "x", "a" * 300, "../../x", "/", "\x00", "\x1b[31m", "\u202e", "\ud800", "__class__", "'\"(", [], [[]], {}, {"": 0},
    [0] * 1000,
)  # fmt: skip


# How many inputs the readers of each test module were given, and of how many they made a result.
TRIED: Counter[str] = Counter()
READ: Counter[str] = Counter()


def survives(read: Callable[[], object]) -> bool:
    """Whether a reader gave a result. Its findings are fine as well; anything else that it raises is a failure."""
    module = Path(os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[0]).stem
    TRIED[module] += 1
    try:
        read()
    except CircuitError:
        return False
    READ[module] += 1
    return True


def figures(tried: Counter[str], read: Counter[str]) -> Iterator[str]:
    """Yield a line for each module of fuzzing tests."""
    for module, number in sorted(tried.items()):
        if module.startswith("test_fuzz_"):
            results = read[module]
            yield f"{module}: {number:,} inputs, {results:,} results, {number - results:,} refused"


def damaged(content: bytes, number: int, seed: int = 0) -> Iterator[bytes]:
    """Yield `number` versions of a file with flipped, lost, repeated, or foreign bytes in one to four places."""
    dice = random.Random(seed)
    for _ in range(number):
        yield _damaged(bytearray(content), dice)


def _damaged(content: bytearray, dice: random.Random) -> bytes:
    for _ in range(dice.randint(1, 4)):
        start = dice.randrange(len(content) + 1)
        length = min(len(content) - start, dice.choice((1, 1, 2, 4, 8, 64, 4096)))
        kind = dice.randrange(6)
        if kind == 0 and start < len(content):
            content[start] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del content[start : start + length]
        elif kind == 2:
            content[start:start] = content[start : start + length]
        elif kind == 3:
            content[start : start + length] = dice.randbytes(length)
        elif kind == 4:
            content[start : start + length] = dice.choice((b"\x00", b"\xff", b"9", b"-", b"[", b'"')) * length
        elif dice.random() < 0.3:
            del content[start:]
    return bytes(content)


def replaced(value: Any, number: int, seed: int = 0) -> Iterator[Any]:
    """Yield `number` versions of a JSON value with one to three of its parts dropped, doubled, or of another kind."""
    dice = random.Random(seed)
    for _ in range(number):
        changed = copy.deepcopy(value)
        for _ in range(dice.randint(1, 3)):
            changed = _replaced(changed, dice)
        yield changed


def _replaced(value: Any, dice: random.Random) -> Any:
    places = list(_places(value))
    if not places:
        return dice.choice(ODD)
    holder, key = dice.choice(places)
    kind = dice.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif kind == 2:
        other, place = dice.choice(places)
        holder[key] = copy.deepcopy(other[place]) if _has(other, place) else None
    else:
        holder[key] = copy.deepcopy(dice.choice(ODD))
    return value


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value: what holds it, and its key or index."""
    keys: Any = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def damaged_json(content: bytes, number: int, seed: int = 0) -> Iterator[bytes]:
    """Yield `number` versions of a JSON file that are JSON still, with parts that do not belong there."""
    for value in replaced(json.loads(content), number, seed):
        yield json.dumps(value).encode()


def all_night(minutes: float = MINUTES) -> Iterator[int]:
    """Yield seeds until the minutes are over; the first is drawn anew each time. For nightly tests."""
    first, end = random.SystemRandom().randrange(10**9), time.monotonic() + 60 * minutes
    for seed in range(first, first + 10**9):
        if time.monotonic() > end:
            return
        yield seed
