"""The only code that knows Numba's insides, LLVM and signals."""
