"""Lock files: the contents a spec depends on, written as YAML and compared with what is there later.

Nothing of the machine is in it: no absolute path, no time, no build of a package.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import yaml

from circuitlang.base.diagnostics import Finding, InputError, SpecError, listing
from circuitlang.base.hub_address import without_revision
from circuitlang.base.hub_client import snapshot_file
from circuitlang.base.source import Source, Span, read
from circuitlang.base.versions import version
from circuitlang.base.yaml_document import DamagedError, Key, read_yaml
from circuitlang.plan import normalize
from circuitlang.plan.compiled import CompiledPlan
from circuitlang.plan.model import Images, Origins, digest

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import PreparedRun
    from circuitlang.engine.runtime.known_inputs import KnownInputs

_PACKAGES = ("circuitlang", "torch", "torchvision", "pillow")
_HEADER = "# What a spec stood on when it was locked. `circuitlang run SPEC --locked` refuses anything else.\n"
# The cure for an invalid lock file.
_AGAIN = "if that is meant, `circuitlang lock` locks it again"

Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Commit = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}$")]

# The files of each image set, and their hashes.
Files = Mapping[str, Mapping[str, str]]
# Sources of models that are the user's own.
_OWN = ("python", "file")


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The network: a hash of what the spec says of it, the name of its weights, a hash of all of them, and, where it
    isn't a library's, one of what is computed with them."""

    asked: Hash
    name: str
    weights: Hash
    code: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")] = ""


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of a lock file.

    `plan` and `circuits` are hashes of meaning; `images` has of each set its files, relative to the spec. `hub` has the
    commits of repositories of the Hub, by their addresses in the spec; it is absent from specs that name none.
    """

    version: Literal[1] = 1
    plan: Hash
    circuits: dict[str, Hash]
    model: Model
    images: dict[str, dict[str, Hash]]
    versions: dict[str, str]
    hub: dict[str, Commit] | msgspec.UnsetType = msgspec.UNSET

    @property
    def commits(self) -> Mapping[str, str]:
        """The commits of repositories of the Hub, of which most specs name none."""
        return {} if self.hub is msgspec.UNSET else self.hub


@dataclass(frozen=True)
class Drift:
    """Something that is not as it was locked, and the key of the plan it belongs to."""

    code: str
    message: str
    label: str = ""
    key: Key = ()


def lock(prepared: PreparedRun | KnownInputs, compiled: CompiledPlan) -> Lock:
    """The lock of a plan, by its inputs. The commits of the Hub's repositories are apart from its meaning."""
    plan = prepared.plan.readdressed(without_revision)
    images = {}
    for name, (pictures, _) in sorted(prepared.sets.items()):
        names = _names(pictures.paths, compiled.folder, plan.images[name])
        images[name] = dict(sorted(zip(names, pictures.digests, strict=True)))
    asked = digest(msgspec.json.encode(plan.model, order="sorted"))
    return Lock(
        plan=normalize.fingerprint(plan),
        circuits=dict(sorted(normalize.fingerprints(plan).items())),
        model=Model(asked, prepared.model.weights, prepared.weights, _code(prepared)),
        images=images,
        versions=versions(),
        hub=dict(sorted(compiled.commits.items())) or msgspec.UNSET,
    )


def _code(prepared: PreparedRun | KnownInputs) -> str:
    # A library's follows from its version.
    return prepared.structure if prepared.plan.model.source in _OWN else ""


def versions() -> dict[str, str]:
    """Return the versions of packages that influence a result; a build, as in `2.6.0+cpu`, is left out."""
    return {name: version(name).partition("+")[0] for name in _PACKAGES}


def _names(paths: tuple[Path, ...], folder: Path, images: Images) -> list[str]:
    """Files as a spec writes them, with `/`; those it names by an absolute path, from the folder they share."""
    snapshots = ((path, snapshot_file(path)) for path in paths if images.addresses)
    on_hub = {path: str(file.at(None)) for path, file in snapshots if file is not None}
    if on_hub:
        others = iter(_names(tuple(path for path in paths if path not in on_hub), folder, Images([])))
        return [on_hub[path] if path in on_hub else next(others) for path in paths]
    outside = [path for path in paths if not path.is_relative_to(folder)]
    common = Path(os.path.commonpath([path.parent for path in outside])) if outside else Path()
    names = [path.relative_to(folder if path.is_relative_to(folder) else common).as_posix() for path in paths]
    if len(set(names)) < len(names):
        # A file outside that is called like one inside would be lost behind it.
        names = [name if path.is_relative_to(folder) else f"/{name}" for name, path in zip(names, paths, strict=True)]
    return names


def write_lock(content: Lock) -> str:
    """A lock as YAML, the same bytes for the same content."""
    builtins = msgspec.to_builtins(content)
    body: str = yaml.safe_dump(builtins, sort_keys=False, allow_unicode=False, width=1 << 20)
    return _HEADER + body


def lock_path(spec: Path) -> Path:
    """`NAME.circuit.lock`, beside the spec."""
    return spec.with_name(f"{spec.name}.lock")


def read_lock(spec: Path) -> Lock:
    """The lock of a spec. Raises InputError where there is none, SpecError where it is damaged."""
    path = lock_path(spec)
    nowhere = Span(Source(str(path), ""), 0, 0)
    cure = f"`circuitlang lock {spec.name}` writes it anew"
    try:
        source = read(path)
    except FileNotFoundError:
        message, cure = f"{spec.name} is not locked", f"`circuitlang lock {spec.name}` locks it"
        raise InputError(Finding("E340", message, nowhere, f"there is no {path.name}", cure)) from None
    except OSError as error:
        raise InputError(Finding("E341", f"can't read {path.name}", nowhere, error.strerror or "", cure)) from None
    except UnicodeDecodeError as error:
        label = f"byte {error.start} is not UTF-8"
        raise InputError(Finding("E341", f"{path.name} is not text", nowhere, label, cure)) from None
    return _parse(source, path.name, cure)


