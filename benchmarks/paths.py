"""The one place through which benchmarks import the package's inner modules, wherever they lie.

asv and `benchmarks.compare` run today's benchmark files on older commits, whose files lay elsewhere. Each
name is looked up at its present place first and then at its earlier ones.
"""

import importlib
from types import ModuleType
from typing import Any, NamedTuple


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
vector = _first("machine.vector", "kernels.vector")
view = _first("machine.view", "kernels.view")
entries = _first("kernels.entries", "kernels.entry")
chacha = _first("kernels.chacha")
losses = _first("kernels.losses")
network = _first("kernels.network")
structs = _first("kernels.structs", "kernels.network")
optimizers = _first("kernels.optimizers")
targets = _first("kernels.targets", "kernels.gaussian")
uniform = _first("kernels.uniform")
# The module that chooses the training kernel.
steps = _first("training.compiled", "training.chunks", "training.steps", "chunks", "trainer")


entry_point = jit.entry_point if hasattr(jit, "entry_point") else jit.entry


class _Stream(NamedTuple):
    """A place in a random stream; before it was one argument, kernels took its parts."""

    key: Any
    number: Any
    group: Any
    skip: Any


if hasattr(structs, "Stream"):
    Stream: Any = structs.Stream
    fill_groups, fill_uniform = chacha.fill_groups, uniform.fill_uniform
else:
    Stream = _Stream

    @jit.kernel
    def fill_groups(stream: Any, ahead: Any, draws: Any) -> None:
        """The same, called with the parts of a stream."""
        chacha.fill_groups(stream.key, stream.number, stream.group + ahead, draws)

    @jit.kernel
    def fill_uniform(
        stream: Any, bits: Any, scale: Any, low: Any, n_samples: Any, draws: Any, x: Any
    ) -> None:
        """The same, called with the parts of a stream."""
        key, number, group, skip = stream.key, stream.number, stream.group, stream.skip
        uniform.fill_uniform(key, number, group, skip, bits, scale, low, n_samples, draws, x)


# Forward and backward of batch number k, of one panel, without anything that is called by address.
if hasattr(view, "panels"):

    @jit.kernel
    def forward(net: Any, workspace: Any, batches: Any, k: Any) -> None:
        """With groups of panels."""
        x, masks = view.panels(batches.x, k, 0, 1), view.panels(batches.masks, k, 0, 1)
        network.network_forward(net, None, x, masks, workspace)

    @jit.kernel
    def backward(net: Any, workspace: Any, batches: Any, k: Any) -> None:
        """With groups of panels."""
        network.network_backward(net, None, view.panels(batches.x, k, 0, 1), workspace, False)

elif hasattr(structs, "Stream"):

    @jit.kernel
    def forward(net: Any, workspace: Any, batches: Any, k: Any) -> None:
        """With addresses apart from the network."""
        x, masks = view.panel(batches.x, k, 0), view.panel(batches.masks, k, 0)
        network.network_forward(net, None, x, masks, workspace)

    @jit.kernel
    def backward(net: Any, workspace: Any, batches: Any, k: Any) -> None:
        """With addresses apart from the network."""
        network.network_backward(net, None, view.panel(batches.x, k, 0), workspace)

else:

    @jit.kernel
    def forward(net: Any, workspace: Any, batches: Any, k: Any) -> None:
        """With addresses as a part of the network."""
        x, masks = view.panel(batches.x, k, 0), view.panel(batches.masks, k, 0)
        network.network_forward(net, x, masks, workspace)

    @jit.kernel
    def backward(net: Any, workspace: Any, batches: Any, k: Any) -> None:
        """With addresses as a part of the network."""
        network.network_backward(net, view.panel(batches.x, k, 0), workspace)


def chunks_of(trainer: Any) -> Any:
    """The compiled iterations of a trainer."""
    return trainer._steps.chunks if hasattr(trainer, "_steps") else trainer._chunks
