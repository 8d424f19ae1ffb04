"""The steps of a run: what each costs and follows from, and its work.

`step.py` has what is left of the steps of several circuits. Work that circuits share (`shared_work.py`) is done when
the first circuit that needs it is begun, for all that are due: probes, scores, the network's responses. Measurements
(`measurement.py`) are of one circuit, and give fields of its summary. A file for each kind says what it costs, without
torch, beside the function that does it; the forecast of a run and the run itself go through the same lists.
"""