def _parse(source: Source, name: str, cure: str) -> Lock:
    message = f"{name} is damaged"
    try:
        # Every value as text, for msgspec to judge: no date is made anything of.
        return msgspec.convert(read_yaml(source, typed=False)[0], Lock, strict=False)
    except DamagedError as error:
        label = f"this is not YAML: {error.problem}"
        raise SpecError(Finding("E341", message, Span(source, error.start, error.start), label, cure)) from None
    except (msgspec.MsgspecError, ValueError) as error:
        label = str(error).split("\n")[0]
        raise SpecError(Finding("E341", message, Span(source, 0, 0), label, cure)) from None


def drifted(locked: Lock, now: Lock) -> list[Drift]:
    """List what differs from the lock file, without the versions of packages."""
    inputs = (*_weights(locked, now), *_codes(locked, now), *_images(locked, now))
    return [*_spec(locked, now), *_hub(locked, now), *inputs]


def check_locked(locked: Lock, prepared: PreparedRun | KnownInputs, compiled: CompiledPlan) -> None:
    """Raise InputError with everything that differs from the lock, but for versions of packages."""
    if drifts := drifted(locked, lock(prepared, compiled)):
        raise InputError(findings(drifts, compiled.origins))


def outdated(locked: Mapping[str, str], now: Mapping[str, str]) -> list[Drift]:
    """Packages that have another version than when the spec was locked."""
    return [
        Drift("W340", f"{name} is {now.get(name, 'not there')}", f"locked with {locked.get(name, 'none')}")
        for name in sorted(locked.keys() | now.keys())
        if locked.get(name) != now.get(name)
    ]


def _spec(locked: Lock, now: Lock) -> Iterator[Drift]:
    if locked.plan == now.plan:
        return
    if locked.model.asked != now.model.asked:
        yield Drift("E342", "another model is asked for than when this was locked", key=("model",))
    count = 0
    for name in sorted(locked.circuits.keys() | now.circuits.keys()):
        was, now_is = locked.circuits.get(name), now.circuits.get(name)
        if was != now_is:
            count += 1
            how = "new" if was is None else "gone" if now_is is None else "changed"
            yield Drift("E342", f"the circuit {name} is {how} since this was locked", key=("circuits", name))
    if not count and locked.model.asked == now.model.asked:
        yield Drift("E342", "what is compared, edited or expected has changed since this was locked")


def _hub(locked: Lock, now: Lock) -> Iterator[Drift]:
    """List the repositories of the Hub that are at other commits, or weren't named when the spec was locked."""
    for address, commit in now.commits.items():
        was = locked.commits.get(address)
        if was is None:
            yield Drift("E342", f"the commit of {address} is not locked", f"now: {commit[:12]}")
        elif was != commit:
            yield Drift("E342", f"{address} has moved", f"from {was[:12]} to {commit[:12]}")


def _weights(locked: Lock, now: Lock) -> Iterator[Drift]:
    if locked.model.weights != now.model.weights:
        label = f"locked: {_named(locked.model)}; now: {_named(now.model)}"
        yield Drift("E343", "the weights are not those that were locked", label, ("model",))


def _codes(locked: Lock, now: Lock) -> Iterator[Drift]:
    if locked.model.code and now.model.code and locked.model.code != now.model.code:
        label = "its operations are others, or constants among them"
        yield Drift("E343", "the network's code does not compute what it did when it was locked", label, ("model",))


def _named(model: Model) -> str:
    return " ".join(filter(None, [model.name, model.weights[:12]]))


def _images(locked: Lock, now: Lock) -> Iterator[Drift]:
    """List what was added, removed and changed in each set; a set with another name and the same images is the same."""
    for name, was, files in _matched(locked.images, now.images):
        changes = {
            "added": sorted(files.keys() - was.keys()),
            "removed": sorted(was.keys() - files.keys()),
            "changed": sorted(file for file in was.keys() & files.keys() if was[file] != files[file]),
        }
        for how, which in changes.items():
            if which:
                number = f"{len(which)} image{'s were' if len(which) > 1 else ' was'}"
                yield Drift("E344", f"{number} {how} since {name} was locked", listing(which), ("images", name))


def _matched(locked: Files, now: Files) -> Iterator[tuple[str, Mapping[str, str], Mapping[str, str]]]:
    """The sets of both locks, by the name they have now; nothing stands for one that isn't there."""
    gone = {name: files for name, files in locked.items() if name not in now and files not in now.values()}
    new = {name: files for name, files in now.items() if name not in locked and files not in locked.values()}
    yield from ((name, locked[name], now[name]) for name in sorted(locked.keys() & now.keys()))
    if len(gone) == len(new) == 1:
        yield from zip(new, gone.values(), new.values(), strict=True)
        return
    yield from ((name, files, {}) for name, files in gone.items())
    yield from ((name, {}, files) for name, files in new.items())


def findings(drifts: list[Drift], origins: Origins) -> list[Finding]:
    """Each drift at the words of the spec that it is about, where there are any."""
    return [
        Finding(drift.code, drift.message, origins.get(drift.key), drift.label, "" if drift.code[0] == "W" else _AGAIN)
        for drift in drifts
    ]
