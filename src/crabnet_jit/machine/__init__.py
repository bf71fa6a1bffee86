"""The only code that uses Numba's internals, LLVM and signals."""
