"""Compiled loops over plain arrays and numbers.

Nothing here validates or knows of Python objects: the object layer above does that. Modules of this
folder import numpy, numba with its llvmlite, and each other only.

Arrays of samples are *panels*: one row per feature, one column per sample, the number of columns a
multiple of two vectors. A kernel therefore reads like the formula for one sample and computes
8 samples side by side, or 16 in float32.
"""
