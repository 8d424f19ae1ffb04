"""Loops that numba compiles, where it is installed.

- `backend`: the import of compiled loops, or None without numba.
- `compilation`: compiling, with a cache that is checked by hashes.
- `simd`: vectors of eight numbers.
- `scoring`: scores from inputs and gradients of a layer.
- `elimination`: backward elimination, for `greedy`.
- `sparse_runner`: a circuit's module, run over its kept kernels.
- `sparse_layers`: its convolutions and pools.
- `sparse_loops`: its compiled loops.
"""
