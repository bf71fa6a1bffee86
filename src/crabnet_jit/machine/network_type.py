"""Networks as values in functions that Numba compiles: `net(x0, x1)` and its methods.

A network is the address of its record (network/record.py), which begins with the addresses of two kernels
(kernels/point.py). A call goes through these, so users' code contains nothing of a network, and one
compilation serves all networks of a type. A global network is a constant of this process: Numba does not
cache such code on disk.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.core.pythonapi import NativeValue
from numba.core.typing import signature
from numba.core.typing.templates import AttributeTemplate, bound_function, infer_getattr
from numba.extending import intrinsic, lower_builtin, models, register_model, unbox

from crabnet_jit.arrays import Array
from crabnet_jit.machine.address import call_address, kept_address
from crabnet_jit.machine.llvm import I64, step
from crabnet_jit.machine.view import borrow

#: Entries of a record: addresses of kernels, and of the box of inputs, or 0.
VALUE, DERIVATIVES, BOX = range(3)
RECORD_SIZE = 13
#: Version of these entries and of the kernels' arguments: a new one makes Numba recompile what is on disk.
_VERSION = 1
_RECORD = types.Array(types.int64, 1, "C")


_NUMBER = types.float64
_FLAT, _MATRIX = (types.Array(_NUMBER, n, "C") for n in (1, 2))
VALUE_TYPES = _RECORD, _FLAT, _FLAT  # arguments of the kernel of values: record, x, y
DERIVATIVES_TYPES = _RECORD, _FLAT, _FLAT, _MATRIX, _MATRIX  # record, x, y, J, H


class NetworkType(types.Callable):
    """Networks with these numbers of inputs, outputs and values; a classifier's values are probabilities.

    Those with a `refusal`, which says why, cannot be called.
    """

    dtype = _NUMBER  # type of inputs and outputs, even of float32 networks

    def __init__(self, n_in: int, n_out: int, n_values: int, refusal: str = "") -> None:
        self.n_in, self.n_out, self.n_values = n_in, n_out, n_values
        self._refusal, self._version = refusal, _VERSION
        super().__init__(f"NN({n_in}, {n_out}, {n_values}){refusal}")

    def check_use(self) -> None:
        """Raise the refusal, if there is one."""
        if self._refusal:
            raise TypingError(self._refusal)

    @property
    def key(self) -> Any:
        """What distinguishes types, including those from a file."""
        return self.name, self._version

    @property
    def result(self) -> Any:
        """The type of a call's result: a number, or a tuple of several."""
        return self.dtype if self.n_values == 1 else types.containers.UniTuple(self.dtype, self.n_values)

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        """The signature of a call."""
        self.check_use()
        _check_numbers(self.n_in, "net", args, kws)
        return signature(self.result, *[self.dtype] * self.n_in, recvr=self)

    def get_call_signatures(self) -> Any:
        """The signatures of all calls."""
        return [signature(self.result, *[self.dtype] * self.n_in, recvr=self)], False

    def get_impl_key(self, sig: Any) -> Any:
        """The key by which calls are lowered."""
        return NetworkType


def _check_numbers(n_in: int, name: str, args: Any, kws: Any = ()) -> None:
    real = types.Integer, types.Float, types.Boolean
    if kws or len(args) != n_in or not all(isinstance(types.misc.unliteral(a), real) for a in args):
        raise TypingError(f"{name} takes {n_in} real numbers, one for each input, got {_came(args, kws)}")


def _came(args: Any, kws: Any) -> str:
    named = [f"{name}={kind}" for name, kind in dict(kws).items()]
    return ", ".join([*map(str, args), *named]) or "nothing"


@register_model(NetworkType)
class _NetworkModel(models.PrimitiveModel):
    def __init__(self, manager: Any, network: NetworkType) -> None:
        super().__init__(manager, network, I64)


