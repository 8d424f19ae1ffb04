"""Record → JUnit XML, which every CI service reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from xml.etree import ElementTree as Xml

from circuitlang.base.diagnostics import Finding
from circuitlang.reporting.ci.record import Record
from circuitlang.reporting.diagram.svg import clean
from circuitlang.results.verdict import verdict

_GROUPS = {"bound": "bounds", "expectation": "expectations"}


def junit(record: Record) -> bytes:
    """Write a test case for each circuit, edit, bound and expectation, and one for the run itself.

    A promise that doesn't hold is a failure, a circuit that can't be computed an error, and what was not come to is
    skipped. Verdicts are properties of the suite. In the shape of the schemas of both Ant and Jenkins.
    """
    cases = [*_run(record), *_circuits(record), *_edits(record), *_promises(record)]
    seconds = sum(done.seconds for done in record.done.values())
    root = Xml.Element("testsuites")
    suite = Xml.SubElement(
        root,
        "testsuite",
        id="0",
        package="circuitlang",
        name=clean(record.name),
        tests=str(len(cases)),
        failures=str(_count(cases, "failure")),
        errors=str(_count(cases, "error")),
        skipped=str(_count(cases, "skipped")),
        time=f"{seconds:.3f}",
        timestamp=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S"),
        hostname="localhost",
    )
    properties = Xml.SubElement(suite, "properties")
    for name, done in record.done.items():
        Xml.SubElement(properties, "property", name=clean(f"verdict.{name}"), value=verdict(done.summary))
    suite.extend(cases)
    for stream in ("system-out", "system-err"):
        Xml.SubElement(suite, stream)
    Xml.indent(root)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode").encode() + b"\n"


def _run(record: Record) -> Iterator[Xml.Element]:
    """Return the test case of the run itself, so that a run which never began isn't taken for a good one."""
    if findings := [finding for finding in record.failures if not finding.circuit]:
        yield _errors(_case(record, "run", record.name), findings)


def _circuits(record: Record) -> Iterator[Xml.Element]:
    for name in record.circuits:
        if name in record.done:
            yield _case(record, "circuits", name, record.done[name].seconds)
        elif findings := record.failed(name):
            yield _errors(_case(record, "circuits", name), findings)
        else:
            yield _skipped(_case(record, "circuits", name), "not computed")


def _edits(record: Record) -> Iterator[Xml.Element]:
    for name, result in record.edits.items():
        case = _case(record, "edits", name)
        if findings := record.failed(name):
            yield _errors(case, findings)
        else:
            yield case if result is not None else _skipped(case, "not measured")


def _promises(record: Record) -> Iterator[Xml.Element]:
    for promise, place in zip(record.promises, record.places, strict=True):
        says = f"{promise.circuit}: {promise.measure} {promise.relation} {promise.value:g}"
        case = _case(record, _GROUPS[promise.kind], says)
        if not promise.computed:
            _skipped(case, f"{promise.circuit} was not computed")
        elif not promise.holds:
            failure = Xml.SubElement(case, "failure", message=clean(promise.says), type=promise.kind)
            failure.text = clean(f"{promise.circuit}: {promise.says}" + (f"\nat {place}" if place else ""))
        yield case


def _case(record: Record, group: str, name: str, seconds: float = 0.0) -> Xml.Element:
    return Xml.Element("testcase", classname=clean(f"{record.name}.{group}"), name=clean(name), time=f"{seconds:.3f}")


def _errors(case: Xml.Element, findings: Sequence[Finding]) -> Xml.Element:
    """Return the errors as one element: some readers allow only one."""
    message = "; ".join(finding.message for finding in findings)
    error = Xml.SubElement(case, "error", message=clean(message), type=findings[0].code)
    error.text = clean("\n".join(map(_told, findings)))
    return case


def _told(finding: Finding) -> str:
    place = f"{finding.span.place}: " if finding.span else ""
    return f"{place}{finding.code} {': '.join(filter(None, (finding.message, finding.label)))}"


def _skipped(case: Xml.Element, why: str) -> Xml.Element:
    Xml.SubElement(case, "skipped", message=clean(why))
    return case


def _count(cases: Sequence[Xml.Element], kind: str) -> int:
    return sum(case.find(kind) is not None for case in cases)
