"""Networks as functions for C, and for anything that takes function pointers: no Python, no exceptions.

Each is compiled for one network. Its machine code contains the network's address and keeps it alive.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray, cfunc, types
from numba.extending import register_jitable

from crabnet_jit.machine.network_type import value_at

_NUMBER, _NUMBERS = types.float64, types.CPointer(types.float64)
_INT, _SIZE, _ANY = types.int32, types.intp, types.voidptr


def pointers_function(net: Any, kind: str, n_in: int, n_out: int, n_values: int) -> Any:
    """A function of pointers to x (n_in,), to y (n_values,), and to the derivatives that `kind` has.

    It fills y and derivatives with NaN if a user's activation raises an exception.
    """

    @register_jitable
    def place(pointer: Any, shape: Any) -> Any:
        array = carray(pointer, shape)
        array[:] = np.nan
        return array

    def value(x: Any, y: Any) -> None:
        values = place(y, (n_values,))
        try:  # noqa: SIM105  Numba compiles no `suppress`
            net.predict_into(carray(x, (n_in,)), values)
        except Exception:
            pass

    def jacobian(x: Any, y: Any, J: Any) -> None:
        values, first = place(y, (n_values,)), place(J, (n_out, n_in))
        try:
            net.predict_into(carray(x, (n_in,)), values)
            net.jacobian_into(carray(x, (n_in,)), first)
        except Exception:
            pass

    def hessian(x: Any, y: Any, J: Any, H: Any) -> None:
        values, first = place(y, (n_values,)), place(J, (n_out, n_in))
        second = place(H, (n_out, n_in, n_in))
        try:
            net.predict_into(carray(x, (n_in,)), values)
            net.jacobian_into(carray(x, (n_in,)), first)
            net.hessian_into(carray(x, (n_in,)), second)
        except Exception:
            pass

    kinds: dict[str, tuple[Callable[..., None], int]] = {
        "value": (value, 2),
        "gradient": (jacobian, 3),
        "jacobian": (jacobian, 3),
        "hessian": (hessian, 4),
    }
    function, n_pointers = kinds[kind]
    return cfunc(types.void(*[_NUMBERS] * n_pointers))(function)


def scipy_function(net: Any, kind: str, n_in: int) -> Any:
    """A function with a signature that SciPy accepts, for a network with one value.

    It returns NaN for another number of inputs, or if a user's activation raises an exception.
    """

    @register_jitable
    def value(n: Any, x: Any) -> Any:
        result = np.nan
        if n == n_in:
            try:
                result = value_at(net, x)
            except Exception:
                result = np.nan
        return result

    def quad(n: Any, x: Any) -> Any:
        return value(n, x)

    def generic_filter(x: Any, n: Any, result: Any, user_data: Any) -> Any:
        result[0] = value(n, x)
        return 1

    if kind == "generic_filter":
        return cfunc(_INT(_NUMBERS, _SIZE, _NUMBERS, _ANY))(generic_filter)
    return cfunc(_NUMBER(_INT, _NUMBERS))(quad)
