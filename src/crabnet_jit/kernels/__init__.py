"""The mathematics, as compiled loops over plain arrays and numbers.

Nothing here validates its arguments or knows Python objects: the packages above do that. What is specific to
Numba or LLVM is in `machine`.

Arrays of samples are *panels*: one row per feature, one column per sample; the number of columns is a
multiple of two vectors. A kernel therefore reads like the formula for one sample and computes
8 samples side by side, or 16 in float32.
"""
