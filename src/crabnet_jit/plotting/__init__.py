"""Pictures and films of networks and their training. No other part needs matplotlib."""

from crabnet_jit.plotting.animation import animate_surface, rotate_surface
from crabnet_jit.plotting.figures import save_figure
from crabnet_jit.plotting.fit import plot_fit
from crabnet_jit.plotting.history import plot_history
from crabnet_jit.plotting.network import plot_network
from crabnet_jit.plotting.search import plot_search
from crabnet_jit.plotting.surface import plot_surface

__all__ = [
    "animate_surface",
    "plot_fit",
    "plot_history",
    "plot_network",
    "plot_search",
    "plot_surface",
    "rotate_surface",
    "save_figure",
]
