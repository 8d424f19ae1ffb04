"""YAML → plain values and their places, for files that strangers send: bounded before anything is made of them.

Of YAML there is what a plan or a lock needs: mappings, lists and scalars. Aliases, which make a lot of a little, and
tags are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from circuitlang.base.source import Source, Span

# The place of a value: keys as in the file, `("circuits", "0", "layer")`.
Key = tuple[str, ...]
# The parts of a plan of `limits.MOST_OF_A_FILE` circuits, and their nesting.
MAX_VALUES = 6_000_000
_DEEPEST = 20
# A scalar of more letters is text: nobody writes such numbers, and reading them can take long.
_LONGEST = 200
_TAG = "tag:yaml.org,2002:"
# libyaml is many times faster than PyYAML's own parser.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class DamagedError(ValueError):
    """A text is no YAML, or too much of it: the reason, and from which character to which."""

    def __init__(self, problem: str, start: int, end: int | None = None) -> None:
        super().__init__(problem)
        self.problem, self.start, self.end = problem, start, start + 1 if end is None else end


def read_yaml(source: Source, typed: bool = True) -> tuple[Any, dict[Key, Span]]:
    """The value of a text and where each part of it stands; not `typed`, every scalar is the text that was written.

    Raises DamagedError.
    """
    reader = _Reader(source, typed)
    try:
        for event in yaml.parse(source.text, Loader=_Loader):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = min(mark.index, len(source.text)) if mark else 0
        raise DamagedError(error.problem or error.context or "it can't be read", at) from None
    except yaml.reader.ReaderError as error:
        raise DamagedError(f"it has the character U+{_code(error.character):04X}", error.position) from None
    return reader.value, reader.places


def _code(character: Any) -> int:
    return ord(character) if isinstance(character, str) else int(character)


@dataclass
class _Open:
    """A mapping or list that is being read; of a mapping the key whose value comes next, once it was read."""

    value: dict[Any, Any] | list[Any]
    place: Key
    start: int
    key: Any = None
    name: str | None = None


@dataclass
class _Reader:
    source: Source
    typed: bool
    value: Any = None
    places: dict[Key, Span] = field(default_factory=dict)
    _open: list[_Open] = field(default_factory=list)
    _count: int = 0
    _documents: int = 0
    _known: dict[str, Any] = field(default_factory=dict)

    def take(self, event: Any) -> None:
        """The next event of the parser."""
        start, end = event.start_mark.index, event.end_mark.index
        match event:
            case yaml.ScalarEvent():
                value = self._scalar(event)
                self._add(value, start, end, event.value)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                if event.tag is not None:
                    raise DamagedError(f"the tag {event.tag} is not read", start, end)
                value = [] if isinstance(event, yaml.SequenceStartEvent) else {}
                self._open.append(_Open(value, self._add(value, start, end), start))
                if len(self._open) > _DEEPEST:
                    raise DamagedError("it is nested too deep", start, end)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                done = self._open.pop()
                self.places[done.place] = Span(self.source, done.start, end)
            case yaml.AliasEvent():
                raise DamagedError("aliases are not read: write the value again", start, end)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise DamagedError("a second document begins here", start, end)

    def _add(self, value: Any, start: int, end: int, written: str | None = None) -> Key:
        """Put a value where it belongs; `written` is the text of a scalar. Returns its place."""
        self._count += 1
        if self._count > MAX_VALUES:
            raise DamagedError(f"it has more than {MAX_VALUES:,} values", start, end)
        place: Key = ()
        if not self._open:
            self.value = value
        else:
            inside = self._open[-1]
            if isinstance(inside.value, dict) and inside.name is None:
                self._name(inside, value, written, start, end)
                return inside.place
            place = (*inside.place, self._within(inside, value))
        self.places[place] = Span(self.source, start, end)
        return place

    def _name(self, inside: _Open, key: Any, written: str | None, start: int, end: int) -> None:
        """The key of the value that comes next."""
        if written is None:
            raise DamagedError("a key is a word", start, end)
        if key in inside.value:
            raise DamagedError(f"'{written}' is given twice", start, end)
        inside.key, inside.name = key, written

    def _within(self, inside: _Open, value: Any) -> str:
        """Put a value into what is open; returns its key there."""
        if isinstance(inside.value, list):
            inside.value.append(value)
            return str(len(inside.value) - 1)
        inside.value[inside.key] = value
        name, inside.name = inside.name or "", None
        return name

    def _scalar(self, event: Any) -> Any:
        plain, text = event.implicit[0] and event.tag is None, event.value
        if not self.typed or (event.tag in (None, "!") and not plain):
            return text
        tag = event.tag
        if plain:
            if text in self._known:
                return self._known[text]
            tag = next(_tags(text), f"{_TAG}str")
        elif tag not in _CONSTRUCT:
            raise DamagedError(f"the tag {tag} is not read", event.start_mark.index, event.end_mark.index)
        try:
            value = _CONSTRUCT.get(tag, _as_written)(yaml.ScalarNode(tag, text))
        except (ValueError, OverflowError, yaml.YAMLError, KeyError):
            problem = f"this is no {tag.removeprefix(_TAG)}"
            raise DamagedError(problem, event.start_mark.index, event.end_mark.index) from None
        if plain:
            self._known[text] = value
        return value


def _tags(text: str) -> Iterator[str]:
    """Return the types that a plain scalar may have by the rules of YAML 1.1."""
    if len(text) <= _LONGEST:
        resolvers = yaml.SafeLoader.yaml_implicit_resolvers
        for tag, expression in (*resolvers.get(text[:1], ()), *resolvers.get(None, ())):
            if tag in _CONSTRUCT and expression.match(text):
                yield tag


def _as_written(node: yaml.ScalarNode) -> Any:
    return node.value


_SAFE = SafeConstructor()
_CONSTRUCT: dict[str, Callable[[yaml.ScalarNode], Any]] = {
    f"{_TAG}str": _as_written,
    f"{_TAG}null": _SAFE.construct_yaml_null,
    f"{_TAG}bool": _SAFE.construct_yaml_bool,
    f"{_TAG}int": _SAFE.construct_yaml_int,
    f"{_TAG}float": _SAFE.construct_yaml_float,
}
