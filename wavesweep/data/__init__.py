"""Data sets as tensors in memory, with splits that are fixed by the seed."""
