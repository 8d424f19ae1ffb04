"""Exported programs: `.pt2` files read as data, and their ATen operators imported as a graph of modules.

- `pt2_reader`: the archive and its program.
- `result_tree`: the nesting of a program's result.
- `size_limits`: sizes of a program's tensors, computed without running it.
- `aten_import`: from a program to a network.
- `aten_modules`: operators that become modules.
- `aten_functions`: operators that remain functions.
- `aten_rules`: rules of the operators that remain functions.
- `local_response_norms`: local response norms, which are exported in parts.
- `interpreted`: a graph of operations that is run one by one.
"""
