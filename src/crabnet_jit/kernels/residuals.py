"""Residuals of equations, and their derivatives with respect to a network's outputs."""

import functools
import math
from typing import Any

from crabnet_jit.arrays import Group, Matrix, Number
from crabnet_jit.machine.equation import Equation, arguments_of, store_of
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.view import rows_of


@functools.cache
def residual_panels(equation: Equation) -> Any:
    """A function that makes the kernel of residuals from a compiled equation (machine/equation.py)."""
    arguments, store_residual = arguments_of(equation), store_of(equation)

    def make(function: Any) -> Any:
        def residuals(
            x: Group, jets: Group, weight: Group, units: Matrix, factor: Number, r: Group, dr_djets: Group
        ) -> float:
            """Overwrite r (n, 1, width) and dr_djets (n_jets n, n_out, width); return 0.

            They are the residuals at the points x (n, n_in, width), times sqrt(factor weight), and their
            derivatives with respect to the jets: the outputs' values and derivatives there (kernels/jets.py).
            Both are 0 where the first row of weight (n, n_rows, width) is 0. `units` convert points and jets
            to the units of the data.
            """
            n, of_x, of_jets, of_weight = x.shape[0], rows_of(x), rows_of(jets), rows_of(weight)
            of_r, of_derivatives = rows_of(r), rows_of(dr_djets)
            for p in range(n):
                for s in range(of_weight.shape[1]):
                    share = of_weight[p * weight.shape[1], s]
                    root = math.sqrt(factor * share)
                    if share > 0.0:
                        residual = root * function(*arguments(of_x, of_jets, units, n, p, s))
                    else:
                        residual = 0.0
                    store_residual(of_r, of_derivatives, n, p, s, residual)
            return 0.0

        return kernel(residuals)

    return make
