"""Executors by the words of the command line: a name or a profile, and settings as KEY=VALUE.

A profile is a name for an executor with settings, in `executors.yaml` of the working folder, the user or the site:

    gpu:
      executor: slurm
      workers: 16
      partition: gpu
      gres: gpu:1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from circuitlang.base.diagnostics import CircuitError, Finding, InputError, did_you_mean, listing
from circuitlang.plugins.executors import EXECUTORS
from circuitlang.plugins.registry import Declaration, Value

PROFILES = "executors.yaml"


@dataclass(frozen=True)
class Placement:
    """The executor that computes circuits.

    Attributes:
        executor: Name of the executor.
        workers: Number of processes or cluster jobs.
        settings: Settings of the executor, by name.
        command: Command of a process that takes a share of the run by itself; empty where no command began the run.
    """

    executor: str = "local"
    workers: int = 1
    settings: Mapping[str, Value] = field(default_factory=dict)
    command: tuple[str, ...] = ()

    @property
    def is_here(self) -> bool:
        """True if this process computes all circuits itself."""
        return self.executor == "local" and self.workers == 1


def placement(name: str, workers: int | None, settings: Sequence[str]) -> Placement:
    """Return the executor that a name and settings mean; settings win over those of a profile.

    Args:
        name: Name of an executor or a profile.
        workers: Number of workers; None for that of the profile, or 1.
        settings: Settings, each as KEY=VALUE.

    Raises:
        InputError: About an unknown name, an unknown setting, or a value that does not fit.
    """
    profile: Mapping[str, Any] = {}
    origin = "--on-set"
    if name not in EXECUTORS.declarations:
        origin, profile = _profile(name)
    executor = str(profile.get("executor", name))
    if executor not in EXECUTORS.declarations:
        known = [*EXECUTORS.declarations]
        label = f"there are {listing(known)}"
        raise InputError(Finding("E370", f"unknown executor '{executor}'", None, label, did_you_mean(executor, known)))
    declaration = EXECUTORS.declarations[executor]
    values = {key: str(value) for key, value in profile.items() if key not in ("executor", "workers")}
    chosen = {key: _value(declaration, key, text, origin) for key, text in values.items()}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(Finding("E370", f"'{setting}' is no setting", None, "", "write --on-set KEY=VALUE"))
        chosen[key] = _value(declaration, key, text, "--on-set")
    return Placement(executor, _workers(workers, profile, origin), chosen)


def _workers(asked: int | None, profile: Mapping[str, Any], origin: str) -> int:
    workers = profile.get("workers", 1) if asked is None else asked
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        cure = "write a whole number from 1"
        raise InputError(Finding("E370", f"{origin}: workers: {workers} is no number of workers", None, "", cure))
    return workers


def _value(declaration: Declaration, key: str, text: str, origin: str) -> Value:
    """Return the value of a setting. Raises InputError."""
    parameter = declaration.parameter(key)
    if parameter is None:
        known = [parameter.name for parameter in declaration.parameters]
        label = f"it has {listing(known)}" if known else "it has no settings"
        cure = did_you_mean(key, known)
        raise InputError(
            Finding("E370", f"{origin}: executor {declaration.name} has no setting '{key}'", None, label, cure)
        )
    words: Mapping[str, Value] = {"true": True, "yes": True, "false": False, "no": False}
    try:
        value = _READERS.get(parameter.type, str)(text) if parameter.type != "bool" else words[text.lower()]
    except (ValueError, KeyError):
        kind = {"bool": "yes or no", "float": "a number"}.get(parameter.type, "a whole number")
        message = f"{origin}: '{text}' does not fit setting '{key}' of executor {declaration.name}"
        raise InputError(Finding("E370", message, None, f"it is {kind}")) from None
    return value


_READERS: Mapping[str, type[int] | type[float] | type[str]] = {"int": int, "float": float, "str": str}


def profile_files() -> list[Path]:
    """Return the files that may have profiles; the first that has a name counts."""
    import platformdirs

    places = [
        Path(),
        Path(platformdirs.user_config_dir("circuitlang")),
        Path(platformdirs.site_config_dir("circuitlang")),
    ]
    return [place / PROFILES for place in places]


def _profile(name: str) -> tuple[str, Mapping[str, Any]]:
    """Return the file of a profile, and its values. Raises InputError."""
    known = [*EXECUTORS.declarations]
    for path in profile_files():
        profiles = _read(path)
        if name in profiles:
            return str(path), profiles[name]
        known += profiles
    label = f"there are {listing(known)}"
    cure = did_you_mean(name, known) or f"write a profile of this name into {PROFILES}"
    raise InputError(Finding("E370", f"unknown executor or profile '{name}'", None, label, cure))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Return the profiles of a file by name, none if there is no file. Raises InputError."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        label = str(error).split("\n")[0]
        raise InputError(Finding("E370", f"{path} can't be read", None, label)) from None
    plain = (str, int, float, bool)
    if isinstance(content, dict) and all(
        isinstance(values, dict) and all(isinstance(value, plain) for value in values.values())
        for values in content.values()
    ):
        return {str(name): {str(key): value for key, value in values.items()} for name, values in content.items()}
    cure = "write `gpu:` and, indented below it, `executor: slurm` and settings as `partition: gpu`"
    raise CircuitError(Finding("E370", f"{path} has no profiles", None, "", cure))
