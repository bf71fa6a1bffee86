"""One sample at a time, in users' compiled code: values, and derivatives with respect to inputs.

A record of integers says where a network lies in memory, so one compilation serves every network of a type.
Intermediate results are on the stack, so calls may be nested and run on many threads.

Everything is in the units of the data. The numbers of a layer begin at a multiple of PANEL; the padding after
them is never used.
"""

from typing import Any, NamedTuple

import numpy as np

from crabnet_jit.arrays import Flat, Matrix, Number
from crabnet_jit.kernels.activations import relu, sigmoid
from crabnet_jit.kernels.elementary import exp
from crabnet_jit.kernels.layout import B_START, KIND, N_IN, N_OUT, RELU, W_START
from crabnet_jit.kernels.structs import AS_THEY_ARE, EXPONENTIAL, MEANS_AND_STDS, SOFTMAX, TWO_CLASSES
from crabnet_jit.machine.address import INLINED, call
from crabnet_jit.machine.flat import (
    LANES,
    column_sums,
    converted,
    flat_at,
    load_part,
    row_sums,
    stack,
    store_part,
)
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.network_type import DERIVATIVES, RECORD_SIZE
from crabnet_jit.machine.vector import splat
from crabnet_jit.machine.view import matrix, part

#: Entries of a record after those of network_type.py: numbers and addresses of arrays.
N_LAYERS, LINK, N_UNITS, LAYOUT, PLACES = range(3, 8)
CALLS, CONSTANTS, PARAMETERS, X_UNITS, Y_UNITS = range(8, RECORD_SIZE)
START, ACTIVATION, CURVATURE = range(3)  # columns of PLACES, which has a row for each layer
_COLUMNS = 6  # of a layout
_LOG2_PANEL = PANEL.bit_length() - 1


class Point(NamedTuple):
    """A network as a record describes it.

    `layout` is as in layout.py. `places` (n_layers, 3) holds where a layer's numbers begin among those of all
    layers, and the addresses of its activation and of the activation's second derivative. The units are
    means, then standard deviations; after those of x there are LANES ones.
    """

    layout: Matrix
    places: Matrix
    constants: Flat
    parameters: Flat
    x_units: Flat
    y_units: Flat


@kernel
def view_of(record: Flat, zero: Number) -> Point:
    """The arrays of a record. The network's numbers have the type of `zero`; all others are float64."""
    n, number = record[N_LAYERS], np.float64(0.0)
    layout = matrix(flat_at(record, record[LAYOUT], n * _COLUMNS), 0, n, _COLUMNS)
    places = matrix(flat_at(record, record[PLACES], n * 3), 0, n, 3)
    n_in, n_out = layout[0, N_IN], layout[n - 1, N_OUT]
    return Point(
        layout,
        places,
        flat_at(number, record[CONSTANTS], n),
        flat_at(zero, record[PARAMETERS], layout[n - 1, B_START] + n_out),
        flat_at(number, record[X_UNITS], 2 * n_in + LANES),
        flat_at(number, record[Y_UNITS], 2 * n_out),
    )


def value_kernel(zero: Any) -> Any:
    """The kernel of values, for networks of the type of `zero`."""

    def point_value(record: Flat, x: Flat, y: Flat) -> float:
        """Overwrite y (n_values,) with the values at x (n_in,), both float64.

        These are outputs in the units of the data, exponentials of them, or probabilities.
        """
        net, n_units = view_of(record, zero), record[N_UNITS]
        h, dh_dz = stack(zero, n_units), stack(zero, n_units)
        _forward(net, x, h, dh_dz, None)
        last = net.layout.shape[0] - 1
        values(record[LINK], net.layout[last, N_OUT], net.y_units, h, net.places[last, START], y)
        return 0.0

    return kernel(point_value)


def derivatives_kernel(zero: Any) -> Any:
    """The kernel of values and derivatives, for networks of the type of `zero`."""

    def point_derivatives(record: Flat, x: Flat, y: Flat, J: Matrix, H: Matrix) -> float:
        """The same, and J (n_out, n_in) and H (n_out, n_in n_in): derivatives of the outputs before a link.

        H may have size 0; then nothing is written to it.
        """
        net, n_units = view_of(record, zero), record[N_UNITS]
        h, dh_dz, z = stack(zero, n_units), stack(zero, n_units), stack(zero, n_units)
        _forward(net, x, h, dh_dz, z)
        dL_dh, dL_dz = stack(zero, n_units), stack(zero, n_units)
        tangents_h, tangents_z = stack(zero, n_units), stack(zero, n_units)
        n_in, n_out = net.layout[0, N_IN], net.layout[net.layout.shape[0] - 1, N_OUT]
        g = stack(zero, _padded(n_in))
        has_second = H.size > 0
        slopes = stack(zero, n_units)
        is_curved = has_second and _curvatures(net, z)
        if has_second or n_out <= n_in:
            for k in range(n_out):
                _backward(net, dh_dz, k, dL_dh, dL_dz, g)
                for i in range(n_in):
                    J[k, i] = g[i] * net.y_units[n_out + k] / net.x_units[n_in + i]
                for i in range(H.shape[1] if has_second and not is_curved else 0):
                    H[k, i] = 0.0
                for i in range(n_in if is_curved else 0):
                    _tangents(net, dh_dz, i, g, tangents_h, tangents_z)
                    _backward_tangents(net, dh_dz, z, dL_dh, tangents_z, slopes, g)
                    scale = net.y_units[n_out + k] / net.x_units[n_in + i]
                    for j in range(i + 1):
                        second = g[j] * scale / net.x_units[n_in + j]
                        H[k, i * n_in + j] = second
                        H[k, j * n_in + i] = second
        else:
            start = net.places[net.layout.shape[0] - 1, START]
            for i in range(n_in):
                _tangents(net, dh_dz, i, g, tangents_h, tangents_z)
                for k in range(n_out):
                    J[k, i] = tangents_h[start + k] * net.y_units[n_out + k] / net.x_units[n_in + i]
        last = net.layout.shape[0] - 1
        values(record[LINK], net.layout[last, N_OUT], net.y_units, h, net.places[last, START], y)
        return 0.0

    return kernel(point_derivatives)


