"""Source → the same source in the one style there is: only spaces, line breaks, braces and last commas differ."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from circuitlang.base.diagnostics import CircuitError, Finding, SpecError
from circuitlang.base.source import Source, Span
from circuitlang.compiler import syntax
from circuitlang.compiler.parser import parse

WIDTH = 100
INDENT = "    "

_MARK = re.compile(r'"[^"\n]*"|(?P<comment>#[^\n]*)|[()\[\]{}]')
_BLANK_LINE = re.compile(r"\n(?:[^\S\n]|\ufeff)*\n")

# Words of the language inside a statement: right behind a name, a clause of such a name would be taken for them.
_JOINTS = re.compile(r"(?:except|on|into|as)\b")


def format_source(source: Source) -> str:
    """The text of a source in the one style; its tree and its comments are the same, which is proven each time.

    Raises SpecError for a text with syntax mistakes, and CircuitError where the proof fails.
    """
    text = source.text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    file = parse(replace(source, text=text))
    if file.findings:
        raise SpecError(file.findings)
    try:
        formatted = layout(file)
        verify_layout(file, formatted)
    except RecursionError:
        raise _refusal(file, "this file's brackets nest too deep to be formatted", "no spec needs so many") from None
    return formatted


def verify_layout(file: syntax.File, formatted: str) -> None:
    """Raise CircuitError unless the formatted text says the same and is in the style itself."""
    again = parse(replace(file.source, text=formatted))
    if again.findings or _bare(again.statements) != _bare(file.statements):
        wrong = "another tree"
    elif [comment.text for comment in _comments(formatted)] != [
        comment.text for comment in _comments(file.source.text)
    ]:
        wrong = "other comments"
    elif layout(again) != formatted:
        wrong = "another text when it is formatted again"
    else:
        return
    message = f"formatting would give this file {wrong}, so it is left as it is"
    raise _refusal(file, message, "please report this: the mistake is not yours")


def _refusal(file: syntax.File, message: str, cure: str) -> CircuitError:
    return CircuitError(Finding("E391", message, Span(file.source, 0, 0), "", cure))


def _bare(node: Any) -> Any:
    """A node without its places, for comparison."""
    if isinstance(node, tuple):
        return tuple(map(_bare, node))
    if isinstance(node, syntax.Node):
        return (type(node), *(_bare(getattr(node, name)) for name in node.__struct_fields__ if name != "span"))
    return node


@dataclass(frozen=True)
class _Comment:
    """A comment, and the bracket it stands in: the offset of the innermost one that is open there."""

    start: int
    text: str
    bracket: int | None

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class _Entry:
    """A line of a group that is broken: an item with the comment behind it, or a comment alone."""

    parts: tuple[str | _Group, ...] = ()
    comment: str = ""
    blank_before: bool = False


@dataclass(frozen=True)
class _Group:
    """The items between two brackets; `ends` where the grammar lets the last item have a separator too."""

    brackets: str
    entries: tuple[_Entry, ...]
    separator: str = ","
    ends: bool = True

    @property
    def items(self) -> list[_Entry]:
        return [entry for entry in self.entries if entry.parts]

    @cached_property
    def flat(self) -> str:
        inside = f"{self.separator} ".join(_flat(entry.parts) for entry in self.items)
        # Braces are there for the sake of lines alone.
        return inside if self.brackets == "{}" else f"{self.brackets[0]}{inside}{self.brackets[1]}"

    @cached_property
    def must_break(self) -> bool:
        return any(entry.comment or _must_break(entry.parts) for entry in self.entries)


Parts = tuple[str | _Group, ...]


def _flat(parts: Parts) -> str:
    return "".join(part if isinstance(part, str) else part.flat for part in parts)


def _must_break(parts: Parts) -> bool:
    return any(part.must_break for part in parts if isinstance(part, _Group))


def _comments(text: str) -> list[_Comment]:
    """Every comment, in order."""
    return _marks(text)[0]


def _marks(text: str) -> tuple[list[_Comment], list[int]]:
    """Every comment, and the offset of every opening bracket."""
    comments: list[_Comment] = []
    brackets: list[int] = []
    opened: list[int] = []
    for match in _MARK.finditer(text):
        if match["comment"]:
            comments.append(_Comment(match.start(), match.group().rstrip(), opened[-1] if opened else None))
        elif match.group() in "([{":
            brackets.append(match.start())
            opened.append(match.start())
        elif match.group() in ")]}" and opened:
            opened.pop()
    return comments, brackets


def layout(file: syntax.File) -> str:
    """The statements and the comments between them, each on its line."""
    builder = _Builder(file.source.text)
    outside = [comment for comment in builder.comments if comment.bracket is None]
    places = {statement.span.start: statement for statement in file.statements} | {
        comment.start: comment for comment in outside
    }
    lines: list[str] = []
    end, behind = 0, False
    for start, place in sorted(places.items()):
        gap = file.source.text[end:start]
        if isinstance(place, _Comment) and behind and "\n" not in gap:
            lines[-1] += f"  {place.text}"
        else:
            if lines and _BLANK_LINE.search(gap):
                lines.append("")
            lines += [place.text] if isinstance(place, _Comment) else _statement(builder, place)
        end, behind = (place.end, False) if isinstance(place, _Comment) else (place.span.end, True)
    return "".join(f"{line}\n" for line in lines)


def _statement(builder: _Builder, node: syntax.Statement) -> list[str]:
    """A statement on one line if it can be, else broken, its clauses in braces."""
    head, clauses = builder.parts(node), builder.clauses(node)
    line = f"{_flat(head)} {clauses.flat}".rstrip()
    misread = _JOINTS.match(clauses.flat) is not None
    if len(line) <= WIDTH and not misread and not _must_break((*head, clauses)):
        return [line]
    return _lines((*head, " ", clauses) if clauses.entries else head, WIDTH)


def _lines(parts: Parts, width: int, tail: str = "") -> list[str]:
    """The lines of what doesn't fit on one: groups are broken, the longest first, until all lines fit."""
    groups = {i: part for i, part in enumerate(parts) if isinstance(part, _Group) and part.entries}
    broken = {i for i, group in groups.items() if group.must_break or group.brackets == "{}"}
    left = sorted(groups.keys() - broken, key=lambda i: (-len(groups[i].flat), i))
    own = _around(parts, broken)
    while left and max(map(len, [*own[:-1], own[-1] + tail])) > width:
        broken.add(left.pop(0))
        own = _around(parts, broken)
    lines = own[:1]
    for i, line in zip(sorted(broken), own[1:], strict=True):
        lines += [f"{INDENT}{line}" if line else "" for line in _inside(groups[i], width - len(INDENT))]
        lines.append(line)
    lines[-1] += tail
    return lines


