"""Registries of extensions: one file, one registered function.

Declarations (name, typed keyword parameters, docstring) are read from the text of the files, so that the compiler knows
every word of the language without importing torch. Only loading an extension imports its file.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.plugins.entry_points import entry_points

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Value = int | float | str | bool
E = TypeVar("E")


@dataclass(frozen=True)
class Parameter:
    """A keyword parameter of an extension: an argument in the language."""

    name: str
    type: str
    default: Value

    @property
    def is_float(self) -> bool:
        """True if values are kept as floating-point numbers."""
        return self.type in ("float", "Positive", "Share")

    def accepts(self, value: Value) -> bool:
        """Return whether a value of the language has the parameter's type; whole numbers are numbers too."""
        match self.type:
            case "bool":
                return isinstance(value, bool)
            case "int":
                return isinstance(value, int) and not isinstance(value, bool)
            case "Count":
                return isinstance(value, int) and not isinstance(value, bool) and value >= 1
            case "float" | "Positive" | "Share":
                number = isinstance(value, (int, float)) and not isinstance(value, bool)
                most = 1 if self.type == "Share" else math.inf
                return number and (self.type == "float" or 0 < float(value) <= most)
            case _:
                return isinstance(value, str)


@dataclass(frozen=True)
class Declaration:
    """The name, parameters and docstring of an extension, read without importing it."""

    name: str
    module: str
    doc: str
    parameters: tuple[Parameter, ...]
    # The literal arguments of the decorator: `("higher",)` for `@metric("higher")`.
    options: tuple[object, ...] = ()
    # The name of the decorator: `criterion`, `schedule`, `metric`, ...
    decorator: str = ""

    @property
    def summary(self) -> str:
        return self.doc.split("\n\n")[0].replace("\n", " ")

    def parameter(self, name: str) -> Parameter | None:
        return next((parameter for parameter in self.parameters if parameter.name == name), None)


@dataclass
class Registry(Generic[E]):
    """The extensions of one kind: the files of `package`, and the entry points of `group`.

    Decorators call `add`; all other code uses `declarations` and `load`.
    """

    kind: str
    package: str
    group: str
    _loaded: dict[str, E] = field(default_factory=dict)
    _modules: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, module: str, extension: E) -> E:
        """Register an extension that `module` defines. Raises TypeError if another module registered the name."""
        holder = self._modules.setdefault(name, module)
        if holder != module:
            raise TypeError(f"{self.kind} '{name}' is registered by {holder} already")
        self._loaded[name] = extension
        return extension

    @cached_property
    def declarations(self) -> Mapping[str, Declaration]:
        """The declarations of all extensions, by name, read without importing any."""
        return _Declarations(self.kind, self.package, self.group)

    def load(self, name: str) -> E:
        """Import and return an extension.

        Raises KeyError if there is none of that name, and CircuitError if its module does not register it.
        """
        if name not in self._loaded:
            module = self.declarations[name].module
            importlib.import_module(module)
            if name not in self._loaded:
                raise CircuitError(Finding("E123", f"{module} does not register its {self.kind} '{name}'"))
        return self._loaded[name]


@dataclass
class _Declarations(Mapping[str, Declaration]):
    """Declarations that are read when they are first used.

    A built-in name is read from its own file, because searching for entry points takes longer than the rest of `check`.
    """

    kind: str
    package: str
    group: str
    _read: dict[str, Declaration] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Declaration:
        if name not in self._read:
            path = self._folder / f"{name}.py"
            # `Path.is_file` raises if a name is too long for a file name.
            if name.isidentifier() and name != "__init__" and os.path.isfile(path):  # noqa: PTH113
                self._read[name] = _declaration(name, f"{self.package}.{name}", path)
            else:
                point = self._points[name]
                self._read[name] = _declaration(point.name, point.module, _entry_point_file(point))
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self._own, *self._points))

    def __len__(self) -> int:
        return len(self._own) + len(self._points)

    @cached_property
    def _folder(self) -> Path:
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(self.package)
        return Path(next(iter(spec.submodule_search_locations)))

    @cached_property
    def _own(self) -> list[str]:
        """The built-in names, sorted."""
        return sorted(path.stem for path in self._folder.glob("*.py") if path.stem != "__init__")

    @cached_property
    def _points(self) -> Mapping[str, EntryPoint]:
        """The entry points of other packages, by name."""
        points: dict[str, EntryPoint] = {}
        for point in entry_points(tuple(sys.path), self.group):
            if point.name in self._own or point.name in points:
                other = points[point.name].module if point.name in points else self[point.name].module
                both = f"{other} and {point.module} register it"
                raise CircuitError(Finding("E121", f"{self.kind} '{point.name}' is defined twice: {both}"))
            points[point.name] = point
        return points


def _entry_point_file(point: EntryPoint) -> Path:
    """Return the file of a third-party module. Only its top package is looked up, and no code of it is run."""
    top, *rest = point.module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        message = f"the entry point '{point.name}' names {point.module}, which isn't there"
        raise CircuitError(Finding("E122", message))
    path = Path(spec.origin).parent.joinpath(*rest) if rest else Path(spec.origin)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _decorator(node: ast.FunctionDef) -> str:
    """Return the name of a function's last decorator, called or not, or "" if it has none."""
    if not node.decorator_list:
        return ""
    last = node.decorator_list[-1]
    return ast.unparse(last.func if isinstance(last, ast.Call) else last).rpartition(".")[2]


def _declaration(name: str, module: str, path: Path) -> Declaration:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            parameters = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            return Declaration(
                name,
                module,
                ast.get_docstring(node) or "",
                tuple(
                    Parameter(
                        argument.arg,
                        ast.unparse(argument.annotation) if argument.annotation else "str",
                        ast.literal_eval(default) if default else "",
                    )
                    for argument, default in parameters
                ),
                tuple(
                    argument.value
                    for decorator in node.decorator_list
                    if isinstance(decorator, ast.Call)
                    for argument in decorator.args
                    if isinstance(argument, ast.Constant)
                ),
                _decorator(node),
            )
    raise CircuitError(Finding("E123", f"{module} has no function called '{name}' to register"))