@unbox(NetworkType)
def _unbox(network: NetworkType, value: Any, c: Any) -> Any:
    address = c.pyapi.object_getattr_string(value, "_record_address")
    native = c.pyapi.long_as_longlong(address)
    c.pyapi.decref(address)
    return NativeValue(native, is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


@lower_constant(NetworkType)
def _constant(context: Any, builder: Any, network: NetworkType, value: Any) -> Any:
    """The record's address."""
    return builder.ptrtoint(kept_address(context, builder, value, value._record_address), I64)


def _kernel_call(
    context: Any, builder: Any, address: Any, entry: int, argument_types: Any, arrays: Any
) -> None:
    """Call a kernel of a record with the record and arrays."""
    record_type, *rest = argument_types
    data = builder.inttoptr(address, ir.PointerType(I64))
    record = borrow(context, builder, record_type, data, [I64(RECORD_SIZE)])
    kernel = builder.load(step(builder, data, I64, I64(entry)), typ=I64)
    call_address(context, builder, kernel, [record_type, *rest], [record, *arrays])


def _room(context: Any, builder: Any, kind: Any, shape: list[int]) -> Any:
    """An array on the stack, in the function's first block, so that loops do not create more of them."""
    n = max(1, int(np.prod(shape)))
    data = cgutils.alloca_once(builder, context.get_data_type(kind), size=I64(n))
    view = types.Array(kind, len(shape), "C")
    return borrow(context, builder, view, data, [I64(k) for k in shape]), data


def _inputs(context: Any, builder: Any, network: NetworkType, numbers: Any) -> Any:
    x, data = _room(context, builder, network.dtype, [network.n_in])
    for k, number in enumerate(numbers):
        builder.store(number, step(builder, data, number.type, I64(k)))
    return x


def numbers_of(n_in: int) -> Any:
    """A function that converts a tuple of n_in real numbers to an array on the stack."""

    @intrinsic
    def numbers(typing_context: Any, x: Any) -> Any:
        _check_numbers(n_in, "the function", x.types)

        def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            array, data = _room(context, builder, _NUMBER, [n_in])
            for k, (kind, number) in enumerate(
                zip(x.types, cgutils.unpack_tuple(builder, args[0]), strict=True)
            ):
                value = context.cast(builder, number, kind, _NUMBER)
                builder.store(value, step(builder, data, value.type, I64(k)))
            return array

        return _FLAT(x), codegen

    return numbers


def array_here(array: Array) -> Any:
    """A function that returns an array of this process, so Numba does not cache its callers on disk."""

    @intrinsic
    def here(typing_context: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            address = kept_address(context, builder, array, array.ctypes.data)
            data = builder.bitcast(address, context.get_data_type(_NUMBER).as_pointer())
            return borrow(context, builder, _FLAT, data, [I64(array.size)])

        return _FLAT(), codegen

    return here


def _results(context: Any, builder: Any, network: NetworkType, data: Any, result: Any) -> Any:
    llvm = context.get_data_type(network.dtype)
    n = 1 if result == network.dtype else len(result)
    numbers = [builder.load(step(builder, data, llvm, I64(k)), typ=llvm) for k in range(n)]
    return numbers[0] if result == network.dtype else context.make_tuple(builder, result, numbers)


@lower_builtin(NetworkType, NetworkType, types.misc.VarArg(types.Any))
def _call(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    network = sig.args[0]
    x = _inputs(context, builder, network, args[1:])
    y, data = _room(context, builder, network.dtype, [network.n_values])
    _kernel_call(context, builder, args[0], VALUE, VALUE_TYPES, [x, y])
    return _results(context, builder, network, data, sig.return_type)


@intrinsic
def _value(typing_context: Any, network: Any, x: Any, y: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        _kernel_call(context, builder, args[0], VALUE, VALUE_TYPES, args[1:])
        return context.get_dummy_value()

    return types.void(network, x, y), codegen


@intrinsic
def value_at(typing_context: Any, network: Any, x: Any) -> Any:
    """The value of a network with one value, at the numbers that a pointer points to."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        inputs = borrow(context, builder, _FLAT, args[1], [I64(network.n_in)])
        y, data = _room(context, builder, _NUMBER, [1])
        _kernel_call(context, builder, args[0], VALUE, VALUE_TYPES, [inputs, y])
        return _results(context, builder, network, data, _NUMBER)

    return _NUMBER(network, x), codegen


@intrinsic
def _jacobian(typing_context: Any, network: Any, x: Any, J: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        y, _ = _room(context, builder, network.dtype, [network.n_values])
        H, _ = _room(context, builder, network.dtype, [0, network.n_in**2])
        _kernel_call(context, builder, args[0], DERIVATIVES, DERIVATIVES_TYPES, [args[1], y, args[2], H])
        return context.get_dummy_value()

    return types.void(network, x, J), codegen


@intrinsic
def _hessian(typing_context: Any, network: Any, x: Any, H: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        y, _ = _room(context, builder, network.dtype, [network.n_values])
        J, _ = _room(context, builder, network.dtype, [network.n_out, network.n_in])
        data = context.make_array(H)(context, builder, args[2]).data
        rows = borrow(context, builder, _MATRIX, data, [I64(network.n_out), I64(network.n_in**2)])
        _kernel_call(context, builder, args[0], DERIVATIVES, DERIVATIVES_TYPES, [args[1], y, J, rows])
        return context.get_dummy_value()

    return types.void(network, x, H), codegen


@infer_getattr
class _Methods(AttributeTemplate):
    """The methods of a network in compiled code."""

    key = NetworkType

    @bound_function("NN.gradient")
    def resolve_gradient(self, net: NetworkType, args: Any, kws: Any) -> Any:
        net.check_use()
        _check_numbers(net.n_in, "net.gradient", args, kws)
        if net.n_out != 1:
            raise TypingError(f"net.gradient needs one output, not {net.n_out}: see net.jacobian_into")
        return signature(types.containers.UniTuple(net.dtype, net.n_in), *[net.dtype] * net.n_in)

    @bound_function("NN.is_inside")
    def resolve_is_inside(self, net: NetworkType, args: Any, kws: Any) -> Any:
        net.check_use()
        _check_numbers(net.n_in, "net.is_inside", args, kws)
        return signature(types.boolean, *[net.dtype] * net.n_in)

    @bound_function("NN.predict_into")
    def resolve_predict_into(self, net: NetworkType, args: Any, kws: Any) -> Any:
        return _fills(net, "predict_into", args, kws)

    @bound_function("NN.jacobian_into")
    def resolve_jacobian_into(self, net: NetworkType, args: Any, kws: Any) -> Any:
        return _fills(net, "jacobian_into", args, kws)

    @bound_function("NN.hessian_into")
    def resolve_hessian_into(self, net: NetworkType, args: Any, kws: Any) -> Any:
        return _fills(net, "hessian_into", args, kws)


#: The array that a method fills: its name, and its shape for one sample.
_FILLED: dict[str, tuple[str, Callable[[NetworkType], tuple[int, ...]]]] = {
    "predict_into": ("y", lambda net: (net.n_values,)),
    "jacobian_into": ("J", lambda net: (net.n_out, net.n_in)),
    "hessian_into": ("H", lambda net: (net.n_out, net.n_in, net.n_in)),
}


def _fills(net: NetworkType, method: str, args: Any, kws: Any) -> Any:
    """The signature of a method that fills an array, for one sample or for several."""
    net.check_use()
    name, shape = _FILLED[method]
    one = f"x {(net.n_in,)} and {name} {shape(net)}"
    allowed = (
        f"net.{method} takes C-contiguous arrays of {net.dtype}, {one}, or both with n_samples before that"
    )
    came = _came(args, kws)
    if kws or len(args) != 2:
        raise TypingError(f"{allowed}; got {came}")
    x, out = args
    fit = all(isinstance(a, types.Array) and a.dtype == net.dtype and a.layout == "C" for a in args)
    if not fit or x.ndim not in (1, 2) or out.ndim != len(shape(net)) + x.ndim - 1 or not out.mutable:
        raise TypingError(f"{allowed}; got {came}")
    return signature(types.void, x, out)


@lower_builtin("NN.is_inside", NetworkType, types.misc.VarArg(types.Any))
def _lower_is_inside(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    n_in = sig.args[0].n_in
    data = builder.inttoptr(args[0], ir.PointerType(I64))
    box = builder.load(step(builder, data, I64, I64(BOX)), typ=I64)
    with cgutils.if_unlikely(builder, builder.icmp_signed("==", box, I64(0))):
        message = "net.is_inside needs a fitted network: this one has no domain"
        context.call_conv.return_user_exc(builder, ValueError, (message,))
    number = context.get_data_type(_NUMBER)
    bounds = builder.inttoptr(box, number.as_pointer())
    inside = cgutils.true_bit
    for k, x in enumerate(args[1:]):
        low, high = (
            builder.load(step(builder, bounds, number, I64(place)), typ=number) for place in (k, n_in + k)
        )
        inside = builder.and_(inside, builder.fcmp_ordered(">=", x, low))
        inside = builder.and_(inside, builder.fcmp_ordered("<=", x, high))
    return inside


@lower_builtin("NN.gradient", NetworkType, types.misc.VarArg(types.Any))
def _lower_gradient(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    network = sig.args[0]
    x = _inputs(context, builder, network, args[1:])
    y, _ = _room(context, builder, network.dtype, [network.n_values])
    J, data = _room(context, builder, network.dtype, [1, network.n_in])
    H, _ = _room(context, builder, network.dtype, [0, network.n_in**2])
    _kernel_call(context, builder, args[0], DERIVATIVES, DERIVATIVES_TYPES, [x, y, J, H])
    return _results(context, builder, network, data, sig.return_type)


def _lower_filling(method: str, put: Any) -> None:
    """Define the code of a method that fills an array by `put(net, x, out)`, an intrinsic for one sample."""
    name, shape_of = _FILLED[method]

    @lower_builtin(f"NN.{method}", NetworkType, types.Array, types.Array)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        network, x_type, _ = sig.args
        n_in, shape = network.n_in, shape_of(network)
        message = f"net.{method} takes x {(n_in,)} and {name} {shape}, or both with n_samples before that"

        def one(net: Any, x: Any, out: Any) -> None:
            if x.shape != (n_in,) or out.shape != shape:
                raise ValueError(message)
            put(net, x, out)

        def several(net: Any, x: Any, out: Any) -> None:
            if x.shape[1:] != (n_in,) or out.shape[1:] != shape or out.shape[0] != x.shape[0]:
                raise ValueError(message)
            for k in range(x.shape[0]):
                put(net, x[k], out[k])

        return context.compile_internal(builder, one if x_type.ndim == 1 else several, sig, args)


_lower_filling("predict_into", _value)
_lower_filling("jacobian_into", _jacobian)
_lower_filling("hessian_into", _hessian)
