"""The wildcards of patterns: `*` and `?` stay within one name, `**` descends into folders that aren't hidden."""

from __future__ import annotations

from collections.abc import Sequence


def is_like(name: str, part: str) -> bool:
    """Return whether a name matches a part of a pattern, in time proportional to the product of their lengths."""
    if name.startswith(".") and not part.startswith("."):
        return False
    at = index = 0
    star, retry = -1, 0
    while index < len(name):
        if at < len(part) and part[at] == "*":
            star, retry = at, index
            at += 1
        elif at < len(part) and part[at] in ("?", name[index]):
            at, index = at + 1, index + 1
        elif star >= 0:
            # The last star takes one letter more.
            retry += 1
            at, index = star + 1, retry
        else:
            return False
    return not part[at:].strip("*")


def is_wild(part: str) -> bool:
    """Return whether a part of a pattern has a wildcard."""
    return "*" in part or "?" in part


def leads_to(parts: Sequence[str], names: Sequence[str]) -> bool:
    """Return whether the parts of a pattern match a file, by the names of its folders and its own.

    They do where `file_patterns` finds the file by walking, in time proportional to the product of their lengths.
    """
    last = len(parts) - 1
    *folders, name = names
    places = _with_skipped({0}, parts)
    for folder in folders:
        within = {place for place in places if parts[place] == "**" and is_like(folder, "*")}
        named = (place for place in places if place < last and parts[place] != "**")
        beyond = {place + 1 for place in named if is_like(folder, parts[place])}
        places = _with_skipped(beyond | within, parts)
    return last in places and is_like(name, "*" if parts[last] == "**" else parts[last])


def _with_skipped(places: set[int], parts: Sequence[str]) -> set[int]:
    """Return places in a pattern, and those behind each `**` that stands for no folder."""
    whole = set(places)
    for place in sorted(places):
        while place < len(parts) - 1 and parts[place] == "**":
            place += 1
            whole.add(place)
    return whole
