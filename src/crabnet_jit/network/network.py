"""The network: linear layers, each with its activation."""

import functools
import importlib
import threading
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from crabnet_jit import check, notebook
from crabnet_jit.arrays import Array, aligned_zeros
from crabnet_jit.components.activations import ACTIVATIONS, Activation, Identity, Sine, as_activation
from crabnet_jit.components.base import stored
from crabnet_jit.data.domain import Domain
from crabnet_jit.data.random import StdRng, as_rng
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.kernels.abi import calls_of
from crabnet_jit.kernels.entries import predict
from crabnet_jit.kernels.layout import (
    B_START,
    CUSTOM,
    KIND,
    N_OUT,
    W_START,
    make_layout,
    parameter_count,
    unit_count,
)
from crabnet_jit.kernels.panels import GROUP, pack, unpack
from crabnet_jit.kernels.structs import Network, Workspace
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.network.history import FitHistory
from crabnet_jit.network.initializers import INITIALIZERS, LayerPlace
from crabnet_jit.network.layers import Buffer, LinearLayer
from crabnet_jit.network.posterior import Posterior, standard_deviations
from crabnet_jit.network.predictor import Predictor
from crabnet_jit.network.schema import Schema, probabilities
from crabnet_jit.network.spec import Spec
from crabnet_jit.other_names import known_attributes, with_hints
from crabnet_jit.summary import counted, listed, summary

_KINDS_OF_C = "value", "gradient", "jacobian", "hessian"
_KINDS_OF_SCIPY = "quad", "nquad", "generic_filter"
_FEW_ROWS = 64  # up to here, making buffers takes longer than computing outputs
_ALONE = threading.Lock()
_FEW_UNITS = 512  # with this many, outputs and derivatives for a panel take 128 KB of stack


