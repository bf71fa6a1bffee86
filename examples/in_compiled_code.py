"""A network as a function in programs that Numba and SciPy compile: `python examples/in_compiled_code.py`.

It learns f(x, y) = sin(x) cos(y), and is then integrated, minimised and put into a differential equation.
Needs SciPy: `pip install "crabnet-jit[scipy]"`.
"""

from typing import Any

import numpy as np
from numba import njit, prange
from scipy.integrate import nquad, solve_ivp
from scipy.optimize import minimize

from crabnet_jit import fit

points = np.random.default_rng(1).uniform(-3, 3, (2_000, 2))
net: Any = fit(
    points, np.sin(points[:, 0]) * np.cos(points[:, 1]), hidden_sizes=[16, 16], activation="tanh", seed=1
)


# ---- the differential equation dy/dt = net(t, y) ----


@njit
def runge_kutta(net: Any, y: float, t_end: float, n_steps: int) -> float:
    """y(t_end) of dy/dt = net(t, y) from y(0) on, by the classical method of order 4."""
    h, t = t_end / n_steps, 0.0
    for _ in range(n_steps):
        k1 = net(t, y)
        k2 = net(t + h / 2, y + h / 2 * k1)
        k3 = net(t + h / 2, y + h / 2 * k2)
        k4 = net(t + h, y + h * k3)
        y += h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        t += h
    return y


@njit
def slope(t: float, y: Any) -> Any:
    """What SciPy asks for; the network is a global here."""
    return np.array([net(t, y[0])])


by_scipy = solve_ivp(slope, (0.0, 2.0), [0.5], rtol=1e-9, atol=1e-9).y[0, -1]
print(f"dy/dt = net(t, y): y(2) = {runge_kutta(net, 0.5, 2.0, 200):.6f}, by SciPy {by_scipy:.6f}")

# ---- an integral in two dimensions ----

integral, _ = nquad(net.low_level_callable("nquad"), [[0.0, 1.0], [0.0, 1.0]])
print(f"integral over [0, 1]^2: {integral:.4f}, of f {(1 - np.cos(1)) * np.sin(1):.4f}")


@njit(parallel=True)
def monte_carlo(net: Any, n: int) -> float:
    """The same integral: the mean over random points, on all cores."""
    total = 0.0
    for _ in prange(n):
        total += net(np.random.random(), np.random.random())  # noqa: NPY002  Numba's own generators
    return total / n


print(f"by a million random points: {monte_carlo(net, 1_000_000):.2f}")

# ---- a minimum, by Newton's method ----

lowest = minimize(
    lambda x: net.predict(x[None])[0],
    x0=[-1.0, 0.5],
    jac=lambda x: net.gradient(x[None])[0],
    hess=lambda x: net.hessian(x[None])[0, 0],
    method="trust-exact",
)
x, y = lowest.x
print(f"minimum {lowest.fun:.2f} at ({x:.1f}, {y:.1f}) after {lowest.nit} steps")
if not net.is_inside(lowest.x[None])[0]:
    print("which is outside the data that the network has seen")