def _around(parts: Parts, broken: set[int]) -> list[str]:
    """The lines before, between and after groups that are broken, with the brackets."""
    lines = [""]
    for i, part in enumerate(parts):
        if isinstance(part, str):
            lines[-1] += part
        elif i in broken:
            lines[-1] += part.brackets[0]
            lines.append(part.brackets[1])
        else:
            lines[-1] += part.flat
    return lines


def _inside(group: _Group, width: int) -> Iterator[str]:
    """The lines of a broken group: one to an item, more where that doesn't fit either."""
    items = group.items
    for entry in group.entries:
        if entry.blank_before:
            yield ""
        if not entry.parts:
            yield entry.comment
            continue
        *lines, last = _lines(entry.parts, width, group.separator if group.ends or entry is not items[-1] else "")
        yield from lines
        yield f"{last}  {entry.comment}" if entry.comment else last


class _Builder:
    """Syntax → parts: strings, and groups in brackets that hold the comments of the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.comments, self._brackets = _marks(text)
        self._within: dict[int, list[_Comment]] = {}
        for comment in self.comments:
            if comment.bracket is not None:
                self._within.setdefault(comment.bracket, []).append(comment)
        self._starts = [comment.start for comment in self.comments]

    def parts(self, node: syntax.Node) -> Parts:
        """A node in the style; of a statement with clauses, what is before them."""
        match node:
            case syntax.Model(call=call):
                return ("model ", *self.parts(call))
            case syntax.Images(name=name, images=images):
                return (f"images {name.text} = ", *self.parts(images))
            case syntax.Direction(name=name, feature=feature):
                return (f"target {name.text} = ", *self.parts(feature))
            case syntax.Defaults():
                return ("defaults",)
            case syntax.Preserve(feature=feature, images=images):
                return ("preserve ", *self.parts(feature), " on ", *self.parts(images))
            case syntax.Split(feature=feature, images=images, into=into):
                before = ("split ", *self.parts(feature), " on ", *self.parts(images))
                return (*before, f" into {into.text}")
            case syntax.Circuit(name=name, asked=asked):
                return (f"circuit {name.text} = ", *self.parts(asked))
            case syntax.Edit():
                return self._edit(node)
            case syntax.Compare(members=members):
                rest = (part for member in members[1:] for part in (", ", *self.parts(member)))
                return ("compare ", *self.parts(members[0]), *rest)
            case syntax.Expect(measure=measure, relation=relation, value=value):
                return ("expect ", *self.parts(measure), f" {relation} ", *self.parts(value))
            case syntax.Include(path=path, namespace=namespace):
                return (f"include {path.span.text}" + (f" as {namespace.text}" if namespace else ""),)
            case syntax.Label(target=target, text=text):
                return ("label ", *self.parts(target), f" {text.span.text}")
            case syntax.Group(text=text, target=target):
                return (f"group {text.span.text} = ", *self.parts(target))
        return self._phrase(node)

    def _edit(self, node: syntax.Edit) -> Parts:
        """An edit, whose clauses stand on either side of its images."""
        early = [clause for clause in node.clauses if clause.span.start < node.images.span.start]
        late = node.clauses[len(early) :]
        brace = self._brace(Span(node.span.source, node.of.span.end, node.images.span.start))
        group = _Group("{}", self._entries(brace, early), separator="")
        measured = (part for feature in node.measured for part in (", ", *self.parts(feature)))
        return (
            *(f"edit {node.name.text} = ", *self.parts(node.of), " " if group.entries else "", group, " on "),
            *self.parts(node.images),
            *(part for clause in late for part in (" ", *self.parts(clause))),
            *(" measure ", *list(measured)[1:]),
        )

    def _phrase(self, node: syntax.Node) -> Parts:
        """A part of a statement."""
        match node:
            case syntax.Feature(terms=terms):
                return tuple(part for term in terms for part in (_sign(term, term is terms[0]), *self.parts(term)))
            case syntax.Term(coefficient=coefficient, of=of):
                return (f"{coefficient.text}*" if coefficient else "", *self.parts(of))
            case syntax.Target(layer=layer, unit=unit, position=position):
                return (f"{layer.span.text}:", *self.parts(unit), *(self.parts(position) if position else ()))
            case syntax.Concept(name=name, sets=sets, words=words):
                return (name.text, self._group(name.span.end, "()", (sets, *words)))
            case syntax.Contrasted(images=images, against=against):
                return (*self.parts(images), " against ", *self.parts(against))
            case syntax.Located(call=call, layer=layer, position=position):
                return (*self.parts(call), f" in {layer.span.text}", *(self.parts(position) if position else ()))
            case syntax.Position(place=None):
                return (f"@{node.span.text}",)
            case syntax.Position(place=tuple() as place):
                return ("@", self._group(node.span.start, "()", place, ends=False))
            case syntax.Every():
                return ("*",)
            case syntax.Selection(value=value, excluded=excluded, transforms=transforms):
                rest = (part for transform in transforms for part in (" as ", *self.parts(transform.by)))
                return (*self.parts(value), *((" except ", *self.parts(excluded)) if excluded else ()), *rest)
            case syntax.Clause(name=name, relation=relation, value=value):
                return (f"{name.text}{relation}", *self.parts(value))
            case syntax.Kernel(target=target, source=source):
                return (*self.parts(target), " <- ", *self.parts(source))
            case syntax.Member(name=name, values=values):
                return (name.text, *([self._group(name.span.end, "[]", values, ends=False)] if values else ()))
            case syntax.Measure(name=name, suffix=suffix, feature=syntax.Feature() as feature):
                return (f"{name.text}[", *self.parts(feature), f"]{suffix}")
            case syntax.Measure(name=name, values=values, suffix=suffix):
                group = [self._group(name.span.end, "[]", values, ends=False)] if values else ()
                return (name.text, *group, suffix)
        return self._value(node)

    def _value(self, node: syntax.Node) -> Parts:
        """A value; numbers, strings and paths are as written."""
        match node:
            case syntax.List(items=items):
                return (self._group(node.span.start, "[]", items),)
            case syntax.Call(name=name, arguments=arguments):
                # `model alexnet` is a call without brackets.
                called = node.span != name.span
                return (name.text, *([self._group(name.span.end, "()", arguments)] if called else ()))
            case syntax.Keyword(name=name, value=value):
                return (f"{name.text}=", *self.parts(value))
            case syntax.Range(first=first, last=last):
                return (f"{first.text}..{last.text}",)
        return (node.span.text,)

    def clauses(self, node: syntax.Statement) -> _Group:
        """The clauses of a statement, none where it takes none."""
        asked = node.asked if isinstance(node, syntax.Circuit) else node
        items: tuple[syntax.Clause, ...] = ()
        if isinstance(asked, (syntax.Images, syntax.Defaults, syntax.Preserve, syntax.Split)):
            items = asked.clauses
        # The braces of an edit are in the midst of it.
        brace = None if isinstance(node, syntax.Edit) else self._brace(node.span)
        return _Group("{}", self._entries(brace, items), separator="")

    def _brace(self, span: Span) -> int | None:
        """Return the place of the first brace in a stretch of the text."""
        first, end = (bisect_left(self._brackets, offset) for offset in (span.start, span.end))
        return next((offset for offset in self._brackets[first:end] if self._text[offset] == "{"), None)

    def _group(self, after: int, brackets: str, items: Sequence[syntax.Node], ends: bool = True) -> _Group:
        """The group whose bracket is the next one."""
        bracket = self._brackets[bisect_left(self._brackets, after)]
        return _Group(brackets, self._entries(bracket, items), ends=ends)

    def _entries(self, bracket: int | None, items: Sequence[syntax.Node]) -> tuple[_Entry, ...]:
        """Items and comments between two brackets, in order.

        A comment on the line where an item ends stays behind it. One in the middle of an item goes before it, or
        behind it if it would overtake another comment there.
        """
        waiting = deque(self._within.get(bracket, ()) if bracket is not None else ())
        entries: list[_Entry] = []
        end = len(self._text)

        def blank(start: int) -> bool:
            return _BLANK_LINE.search(self._text, end, start) is not None

        def alone_before(start: int) -> None:
            nonlocal end
            while waiting and waiting[0].start < start:
                comment = waiting.popleft()
                entries.append(_Entry((), comment.text, blank(comment.start)))
                end = comment.end

        followings = [*(entry.span.start for entry in items[1:]), len(self._text)]
        for item, following in zip(items, followings, strict=False):
            alone_before(self._first_inside(item.span, bracket))
            entry, end = _Entry(self.parts(item), "", blank(item.span.start)), max(item.span.end, end)
            if waiting and waiting[0].start < following and "\n" not in self._text[item.span.end : waiting[0].start]:
                comment = waiting.popleft()
                entry, end = replace(entry, comment=comment.text), comment.end
            entries.append(entry)
            alone_before(item.span.end)
        alone_before(len(self._text))
        return tuple(entries)

    def _first_inside(self, span: Span, bracket: int | None) -> int:
        """Return the position of an item's first comment in brackets of its own, or of the item's end."""
        starts = range(bisect_left(self._starts, span.start), bisect_left(self._starts, span.end))
        return next((self._starts[i] for i in starts if self.comments[i].bracket != bracket), span.end)


def _sign(term: syntax.Term, first: bool) -> str:
    """Return the sign that joins a term to those before it."""
    if not first:
        return " - " if term.negative else " + "
    # `-0.3*a` is a negative number; `- 0.3*a` is not.
    return ("- " if term.coefficient else "-") if term.negative else ""
