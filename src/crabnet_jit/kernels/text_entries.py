"""The kernel that reads the numbers of tables; apart from entries.py, whose kernels it does not need."""

from crabnet_jit.kernels import decimals
from crabnet_jit.machine.jit import entry_point

read_decimals = entry_point(decimals.read_decimals, "read_decimals")
