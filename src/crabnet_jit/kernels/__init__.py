"""The mathematics, as compiled loops over plain arrays and numbers.

Nothing here validates or knows of Python objects: the rooms above do that. What is Numba's or LLVM's own is
in `machine`.

Arrays of samples are *panels*: one row per feature, one column per sample, the number of columns a
multiple of two vectors. A kernel therefore reads like the formula for one sample and computes
8 samples side by side, or 16 in float32.
"""
