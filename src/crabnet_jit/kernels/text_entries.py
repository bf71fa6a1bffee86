"""The kernel that reads cells of tables; apart from entries.py, whose kernels do not need it."""

from crabnet_jit.kernels import cells
from crabnet_jit.machine.jit import entry_point

read_rows = entry_point(cells.read_rows, "read_rows")