@with_hints
class NN(Predictor):
    """A fully connected network: linear, activation, …, linear.

    Parameters
    ----------
    in_features : int
        The number of inputs, at least 1.
    hidden_sizes : sequence of int
        Widths of the hidden layers, each at least 1; empty for a single linear layer.
    out_features : int
        The number of outputs, at least 1.
    rng : StdRng or int, optional
        The source of the initial parameters: a generator, which is advanced, or a seed.
        Without it, each network is different.
    activation : Activation or str, or a sequence of them, default "relu"
        One for all hidden layers, or one for each: a name from `ACTIVATIONS` or an object like `Sine(30)`.
    output_activation : Activation or str, default "identity"
        The activation after the last layer.
    init : str or array_like, default "standard_uniform"
        A name from `INITIALIZERS`; by default every entry of W, row by row, and then of b is uniform
        on [0, 1), layer after layer, as in the original. Or the parameters themselves: a flat array in
        the order of `parameters`, or a sequence of (W, b) for each layer.
    dtype : float64 or float32, default float64
        The type of parameters and of all computations.

    Attributes
    ----------
    parameters, gradients : ndarray
        Flat buffers: W (row by row) and b of the first layer, then of the second, … Assigning copies
        into them.
    layers : tuple of LinearLayer
        Their `W`, `b`, `dL_dW`, `dL_db` are views of the flat buffers.
    activations : tuple of Activation
        One for each layer; the last one is the `output_activation`.
    classes : ndarray or None
        The labels of a classifier, in the order of its probabilities; None for a regression.
    input_names, output_names : list of str
        The names of inputs and outputs; by default x0, x1, … and y0, y1, …
    standardization : Standardization or None
        The scaling that `predict` applies to inputs and undoes for outputs. `fit` sets it. Everything that
        takes data with the network (`Trainer`, `Objective`, `check_gradients`, `diagnose`, `score`, the
        plots) takes them in the units of the data; `forward` and `backward` are the plain layers, in
        standardised units.
    domain : Domain or None
        The region of the inputs of the fit, see `is_inside`.
    posterior : Posterior or None
        The uncertainty of the parameters after a fit with `BayesianRegularization`; used by `predict`.
    schema : Schema
        What `fit` knows about the data: columns, classes, and whether y had the shape (n_samples,).
    fit_history : FitHistory or None
        The record of the `fit` that made the network; it is neither saved nor copied.

    Raises
    ------
    InvalidArgumentError
        For sizes that are not integers of at least 1, unknown names, or parameters of another shape.

    Examples
    --------
    >>> from crabnet_jit import NN
    >>> net = NN(2, [8, 8], 1, rng=1, activation="tanh", init="glorot_uniform")
    >>> net.parameters.size
    105
    >>> net.forward([[0.0, 0.0], [1.0, -1.0]]).shape
    (2, 1)
    """

    parameters = Buffer()
    gradients = Buffer()

    @check.keywords
    def __init__(
        self,
        in_features: int,
        hidden_sizes: Iterable[int],
        out_features: int,
        rng: StdRng | int | None = None,
        *,
        activation: Activation | str | Sequence[Activation | str] = "relu",
        output_activation: Activation | str = "identity",
        init: str | ArrayLike | Sequence[tuple[ArrayLike, ArrayLike]] = "standard_uniform",
        dtype: DTypeLike = np.float64,
    ) -> None:
        sizes = [
            check.integer("in_features", in_features, 1),
            *check.sizes("hidden_sizes", hidden_sizes),
            check.integer("out_features", out_features, 1),
        ]
        n_hidden = len(sizes) - 2
        if isinstance(activation, str) or not isinstance(activation, Sequence):
            one = as_activation("activation", activation)
            activations = [as_activation("activation", one) for _ in range(n_hidden)]
        else:
            activations = [as_activation(f"activation[{k}]", value) for k, value in enumerate(activation)]
            if len(activations) != n_hidden:
                came = f"{len(activations)} of them"
                raise check.reject("activation", f"one, or one for each of {n_hidden} hidden layers", came)
        activations.append(as_activation("output_activation", output_activation))
        self._build(Spec(tuple(sizes), tuple(activations), check.float_type("dtype", dtype)))
        if isinstance(init, str):
            self._initialize(check.choice("init", init, INITIALIZERS), as_rng("rng", rng))
        else:
            self._take_parameters(init)

    @classmethod
    def from_spec(cls, spec: Spec, parameters: ArrayLike) -> "NN":
        """A network with the `spec` of another one, and parameters in the order of `parameters`."""
        net = cls.__new__(cls)
        net._build(spec)
        net._take_parameters(parameters)
        return net

    def _build(self, spec: Spec) -> None:
        self._spec = spec
        sizes, dtype = spec.sizes, spec.dtype
        activations = [activation.twin() for activation in spec.activations]
        self._layout = make_layout(sizes)
        self._layout[:, KIND] = [activation.kind for activation in activations]
        self._n_units = unit_count(self._layout)
        n_parameters = parameter_count(self._layout)
        self._parameters = aligned_zeros(n_parameters, dtype=dtype)
        constants = np.array([activation.constant for activation in activations])
        self._network = Network(self._layout, constants, self._parameters)
        self._gradients = aligned_zeros(n_parameters, dtype=dtype)
        layers = []
        for (n_in, n_out), row in zip(pairwise(sizes), self._layout, strict=True):
            part = slice(row[W_START], row[B_START] + row[N_OUT])
            W_and_b, dL_dW_and_dL_db = self._parameters[part], self._gradients[part]
            layers.append(LinearLayer(n_in, n_out, parameters=W_and_b, gradients=dL_dW_and_dL_db))
        self._layers = tuple(layers)
        self._activations = tuple(activations)
        self._standardization: Standardization | None = None
        self._schema = Schema()
        self._domain: Domain | None = None
        self._posterior: tuple[Posterior, Array] | None = None  # and the parameters that it belongs to
        self._record: Any = None
        self.fit_history: FitHistory | None = None

    def _initialize(self, rule: str, rng: StdRng) -> None:
        for k, (layer, activation) in enumerate(zip(self.layers, self.activations, strict=True)):
            frequency = activation.constant if isinstance(activation, Sine) else 1.0
            place = LayerPlace(layer.in_features, layer.out_features, k == 0, frequency)
            layer.parameters[:] = INITIALIZERS[rule](rng, place)

    def _take_parameters(self, init: Any) -> None:
        if not isinstance(init, (list, tuple)) or not any(isinstance(part, (tuple, list)) for part in init):
            self._parameters[:] = check.same_shape("init", init, self._parameters.shape, self.dtype)
            return
        if len(init) != len(self.layers):
            raise check.reject("init", f"(W, b) for each of {len(self.layers)} layers", f"{len(init)} items")
        for k, (layer, pair) in enumerate(zip(self.layers, init, strict=True)):
            if len(pair) != 2:
                raise check.reject(f"init[{k}]", "a pair (W, b)", f"{len(pair)} items")
            W = check.same_shape(f"init[{k}][0]", pair[0], layer.W.shape, self.dtype)
            b = check.array(f"init[{k}][1]", pair[1], self.dtype)
            if b.size != layer.out_features:
                raise check.reject(f"init[{k}][1]", f"of shape {layer.b.shape}", f"shape {b.shape}")
            layer.W[:], layer.b[:] = W, b.reshape(layer.b.shape)

    @property
    def in_features(self) -> int:
        """The number of inputs."""
        return self._spec.sizes[0]

    @property
    def hidden_sizes(self) -> list[int]:
        """Widths of the hidden layers."""
        return list(self._spec.sizes[1:-1])

    @property
    def out_features(self) -> int:
        """The number of outputs."""
        return self._spec.sizes[-1]

    @property
    def spec(self) -> Spec:
        """Everything except the parameters: sizes, activations, type."""
        return self._spec

    @property
    def layers(self) -> tuple[LinearLayer, ...]:
        """The linear layers."""
        return self._layers

    @property
    def activations(self) -> tuple[Activation, ...]:
        """One for each layer; the last one is the `output_activation`."""
        return self._activations

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the parameters, float64 or float32."""
        return self._parameters.dtype

    @property
    def standardization(self) -> Standardization | None:
        """The scaling that `predict` applies to inputs and undoes for outputs."""
        return self._standardization

    @standardization.setter
    def standardization(self, value: Standardization | None) -> None:
        if value is not None:
            allowed = "None or a Standardization"
            if not isinstance(value, tuple) or len(value) != len(Standardization._fields):
                raise check.reject("standardization", allowed, repr(value))
            parts = []
            for name, part in zip(Standardization._fields, value, strict=True):
                width = self.in_features if name.startswith("x") else self.out_features
                checked = check.same_shape(f"standardization.{name}", part, (width,)).copy()
                if name.endswith("std") and checked.min() <= 0:
                    raise check.reject(f"standardization.{name}", "above 0", f"{checked.min()}")
                parts.append(checked)
            value = Standardization(*parts)
        self._standardization = value
        self._describe_record()

    @property
    def schema(self) -> Schema:
        """The meaning of the numbers: columns, classes, the shape of y."""
        return self._schema

    @schema.setter
    def schema(self, value: Schema) -> None:
        check.instance("schema", value, Schema, "a Schema")
        value.check(self.in_features, self.out_features)
        self._schema = value
        self._describe_record()

    @property
    def domain(self) -> Domain | None:
        """The region of the inputs of its fit; None for a network that was not fitted."""
        return self._domain

    @domain.setter
    def domain(self, value: Domain | None) -> None:
        if value is not None:
            check.instance("domain", value, Domain, "None or a Domain")
            value = Domain.checked(value, self.in_features)
        self._domain = value
        self._describe_record()

    @property
    def posterior(self) -> Posterior | None:
        """The uncertainty of its parameters; None if no fit found it, or if they have changed since."""
        if self._posterior is None:
            return None
        posterior, parameters = self._posterior
        return posterior if np.array_equal(parameters, self._parameters) else None

    @posterior.setter
    def posterior(self, value: Posterior | None) -> None:
        if value is not None:
            check.instance("posterior", value, Posterior, "None or a Posterior")
            value = Posterior.checked(value, self._parameters.size)
        self._posterior = None if value is None else (value, self._parameters.copy())

    @property
    def n_units(self) -> int:
        """The number of units of all layers, including outputs."""
        return self._n_units

    def kernel_view(self) -> Network:
        """The network as kernels take it; the parameters are this network's own."""
        return self._network

    def calls(self, *of_run: Any, has_masks: bool = False) -> Any:
        """The addresses that kernels need to compute its outputs or to train it, see `calls_of` (abi.py)."""
        activations = [(activation.kind, activation.kernel) for activation in self.activations]
        return calls_of(self.dtype, activations, *of_run, has_masks=has_masks)

    @functools.cached_property
    def _calls_forward(self) -> Any:
        return self.calls()

    @property
    def record(self) -> Any:
        """Its place in memory, for compiled code: a `Record` (record.py)."""
        if self._record is None:
            self._make_record()
        return self._record

    def _make_record(self) -> None:
        """Make it once, even if several threads need it: its address may already be in compiled code."""
        activations = [(activation.kind, activation.kernel) for activation in self.activations]
        record = importlib.import_module("crabnet_jit.network.record").Record(self._network, activations)
        record.describe(self._standardization, self.schema.link(self.out_features), self._domain)
        with _ALONE:
            if self._record is None:
                self._record = record

    def _describe_record(self) -> None:
        """Tell compiled code about new units or classes."""
        self.__dict__.pop("_numba_type_", None)
        if self._record is not None:
            self._record.describe(self._standardization, self.schema.link(self.out_features), self._domain)

    @functools.cached_property
    def _numba_type_(self) -> Any:
        """Its type in compiled code, which Numba looks up."""
        network_type = importlib.import_module("crabnet_jit.machine.network_type").NetworkType
        widths = self.in_features, self.out_features, self.schema.n_values(self.out_features)
        try:
            self.record.load_kernels()
        except check.InvalidArgumentError as error:  # Numba ignores exceptions here
            return network_type(*widths, str(error))
        return network_type(*widths)

    @property
    def _record_address(self) -> int:
        """The address that compiled code holds."""
        return int(self.record.address)

    # A copy's layers must be views of the copy's buffers, so copying and pickling rebuild them.
    def __getstate__(self) -> dict[str, Any]:
        return {
            "spec": self._spec,
            "parameters": self._parameters.copy(),
            "gradients": self._gradients.copy(),
            "standardization": self.standardization,
            "schema": self.schema,
            "domain": self.domain,
            "posterior": self.posterior,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._build(state["spec"])
        self._parameters[:] = state["parameters"]
        self._gradients[:] = state["gradients"]
        self.standardization = state["standardization"]
        self.schema = state["schema"]
        self.domain = state["domain"]
        self.posterior = state["posterior"]

    def __dir__(self) -> list[str]:
        return known_attributes(NN, [*super().__dir__()])

    def __repr__(self) -> str:
        return summary(self, *_facts(self))

    def _repr_html_(self) -> str:
        """For notebooks: a table of the layers, and the losses of the fit."""
        return _html(self)

    def get_output(self, x: ArrayLike) -> Array:
        """Outputs of the last layer (n_samples, out_features) for x as in `predict`; keeps nothing.

        For a classifier, these are the logits; for a regression, they are values, quantiles or logarithms of
        the targets, standardised if `standardization` is not None.
        """
        if self._standardization is None and (output := self._of_few_rows(x)) is not None:
            return output
        return self._get_output(self.standardize(x))

    def _get_output(self, rows: Array) -> Array:
        panels = pack(rows)
        n_panels, width = panels.shape[1], panels.shape[3]
        y = np.empty((1, n_panels, self.out_features, width), rows.dtype)
        predict(self._network, self._calls_forward, panels, self.workspace(1), y)
        return unpack(y, rows.shape[0])

    def workspace(self, n_panels: int, gradients: Array | None = None) -> Workspace:
        """Memory that kernels need for batches of n_panels (kernels/structs.py); gradients for training."""
        size = self.n_units * PANEL * min(n_panels, GROUP)
        both = aligned_zeros(2 * size, dtype=self._parameters.dtype)
        activations, derivatives = both[:size], both[size:]
        several = None if n_panels == 1 else n_panels
        pairs = several if self.dtype == np.float32 else None
        if gradients is None:
            return Workspace(activations, derivatives, activations, activations, None, several, pairs)
        errors = aligned_zeros(size, dtype=self.dtype)
        return Workspace(activations, derivatives, errors, gradients, None, several, pairs)

    @property
    def knows_noise(self) -> bool:
        """Whether it has standard deviations: learned ones, or those of a posterior."""
        return self.schema.heads == "means_and_log_stds" or self.posterior is not None

    def standard_deviations(self, rows: Array) -> Array:
        """Standard deviations of new observations (n_samples, n_targets) as in `predict`; x is encoded."""
        if self.schema.heads == "means_and_log_stds":
            return self.response(rows)[:, self.n_targets :]
        if (posterior := self.posterior) is None:
            hint = "; optimizer='bayesian_regularization' finds them, and loss='gaussian_nll' learns them"
            raise check.reject("return_std", "False for a network without error bars", "True", hint)
        workspace = self.workspace(1, self.gradients)
        inputs = self.standardize(rows)
        std = standard_deviations(posterior, self._network, self._calls_forward, workspace, inputs)
        return std if self.standardization is None else std * self.standardization.y_std

    def predict_proba(self, x: Any) -> Array:
        """Probabilities (n_samples, n_classes) of a classifier, in the order of `classes`; x as in `predict`.

        Raises
        ------
        InvalidArgumentError
            If the network is not a classifier, which `fit` makes for labels; or as in `predict`.
        """
        if self.schema.labels is None:
            hint = "; for integers that are labels, say fit(..., loss='cross_entropy')"
            raise check.reject("net", "a classifier, which fit makes for labels", "a regression", hint)
        return probabilities(self.schema.link(self.out_features), self.get_output(x))

    def _of_few_rows(self, x: Any) -> Array | None:
        """Outputs in the units of the data, if x is a few samples in a form for the kernel; else None."""
        is_plain = (
            type(x) is np.ndarray
            and x.dtype == np.float64
            and x.ndim == 2
            and 0 < x.shape[0] <= _FEW_ROWS
            and x.shape[1] == self._spec.sizes[0]
            and x.flags.carray  # C-contiguous; and writable, or Numba would compile for another type
            and self._n_units <= _FEW_UNITS
            and (self._standardization is not None or self._parameters.dtype == np.float64)
        )
        if not is_plain:
            return None
        outputs = np.empty((x.shape[0], self._spec.sizes[-1]))
        return outputs if self._predict_few_rows(self.record.values, x, outputs) else None

    @functools.cached_property
    def _predict_few_rows(self) -> Any:
        entries = importlib.import_module("crabnet_jit.kernels.point_entries")
        return entries.predict_few_rows[self.dtype]

    def response(self, x: Any) -> Array:
        """Outputs (n_samples, out_features) in the units of the data, without logarithms, or probabilities.

        A classifier for two classes with one output gives the probability of the second class.
        """
        if self._schema.labels is not None:
            shares = probabilities(self._schema.link(self.out_features), self.get_output(x))
            return shares[:, -self.out_features :]  # of two classes, the second
        values = self._of_few_rows(x)
        if values is None:
            output = self.get_output(x)
            values = output if self.standardization is None else self.standardization.outputs(output)
        return self._schema.meanings(values) if self._schema.has_powers else values

    def gradient(self, x: Any) -> Array:
        """dy/dx (n_samples, in_features) of a network with one output, for x as in `predict`.

        It is in the units of the data. For a classifier, y is the logit; for counts, the logarithm of their
        mean. In compiled code, `net.gradient(x0, x1, …)` is a tuple.

        Raises
        ------
        InvalidArgumentError
            If there are several outputs: use `jacobian`; or as in `predict`.

        Examples
        --------
        >>> from crabnet_jit import NN
        >>> NN(2, [], 1, init=[3.0, 4.0, 0.0]).gradient([[1.0, 1.0]])
        array([[3., 4.]])
        """
        if self.out_features != 1:
            raise check.reject("net", "one output, see jacobian", f"{self.out_features} outputs")
        return self.jacobian(x)[:, 0]

    def jacobian(self, x: Any) -> Array:
        """dy/dx (n_samples, out_features, in_features), for x as in `predict`.

        It is in the units of the data. For a classifier, y are the logits; logarithms of means and of
        standard deviations stay logarithms. In compiled code, `net.jacobian_into(x, J)` fills J.

        Examples
        --------
        >>> from crabnet_jit import NN
        >>> NN(1, [], 2, init=[3.0, 4.0, 0.0, 0.0]).jacobian([[1.0]])
        array([[[3.],
                [4.]]])
        """
        derivatives = importlib.import_module("crabnet_jit.network.derivatives")
        return np.asarray(derivatives.jacobians(self.record, self.encode(x), self.out_features))

    def hessian(self, x: Any) -> Array:
        """d2y/dx2 (n_samples, out_features, in_features, in_features), for x as in `predict`.

        It is in the units of the data. For a classifier, y are the logits; logarithms of means and of
        standard deviations stay logarithms. At the kink of an activation such as ReLU, the second derivative
        is taken as 0, as on both sides of it. In compiled code, `net.hessian_into(x, H)` fills H.

        Raises
        ------
        InvalidArgumentError
            If an activation is a `CustomActivation`, whose second derivative is unknown; or as in `predict`.

        Examples
        --------
        >>> from crabnet_jit import NN
        >>> net = NN(1, [1], 1, activation="tanh", init=[1.0, 0.0, 1.0, 0.0])
        >>> net.hessian([[0.5]]).round(4)  # of tanh: -2 tanh (1 - tanh^2)
        array([[[[-0.7269]]]])
        """
        if any(activation.kind == CUSTOM for activation in self.activations):
            allowed = "activations whose second derivatives are known"
            raise check.reject("net.activations", allowed, "a CustomActivation")
        derivatives = importlib.import_module("crabnet_jit.network.derivatives")
        return np.asarray(derivatives.hessians(self.record, self.encode(x), self.out_features))

    def laplacian(self, x: Any) -> Array:
        """The sum of d2y/dx2 over the inputs, in the shape that `predict` returns for a regression.

        See `hessian`.

        Examples
        --------
        >>> from crabnet_jit import NN
        >>> net = NN(1, [1], 1, activation="tanh", init=[1.0, 0.0, 1.0, 0.0])
        >>> net.laplacian([[0.5]]).round(4)
        array([[-0.7269]])
        """
        traces: Array = np.trace(self.hessian(x), axis1=2, axis2=3)
        return traces[:, 0] if self.schema.is_flat else traces

    def cfunc(self, kind: str = "value") -> Any:
        """The network as a C function of pointers to float64, for other compiled code.

        Parameters
        ----------
        kind : {"value", "gradient", "jacobian", "hessian"}, default "value"
            Determines the function's arguments: x (in_features,) and y; then dy/dx, of shape (in_features,)
            or (out_features, in_features); then the second derivatives (out_features, in_features,
            in_features). It overwrites all except x. y are predictions, or probabilities of classes.
            Derivatives are those of the outputs, which are logits for a classifier; logarithms stay
            logarithms.

        Returns
        -------
        CFunc of Numba
            It has `address`, an integer, and `ctypes`, a ctypes function. It calls no Python code, raises no
            exceptions, may be called from several threads, and follows later training of the network, which
            it keeps alive. The address is valid as long as this object is alive.

        Raises
        ------
        InvalidArgumentError
            For an unknown kind, or "gradient" for a network with several outputs.

        Examples
        --------
        >>> import ctypes
        >>> from crabnet_jit import NN
        >>> function = NN(2, [], 1, init=[3.0, 4.0, 0.5]).cfunc("gradient")
        >>> x, y, g = (ctypes.c_double * 2)(1.0, 1.0), (ctypes.c_double * 1)(), (ctypes.c_double * 2)()
        >>> function.ctypes(x, y, g)
        >>> y[:], g[:]
        ([7.5], [3.0, 4.0])
        """
        check.choice("kind", kind, _KINDS_OF_C)
        if kind == "gradient" and self.out_features != 1:
            raise check.reject("kind", "jacobian for several outputs", f"'gradient' for {self.out_features}")
        c_functions = importlib.import_module("crabnet_jit.machine.c_functions")
        n_values = self.schema.n_values(self.out_features)
        return c_functions.pointers_function(self, kind, self.in_features, self.out_features, n_values)

    def freeze(self) -> Any:
        """A compiled function of in_features numbers, with the network's current numbers as constants.

        It returns the same as the network does in compiled code, a number or a tuple, in about two thirds of
        the time. Its first call compiles it, which takes about a second. Later training does not change it.
        Numba does not cache its callers on disk.

        Raises
        ------
        InvalidArgumentError
            If an activation is a `CustomActivation`.

        Examples
        --------
        >>> from crabnet_jit import NN
        >>> line = NN(2, [], 1, init=[3.0, 4.0, 0.5]).freeze()
        >>> line(1.0, 1.0)
        7.5
        """
        frozen = importlib.import_module("crabnet_jit.network.frozen").frozen
        return frozen(self.layers, self.activations, self.standardization, self.schema)

    def low_level_callable(self, kind: str = "quad") -> Any:
        """The network as a `scipy.LowLevelCallable`, which SciPy calls without Python.

        Parameters
        ----------
        kind : {"quad", "nquad", "generic_filter"}, default "quad"
            "quad" and "nquad" are for the functions of `scipy.integrate` (`quad`, `dblquad`, `tplquad`,
            `nquad`), which pass one number for each input; "generic_filter" is for
            `scipy.ndimage.generic_filter`, whose footprint must have as many elements as there are inputs.
            With another number of inputs, the value is NaN.

        Raises
        ------
        InvalidArgumentError
            For an unknown kind, a network with more than one output, or a classifier.
        ImportError
            Without SciPy: `pip install "crabnet-jit[scipy]"`.

        Examples
        --------
        >>> from scipy.integrate import quad
        >>> from crabnet_jit import NN
        >>> line = NN(1, [], 1, init=[2.0, 1.0])  # 2 x + 1
        >>> round(quad(line.low_level_callable(), 0, 3)[0], 10)
        12.0
        """
        check.choice("kind", kind, _KINDS_OF_SCIPY)
        if self.out_features != 1 or self.schema.labels is not None:
            came = f"{self.out_features} outputs" if self.schema.labels is None else "a classifier"
            raise check.reject("net", "a regression with one output, whose value is a number", came)
        try:
            scipy = importlib.import_module("scipy")
        except ImportError as error:
            message = 'low_level_callable needs SciPy: pip install "crabnet-jit[scipy]"'
            raise ImportError(message) from error
        c_functions = importlib.import_module("crabnet_jit.machine.c_functions")
        function = c_functions.scipy_function(self, kind, self.in_features)
        pointer = function.ctypes
        pointer.owner = function  # whose machine code it points to
        return scipy.LowLevelCallable(pointer)

    def standardize(self, x: ArrayLike) -> Array:
        """Standardised inputs (n_samples, in_features) for the layers, from x as in `predict`."""
        if self.standardization is None:
            rows = self.encode(x)
            return rows if self._parameters.dtype == np.float64 else check.array("x", rows, self.dtype)
        return self.standardization.finite_inputs(self.encode(x), self.dtype)

    def standardize_targets(self, y: ArrayLike) -> Array:
        """Targets (n_samples, n_targets), converted from the units of the data to those of the first outputs.

        There are as many as outputs, unless the loss needs several outputs for each. Unknown ones stay NaN.
        """
        if self.standardization is None:
            return check.samples("y", y, None, self.dtype, allow_nan=True)
        return self.standardization.finite_targets(check.samples("y", y, allow_nan=True), self.dtype)

    def standardize_derivatives(self, dy: Array) -> Array:
        """Derivatives (n_samples, out_features, in_features) in the units of the layers; NaN stays."""
        if self._standardization is None:
            return dy.astype(self.dtype)
        return self._standardization.finite_derivatives(dy, self.dtype)

    def forward(self, x: ArrayLike) -> Array:
        """Output (n_samples, out_features) for x (n_samples, in_features), layer by layer.

        Every layer keeps what `backward` needs.
        """
        h = check.samples("x", x, self.in_features, self.dtype)
        for layer, activation in zip(self.layers, self.activations, strict=True):
            h = activation._forward(layer._forward(h))
        return h

    def backward(self, dL_dy: ArrayLike) -> Array:
        """Set every layer's gradients from dL_dy (n_samples, out_features); return dL_dx.

        Raises
        ------
        RuntimeError
            If `forward` has not been called.
        """
        shape = stored(self.activations[-1].dy_dx).shape
        dL_dy = check.same_shape("dL_dy", dL_dy, shape, self.dtype)
        dL_dh = self.layers[-1]._backward(self.activations[-1]._backward(dL_dy))
        for layer, activation in zip(self.layers[-2::-1], self.activations[-2::-1], strict=True):
            dL_dh = layer._backward(activation._backward(dL_dh))
        return dL_dh

    def sgd(self, learning_rate: float) -> None:
        """parameters -= learning_rate * gradients, in every layer."""
        check.number("learning_rate", learning_rate, 0.0)
        for layer in self.layers:
            layer.sgd(learning_rate)


def _facts(net: NN) -> list[str]:
    """Sizes and activations, as in its constructor; parameters; names of columns and classes."""
    *hidden, last = map(_called, net.activations)
    facts = [f"{net.in_features}, {listed(net.hidden_sizes)}, {net.out_features}"]
    if hidden:
        facts.append(f"activation={hidden[0] if len(set(hidden)) == 1 else listed(hidden, str)}")
    if net.activations[-1] != Identity():
        facts.append(f"output_activation={last}")
    is_standardised = ", standardised" * (net.standardization is not None)
    facts.append(f"{counted(net.parameters.size, 'parameter')}, {net.dtype}{is_standardised}")
    names = {"inputs": net.feature_names, "outputs": net.schema.output_names}
    if net.schema.labels is not None:
        names["classes"] = net.schema.labels.values.tolist()
    return facts + [f"{name}={listed(values)}" for name, values in names.items() if values is not None]


def _called(activation: Activation) -> str:
    """Its name, or its `repr` if its options are not the defaults."""
    kind = ACTIVATIONS.get(activation.name)
    return repr(activation.name) if kind is type(activation) and activation == kind() else repr(activation)


def _html(net: NN) -> str:
    """A table with a row for each layer, and the record of the fit."""
    rows = [
        [
            str(k + 1),
            f"{layer.in_features} → {layer.out_features}",
            activation.name,
            f"{layer.parameters.size:,}",
            _range(layer.W),
            _range(layer.b),
        ]
        for k, (layer, activation) in enumerate(zip(net.layers, net.activations, strict=True))
    ]
    head = ["layer", "features", "activation", "parameters", "W", "b"]
    shown = f"<div><pre>{escape(repr(net))}</pre>{notebook.table(head, rows)}"
    if net.fit_history is not None:
        shown += net.fit_history._repr_html_()
    return shown + "</div>"


def _range(values: Array) -> str:
    return f"{values.min():.3g} … {values.max():.3g}"
