"""Measurements of a circuit: each gives fields of its own, and all that are measured are given."""

import circuitlang
from circuitlang.engine.runtime.steps import measurement
from circuitlang.results.types import Summary

LINE = "preserve conv3:5 on images/dogs/* kernels<=20 criterion=snip"
# The fields of a summary that no measurement gives: what was asked for, and what is made later.
OTHERS = {"plan", "model", "provenance", "part", "labels", "probe", "parameters", "extracted_difference"}
OTHERS |= {"missing", "unrendered"}


def test_each_field_of_a_summary_is_measured_once(here, numbers_alone, monkeypatch):
    seen: list[str] = []

    class Noted:
        def __init__(self, whole: measurement.Measurement) -> None:
            self.whole, self.steps = whole, whole.steps

        def measure(self, circuit):
            fields = self.whole.measure(circuit)
            seen.extend(fields)
            return fields

    monkeypatch.setattr(measurement, "MEASUREMENTS", [Noted(each) for each in measurement.MEASUREMENTS])
    circuitlang.run(LINE, "runs")
    assert sorted(seen) == sorted({*Summary.__struct_fields__} - OTHERS)
