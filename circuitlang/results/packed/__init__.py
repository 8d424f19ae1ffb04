"""Packed runs: the circuits of a run as rows of `circuits.parquet` instead of folders."""
