"""The linear layer, one of the tutorial's components: a small object on top of the kernels.

Batches are rows: x has shape (n_samples, n_features). `forward` keeps what `backward`
needs; `get_output` keeps nothing. Names follow the article: dL_dW is the derivative of
the loss L with respect to W.
"""

from collections.abc import Callable
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.base import stored
from crabnet_jit.data.random import StdRng, as_rng
from crabnet_jit.kernels.entries import (
    linear_backward_input,
    linear_backward_parameters,
    linear_forward,
    sgd_update,
)
from crabnet_jit.kernels.panels import pack, unpack
from crabnet_jit.summary import summary


class Buffer:
    """An attribute that always holds the same array: assigning copies into it.

    The owner stores the array in the attribute of the same name with a leading underscore.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> "Buffer": ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Array: ...
    def __get__(self, instance: object, owner: type | None = None) -> "Array | Buffer":
        if instance is None:
            return self
        array: Array = getattr(instance, f"_{self._name}")
        return array

    def __set__(self, instance: object, values: ArrayLike) -> None:
        array = self.__get__(instance)
        array[:] = check.same_shape(self._name, values, array.shape, array.dtype)


def _matrix(layer: "LinearLayer", buffer: Array) -> Array:
    """The weights (out_features, in_features) in a flat buffer."""
    return buffer[: -layer.out_features].reshape(layer.out_features, layer.in_features)


def _column(layer: "LinearLayer", buffer: Array) -> Array:
    """The biases (out_features, 1)."""
    return _vector(layer, buffer)[:, None]


def _vector(layer: "LinearLayer", buffer: Array) -> Array:
    """The biases (out_features,)."""
    return buffer[-layer.out_features :]


class _Part:
    """A part of a flat buffer of a layer: reading gives a view, assigning copies."""

    def __init__(self, buffer: str, view: Callable[["LinearLayer", Array], Array]) -> None:
        self._buffer = buffer
        self._view = view

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, layer: "LinearLayer", owner: type | None = None) -> Array: ...
    @overload
    def __get__(self, layer: None, owner: type | None = None) -> "_Part": ...
    def __get__(self, layer: "LinearLayer | None", owner: type | None = None) -> "Array | _Part":
        return self if layer is None else self._view(layer, getattr(layer, self._buffer))

    def __set__(self, layer: "LinearLayer", values: ArrayLike) -> None:
        view = self.__get__(layer)
        view[:] = check.same_shape(self._name, values, view.shape, view.dtype)


class LinearLayer:
    """A linear layer, y = x W^T + b.

    Parameters
    ----------
    in_features, out_features : int
        At least 1.
    rng : StdRng or int, optional
        The source of the initial parameters: a generator, which is advanced, or a seed.
        Every entry of W, row by row, and then of b is uniform on [0, 1), as in the original.
    parameters, gradients : ndarray of float64 or float32, optional
        Flat buffers of out_features * (in_features + 1) numbers for the layer to use, instead of
        its own. `parameters` then keeps its values, and `rng` is not used.

    Attributes
    ----------
    parameters, gradients : ndarray
        The flat buffers: W row by row, then b. Assigning copies into them.
    W, b : ndarray
        Weights (out_features, in_features) and biases (out_features, 1), views of `parameters`.
        Assigning copies into them, so `layer.W -= 0.1 * layer.dL_dW` does what it says.
    weight, bias : ndarray
        The same numbers under PyTorch's names: `weight` is `W`; `bias` is `b` with shape (out_features,).
    dL_dW, dL_db : ndarray
        Gradients of the last `backward`, views of `gradients`; zero before.
    dy_dW : ndarray or None
        The input of the last `forward`, kept for `backward`.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import LinearLayer
    >>> layer = LinearLayer(2, 3, rng=1)
    >>> y = layer.forward([[1.0, 2.0]])
    >>> y.shape
    (1, 3)
    >>> layer.backward(np.ones((1, 3))).shape
    (1, 2)
    >>> layer.dL_dW
    array([[1., 2.],
           [1., 2.],
           [1., 2.]])
    """

    @check.keywords
    def __init__(
        self,
        in_features: int,
        out_features: int,
        rng: StdRng | int | None = None,
        *,
        parameters: Array | None = None,
        gradients: Array | None = None,
    ) -> None:
        self._in_features = check.integer("in_features", in_features, 1)
        self._out_features = check.integer("out_features", out_features, 1)
        size = self.out_features * (self.in_features + 1)
        self._parameters = as_rng("rng", rng).random(size) if parameters is None else parameters
        check.buffer("parameters", self._parameters, size=size)
        self._gradients = np.zeros_like(self._parameters) if gradients is None else gradients
        check.buffer("gradients", self._gradients, self._parameters, size)
        self.dy_dW: Array | None = None

    @property
    def in_features(self) -> int:
        """Width of the input."""
        return self._in_features

    @property
    def out_features(self) -> int:
        """Width of the output."""
        return self._out_features

    def __repr__(self) -> str:
        return summary(self, f"in_features={self.in_features}", f"out_features={self.out_features}")

    parameters = Buffer()
    gradients = Buffer()
    W = _Part("parameters", _matrix)
    b = _Part("parameters", _column)
    weight = _Part("parameters", _matrix)
    bias = _Part("parameters", _vector)
    dL_dW = _Part("gradients", _matrix)
    dL_db = _Part("gradients", _column)

    def get_output(self, x: ArrayLike, W: ArrayLike | None = None, b: ArrayLike | None = None) -> Array:
        """Output (n_samples, out_features) for x (n_samples, in_features).

        Weights (out_features, in_features) and biases (out_features, 1) can be given
        instead of the layer's own.
        """
        rows = check.samples("x", x, self.in_features, self._parameters.dtype)
        weights = self.W if W is None else check.same_shape("W", W, self.W.shape, self.W.dtype)
        biases = self.b if b is None else check.same_shape("b", b, self.b.shape, self.b.dtype)
        return _linear(weights, biases, rows)

    def forward(self, x: ArrayLike) -> Array:
        """Output (n_samples, out_features) for x (n_samples, in_features); keeps x."""
        return self._forward(check.samples("x", x, self.in_features, self._parameters.dtype))

    def _forward(self, x: Array) -> Array:
        self.dy_dW = x.copy()
        return _linear(self.W, self.b, x)

    def backward(self, dL_dy: ArrayLike) -> Array:
        """Set dL_dW and dL_db; return dL_dx (n_samples, in_features).

        dL_dW = dL_dy^T x, dL_db = dL_dy^T 1, dL_dx = dL_dy W.

        Raises
        ------
        RuntimeError
            If `forward` has not been called.
        """
        shape = stored(self.dy_dW).shape[0], self.out_features
        return self._backward(check.same_shape("dL_dy", dL_dy, shape, self._parameters.dtype))

    def _backward(self, dL_dy: Array) -> Array:
        x = stored(self.dy_dW)
        x_panels, dL_dy_panels = pack(x)[0], pack(dL_dy, padding=0.0)[0]
        dL_dx = np.empty_like(x_panels)
        linear_backward_parameters(dL_dy_panels, x_panels, self.dL_dW, self.dL_db, False, None)
        linear_backward_input(self.W, dL_dy_panels, x_panels, dL_dx, False, None, None)
        return unpack(dL_dx[None], x.shape[0])

    def sgd(self, learning_rate: float) -> None:
        """W -= learning_rate * dL_dW, and the same for b."""
        sgd_update(self.parameters, self.gradients, check.number("learning_rate", learning_rate, 0.0))


def _linear(W: Array, b: Array, x: Array) -> Array:
    panels = pack(x)[0]
    y = np.empty((panels.shape[0], W.shape[0], panels.shape[2]), W.dtype)
    linear_forward(W, b, panels, y, False, None, None)
    return unpack(y[None], x.shape[0])
