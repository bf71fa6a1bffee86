"""Calling a compiled kernel through its address.

The training run does not contain every activation, loss and update rule, but calls them through the addresses
of their machine code. So one compilation serves all of them, and each is compiled when it is first used. A
call costs about 13 ns more than inlined code.

Even calls that are never reached have a cost, since they prevent the compiler from keeping numbers in
registers: 80 ns of the 300 ns of a training step in the article's job. So there is a second compilation for
runs that need no calls: there `calls` is None, and Numba removes the unreachable code.

An address is only valid in this process. Numba turns global arrays of a function into constants, and stores
these on disk with `cache=True`. So addresses are passed in an `array.array`, which Numba does not make
constant.
"""

import functools
from array import array
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from crabnet_jit.machine.llvm import I64, INDEX, step

INLINED = 0  # instead of an address: the kernel is compiled into the run


def address_of(entry_point: Any, *arguments: Any) -> int:
    """The address of a kernel that returns a float64, compiled for arguments of these Numba types.

    It is valid as long as `entry_point` is alive.
    """
    entry_point.compile(arguments)
    result = entry_point.overloads[arguments]
    if result.signature.return_type != types.float64:
        raise TypeError(f"the kernel must return float64, not {result.signature.return_type}")
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


def addresses(values: Iterable[int]) -> "array[int]":
    """Addresses in the form that kernels take."""
    return array("q", values)


def array_type(dtype: "np.dtype[Any]", n_dimensions: int) -> Any:
    """Numba's type of C-contiguous arrays."""
    return types.Array(from_dtype(dtype), n_dimensions, "C")


def by_kernel(find: Callable[[Any, "np.dtype[Any]"], int]) -> Callable[[Any, "np.dtype[Any]"], int]:
    """Make a function of a kernel and a type cache its results as long as the kernel is alive."""
    found: WeakKeyDictionary[Any, dict[np.dtype[Any], int]] = WeakKeyDictionary()

    @functools.wraps(find)
    def find_once(kernel: Any, dtype: np.dtype[Any]) -> int:
        of_kernel = found.setdefault(kernel, {})
        if dtype not in of_kernel:
            of_kernel[dtype] = find(kernel, dtype)
        return of_kernel[dtype]

    return find_once


def call_address(context: Any, builder: Any, address: Any, argument_types: Any, values: Any) -> Any:
    """Code that calls the kernel at `address`, which returns a float64; an exception in it is passed on."""
    convention = context.call_conv
    function_type = convention.get_function_type(types.float64, argument_types)
    function = builder.inttoptr(address, function_type.as_pointer())
    status, result = convention.call_function(builder, function, types.float64, argument_types, values)
    with cgutils.if_unlikely(builder, status.is_error):
        convention.return_status_propagate(builder, status)
    return result


def kept_address(context: Any, builder: Any, owner: Any, address: int) -> Any:
    """A pointer to `owner`'s memory at `address`. The code keeps `owner` alive and is not cached on disk."""
    library = context.active_code_library
    library.owners_of_addresses = [*getattr(library, "owners_of_addresses", []), owner]
    return context.add_dynamic_addr(builder, address, info=type(owner).__name__)


@intrinsic
def call(typing_context: Any, address: Any, arguments: Any) -> Any:
    """Call the kernel at `address` with a tuple of arguments; an exception in it is passed on."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        values = cgutils.unpack_tuple(builder, args[1])
        return call_address(context, builder, args[0], arguments.types, values)

    return types.float64(INDEX, arguments), codegen


@intrinsic
def address(typing_context: Any, addresses: Any, index: Any) -> Any:
    """`addresses[index]`."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        array = context.make_array(addresses)(context, builder, args[0])
        if context.enable_boundscheck:
            (size,) = cgutils.unpack_tuple(builder, array.shape)
            cgutils.do_boundscheck(context, builder, args[1], size)
        found = builder.load(step(builder, array.data, I64, args[1]), typ=I64)
        # Constant during a call, so LLVM may load each once: 0.7 % of an iteration with Adam and tanh.
        found.set_metadata("invariant.load", builder.module.add_metadata([]))
        return found

    return INDEX(addresses, INDEX), codegen