@kernel
def derivatives_of_rows(
    record: Flat, x: Flat, y: Flat, J: Flat, H: Flat, n_in: Number, n_out: Number
) -> None:
    """Overwrite J, and H unless its size is 0, with the derivatives at all samples in x; y is workspace."""
    has_second = H.size > 0
    for k in range(x.size // n_in):
        J_k = matrix(J, k * n_out * n_in, n_out, n_in)
        H_k = matrix(H, k * n_out * n_in * n_in if has_second else 0, n_out if has_second else 0, n_in * n_in)
        call(record[DERIVATIVES], (record, part(x, k * n_in, n_in), y, J_k, H_k))


@kernel
def _padded(n: Number) -> Number:
    return (n + PANEL - 1) & -PANEL


@kernel
def _rows(x: Flat, start: Number, n: Number) -> Matrix:
    """A layer's numbers in the shape that the kernels of activations take."""
    return matrix(x, start, (n + PANEL - 1) >> _LOG2_PANEL, PANEL)


@kernel
def _forward(net: Point, x: Flat, h: Flat, dh_dz: Flat, z: Flat) -> None:
    """Overwrite the outputs h of all layers, their derivatives, and the sums z, unless z is None."""
    n_in = net.layout[0, N_IN]
    before = stack(h, _padded(n_in))
    for i in range(0, n_in, LANES):
        n = n_in - i
        mean, std = load_part(net.x_units, i, n), load_part(net.x_units, n_in + i, LANES)
        store_part(before, i, converted((load_part(x, i, n) - mean) / std, h))
    for layer in range(net.layout.shape[0]):
        n_in, n_out = net.layout[layer, N_IN], net.layout[layer, N_OUT]
        W, b = net.layout[layer, W_START], net.layout[layer, B_START]
        start, activation = net.places[layer, START], net.places[layer, ACTIVATION]
        is_rectified = net.layout[layer, KIND] == RELU
        nothing = load_part(before, 0, 0)
        store_part(h, start + _padded(n_out) - LANES, nothing)  # garbage would raise flags in activations
        if z is not None:
            store_part(z, start + _padded(n_out) - LANES, nothing)
        for o in range(0, n_out, LANES):
            sums = row_sums(net.parameters, W + o * n_in, n_in, n_out - o, before)
            sums = sums + load_part(net.parameters, b + o, n_out - o)
            if z is not None:
                store_part(z, start + o, sums)
            slope = splat(sums, 1.0)
            if is_rectified:
                sums, slope, _, _ = relu(sums, 0.0)
            store_part(h, start + o, sums)
            store_part(dh_dz, start + o, slope)
        if activation != INLINED:
            rows = _rows(h, start, n_out)
            call(activation, (rows, net.constants[layer], rows, _rows(dh_dz, start, n_out)))
        before = part(h, start, n_out)


@kernel
def values(link: Number, n_out: Number, y_units: Flat, h: Flat, start: Number, y: Flat) -> None:
    """Overwrite y with what the outputs in h, from `start` on, mean; h is overwritten, too.

    If y has another size, it becomes NaN: its caller was compiled for a network with other classes.
    """
    if y.size != (2 if link == TWO_CLASSES else n_out):
        for k in range(y.size):
            y[k] = np.nan
        return
    if link in (AS_THEY_ARE, EXPONENTIAL, MEANS_AND_STDS):
        for k in range(n_out):
            y[k] = h[start + k] * y_units[n_out + k] + y_units[k]
        if link != AS_THEY_ARE:
            _powers(0 if link == EXPONENTIAL else n_out // 2, y)
        return
    _probabilities(link, n_out, h, start, y)


@kernel
def _powers(first: Number, y: Flat) -> None:
    """Overwrite y with exp(y), from index `first` on."""
    power = stack(y, LANES)
    for k in range(first, y.size):
        store_part(power, 0, exp(load_part(y, k, 1)))
        y[k] = power[0]


@kernel
def _probabilities(link: Number, n_out: Number, h: Flat, start: Number, y: Flat) -> None:
    """Overwrite y with the probabilities of classes, and the logits in h."""
    if link == TWO_CLASSES:
        z = load_part(h, start, 1)
        for k in range(2):
            p, _, _, _ = sigmoid(
                -z if k == 0 else z, 0.0
            )  # not 1 - p, which loses all digits if p is almost 1
            store_part(h, start, p)
            y[k] = h[start]
        return
    largest = h[start]
    for k in range(n_out):
        largest = max(largest, h[start + k])
    for k in range(0, n_out, LANES):
        z = load_part(h, start + k, n_out - k)
        p = exp(z - largest)
        if link != SOFTMAX:
            p, _, _, _ = sigmoid(z, 0.0)
        store_part(h, start + k, p)
    total = 1.0
    if link == SOFTMAX:
        total = 0.0
        for k in range(n_out):
            total += h[start + k]
    for k in range(n_out):
        y[k] = h[start + k] / total


@kernel
def _backward(net: Point, dh_dz: Flat, output: Number, dL_dh: Flat, dL_dz: Flat, g: Flat) -> None:
    """Overwrite the derivatives of one output with respect to all layers' h and z, and to the inputs: g."""
    last = net.layout.shape[0] - 1
    start, n_out = net.places[last, START], net.layout[last, N_OUT]
    for k in range(n_out):
        dL_dh[start + k] = 1.0 if k == output else 0.0
        dL_dz[start + k] = dh_dz[start + k] if k == output else 0.0
    for layer in range(last, -1, -1):
        n_in, n_out, W = net.layout[layer, N_IN], net.layout[layer, N_OUT], net.layout[layer, W_START]
        of_layer = part(dL_dz, net.places[layer, START], n_out)
        start = 0 if layer == 0 else net.places[layer - 1, START]
        for i in range(0, n_in, LANES):
            sums = column_sums(net.parameters, W, n_in, n_out, of_layer, i)
            if layer == 0:
                store_part(g, i, sums)
            else:
                store_part(dL_dh, start + i, sums)
                store_part(dL_dz, start + i, sums * load_part(dh_dz, start + i, n_in - i))


@kernel
def _tangents(net: Point, dh_dz: Flat, input: Number, x: Flat, h: Flat, z: Flat) -> None:
    """Overwrite h and z with the derivatives of all layers' h and z by one input; x is workspace."""
    n_in = net.layout[0, N_IN]
    for i in range(n_in):
        x[i] = 1.0 if i == input else 0.0
    before = part(x, 0, n_in)
    for layer in range(net.layout.shape[0]):
        n_in, n_out, W = net.layout[layer, N_IN], net.layout[layer, N_OUT], net.layout[layer, W_START]
        start = net.places[layer, START]
        for o in range(0, n_out, LANES):
            sums = row_sums(net.parameters, W + o * n_in, n_in, n_out - o, before)
            store_part(z, start + o, sums)
            store_part(h, start + o, sums * load_part(dh_dz, start + o, n_out - o))
        before = part(h, start, n_out)


@kernel
def _curvatures(net: Point, z: Flat) -> bool:
    """Overwrite the sums z of all layers with the second derivatives of their activations there.

    Return whether any of them is not 0.
    """
    is_curved = False
    for layer in range(net.layout.shape[0]):
        n_out, start = net.layout[layer, N_OUT], net.places[layer, START]
        curvature = net.places[layer, CURVATURE]
        is_curved = is_curved or net.places[layer, ACTIVATION] != INLINED
        if curvature != INLINED:
            rows = _rows(z, start, n_out)
            call(curvature, (rows, net.constants[layer], rows))
        else:
            unknown = np.nan if net.places[layer, ACTIVATION] != INLINED else 0.0
            for o in range(n_out):
                z[start + o] = unknown
    return is_curved


@kernel
def _backward_tangents(
    net: Point, dh_dz: Flat, curvature: Flat, dL_dh: Flat, tangents: Flat, slopes: Flat, g: Flat
) -> None:
    """Overwrite g with the derivative of `_backward`'s g along `tangents` of z; slopes is workspace."""
    last = net.layout.shape[0] - 1
    start, n_out = net.places[last, START], net.layout[last, N_OUT]
    for k in range(n_out):
        slopes[start + k] = dL_dh[start + k] * curvature[start + k] * tangents[start + k]
    for layer in range(last, -1, -1):
        n_in, n_out, W = net.layout[layer, N_IN], net.layout[layer, N_OUT], net.layout[layer, W_START]
        of_layer = part(slopes, net.places[layer, START], n_out)
        start = 0 if layer == 0 else net.places[layer - 1, START]
        for i in range(0, n_in, LANES):
            sums = column_sums(net.parameters, W, n_in, n_out, of_layer, i)
            if layer == 0:
                store_part(g, i, sums)
            else:
                n, at = n_in - i, start + i
                bend = load_part(dL_dh, at, n) * load_part(curvature, at, n) * load_part(tangents, at, n)
                store_part(slopes, at, sums * load_part(dh_dz, at, n) + bend)
