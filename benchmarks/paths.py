"""The one place through which benchmarks import the package's inner modules, wherever they lie.

asv and `benchmarks.compare` run today's benchmark files on older commits, whose files lay elsewhere. Each
name is looked up at its present place first and then at its earlier ones.
"""

import importlib
from types import ModuleType


def _first(*names: str) -> ModuleType:
    """The first of the modules of `crabnet_jit` that this commit has."""
    for name in names:
        try:
            return importlib.import_module(f"crabnet_jit.{name}")
        except ModuleNotFoundError as error:
            # Something else that is missing, an extra for example, is not a matter of place.
            if error.name is None or not error.name.startswith("crabnet_jit."):
                raise
    raise ModuleNotFoundError(f"this commit of crabnet_jit has none of {', '.join(names)}")


jit = _first("machine.jit", "kernels._jit")
tile = _first("machine.tile", "kernels.tile")
view = _first("machine.view", "kernels.view")
entries = _first("kernels.entries", "kernels.entry")
chacha = _first("kernels.chacha")
losses = _first("kernels.losses")
network = _first("kernels.network")
optimizers = _first("kernels.optimizers")
targets = _first("kernels.targets", "kernels.gaussian")
uniform = _first("kernels.uniform")
# The module that calls the training kernel.
steps = _first("training.steps", "chunks", "trainer")
