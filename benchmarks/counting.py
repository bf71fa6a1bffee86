"""Counts that do not depend on how busy the machine is."""

import re

from numba.core.runtime import rtsys

from .common import given_data_trainer, random_net


def allocations_per_iteration() -> float:
    """Calls of Numba's allocator, from 1 and 1,001 iterations; needs NUMBA_NRT_STATS=1 in the environment."""

    def allocations(n: int) -> int:
        trainer = given_data_trainer(random_net([8, 8]), 16, n)
        before = rtsys.get_allocation_stats().alloc
        trainer.run(n)
        return int(rtsys.get_allocation_stats().alloc - before)

    return (allocations(1001) - allocations(1)) / 1000


def instruction_counts(assembly: str) -> dict[str, float]:
    """Instructions of some machine code, and its multiply-adds, packed and scalar."""
    instructions = re.findall(r"^\t([a-z]\w*)", assembly, re.MULTILINE)
    return {
        "packed_fma": len([name for name in instructions if re.fullmatch(r"vfn?m(add|sub)\d+p[sd]", name)]),
        "scalar_fma": len([name for name in instructions if re.fullmatch(r"vfn?m(add|sub)\d+s[sd]", name)]),
        "instructions": len(instructions),
    }
