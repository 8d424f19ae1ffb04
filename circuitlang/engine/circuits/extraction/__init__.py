"""The subnetwork of a circuit as a module of its own.

`extractor` walks the network; `liveness` says which channels it needs; `slicing` and `folding` make its layers;
`emission` builds its operations; `verification` compares it with the circuit in the network; `packing` writes it.
"""
