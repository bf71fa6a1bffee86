"""Small networks as SymPy formulas, to differentiate, solve and print.

SymPy rounds when it simplifies numbers, so all expressions here are made without evaluation.
"""

from collections.abc import Callable, Sequence
from typing import Any

from crabnet_jit import check
from crabnet_jit.exchange.common import exportable, formula, layers_of
from crabnet_jit.network.network import NN
from crabnet_jit.network.schema import Schema

_DIGITS = 17  # of numbers: the fewest with which SymPy prints the same float
_MAX_SIZE = 10_000  # numbers and symbols of all formulas; with this many, a derivative takes seconds
#: How often an activation contains its argument, if more than once.
_OCCURRENCES = {"leaky_relu": 2, "elu": 2, "gelu": 2, "gelu_tanh": 3, "silu": 2}


@check.keywords
def to_sympy(net: NN, symbols: Sequence[Any] | None = None) -> Any:
    """A small network as a SymPy formula.

    Parameters
    ----------
    net : NN
        Its activations must have names, and its formula at most 10,000 numbers and symbols. Since each unit's
        formula contains all formulas of the layer before, this is about the product of all widths; times 2
        for each hidden layer with `leaky_relu`, `elu`, `gelu` or `silu`, whose formulas contain their
        argument twice.
    symbols : sequence of sympy.Symbol, optional
        One for each input. By default, they are real and named as in `net.input_names`.

    Returns
    -------
    sympy.Expr or list of sympy.Expr
        The prediction in the units of the data; a list for several outputs. For a classifier, a list of the
        probabilities of its `classes`. All numbers are exactly those of the network.

    Raises
    ------
    InvalidArgumentError
        For a larger network, a `CustomActivation`, numbers that are not finite, and for symbols that are not
        distinct, or not one for each input.
    ImportError
        Without SymPy: `pip install "crabnet-jit[sympy]"`.

    Notes
    -----
    The formula is not evaluated. When SymPy transforms it, for example in derivatives, it multiplies numbers
    and rounds them to 18 digits.

    `sympy.lambdify(symbols, expression, cse=True)` makes a function of it. In float64, exp(v) overflows for v
    above 709: with the module "math", this raises an exception; with NumPy, it gives a warning and an
    infinite softplus.

    Examples
    --------
    >>> import sympy
    >>> from crabnet_jit import NN, to_sympy
    >>> net = NN(1, [2], 1, activation="tanh", init=[2.0, -1.0, 0.5, 0.0, 3.0, 4.0, 0.25])
    >>> t = sympy.Symbol("t", real=True)
    >>> expression = to_sympy(net, [t])
    >>> expression
    4.0*tanh(-1.0*t + 0.0) + 3.0*tanh(2.0*t + 0.5) + 0.25
    >>> round(float(sympy.diff(expression, t).subs(t, 1)), 6), net.gradient([[1.0]]).round(6)
    (-1.520344, array([[-1.520344]]))
    """
    net = exportable(net)
    size = _size(net)
    if size > _MAX_SIZE:
        allowed = f"small: with a formula of at most {_MAX_SIZE:,} numbers and symbols"
        raise check.reject("net", allowed, f"one of {size:,}")
    try:
        import sympy
    except ImportError as error:
        raise ImportError('to_sympy needs SymPy: pip install "crabnet-jit[sympy]"') from error
    expressions = _Maker(sympy).values(net, _symbols(sympy, net, symbols))
    return expressions[0] if len(expressions) == 1 else expressions


def _size(net: NN) -> int:
    """The number of numbers and symbols in all formulas together."""
    units, schema, n_out = net.standardization, net.schema, net.out_features
    size = 1 if units is None else 3
    for layer in layers_of(net):
        size = _OCCURRENCES.get(formula(layer.activation), 1) * (layer.W.shape[1] * (size + 1) + 1)
    if schema.is_softmax(n_out):
        return 2 * n_out * (n_out - 1) * size
    return schema.n_values(n_out) * (size + 2)


def _symbols(sympy: Any, net: NN, given: Sequence[Any] | None) -> list[Any]:
    """A symbol for each input."""
    if given is None:
        given = [sympy.Symbol(name, real=True) for name in net.input_names]
    allowed = f"a sequence of {net.in_features} distinct SymPy symbols, one for each input"
    if isinstance(given, (set, frozenset)) or not check.is_iterable(given):
        raise check.reject("symbols", allowed, check.shown(given))
    symbols = list(given)
    if not all(isinstance(symbol, sympy.Symbol) for symbol in symbols):
        raise check.reject("symbols", allowed, check.shown(symbols))
    if not len(symbols) == len(set(symbols)) == net.in_features:
        raise check.reject("symbols", allowed, check.shown(symbols))
    return symbols


class _Maker:
    """Makes expressions that SymPy does not evaluate."""

    def __init__(self, sympy: Any) -> None:
        self.sympy = sympy
        self.half = sympy.Rational(1, 2)

    def values(self, net: NN, symbols: Sequence[Any]) -> list[Any]:
        """Predictions, or probabilities of classes."""
        units, h = net.standardization, list(symbols)
        if units is not None:
            shifted = [self.sum(x, self.number(-mean)) for x, mean in zip(h, units.x_mean, strict=True)]
            h = [self.over(x, self.number(std)) for x, std in zip(shifted, units.x_std, strict=True)]
        for layer in layers_of(net):
            activation, a = _ACTIVATIONS[formula(layer.activation)], self.number(layer.activation.constant)
            h = [activation(self, self.linear(w, h, b), a) for w, b in zip(layer.W, layer.b, strict=True)]
        if net.classes is not None:
            return self.probabilities(net.schema, h)
        if units is not None:
            scales = zip(h, units.y_std, units.y_mean, strict=True)
            h = [self.linear([std], [y], mean) for y, std, mean in scales]
        first = net.schema.first_power(net.out_features)
        return [*h[:first], *(self.call("exp", v) for v in h[first:])]

    def probabilities(self, schema: Schema, z: Sequence[Any]) -> list[Any]:
        """The probabilities of the classes, from their logits."""
        if schema.is_softmax(len(z)):
            return [self.share(own, [*z[:k], *z[k + 1 :]]) for k, own in enumerate(z)]
        p = [self.logistic(v) for v in z]
        return p if schema.task == "multilabel" else [self.logistic(self.minus(z[0])), *p]

    def number(self, value: Any) -> Any:
        """All digits of a float."""
        return self.sympy.Float(float(value), _DIGITS)

    def call(self, function: str, *arguments: Any) -> Any:
        """A SymPy function of these arguments."""
        return getattr(self.sympy, function)(*arguments, evaluate=False)

    def sum(self, *terms: Any) -> Any:
        """Their sum."""
        return self.call("Add", *terms)

    def product(self, *factors: Any) -> Any:
        """Their product."""
        return self.call("Mul", *factors)

    def minus(self, v: Any) -> Any:
        """-v."""
        return self.product(-1, v)

    def over(self, v: Any, divisor: Any) -> Any:
        """A quotient."""
        return self.product(v, self.call("Pow", divisor, -1))

    def linear(self, w: Any, h: Sequence[Any], b: Any) -> Any:
        """w h + b, for numbers w and b."""
        terms = [self.product(self.number(number), v) for number, v in zip(w, h, strict=True)]
        return self.sum(*terms, self.number(b))

    def logistic(self, v: Any) -> Any:
        """1 / (1 + exp(-v))."""
        return self.over(1, self.sum(1, self.call("exp", self.minus(v))))

    def share(self, own: Any, others: Sequence[Any]) -> Any:
        """exp(own) divided by the sum of all exp, which may overflow."""
        powers = [self.call("exp", self.sum(v, self.minus(own))) for v in others]
        return self.over(1, self.sum(1, *powers))


def _elu(make: _Maker, v: Any, a: Any) -> Any:
    below = make.sum(make.call("exp", make.call("Min", 0, v)), -1)
    return make.sum(make.call("Max", 0, v), make.product(a, below))


def _gelu_tanh(make: _Maker, v: Any, a: Any) -> Any:
    cubic = make.product(make.number(0.044715), make.call("Pow", v, 3))
    u = make.product(make.sympy.sqrt(2 / make.sympy.pi), make.sum(v, cubic))
    return make.product(make.half, v, make.sum(1, make.call("tanh", u)))


#: The formulas of KINDS (kernels/layout.py), for the argument v and the number a. None is a `Piecewise`,
#: since SymPy takes minutes to make one whose condition contains another.
_ACTIVATIONS: dict[str, Callable[[_Maker, Any, Any], Any]] = {
    "identity": lambda make, v, a: v,
    "relu": lambda make, v, a: make.call("Max", 0, v),
    "leaky_relu": lambda make, v, a: make.sum(
        make.call("Max", 0, v), make.product(a, make.call("Min", 0, v))
    ),
    "elu": _elu,
    "gelu": lambda make, v, a: make.product(
        make.half, v, make.call("erfc", make.product(-make.half * make.sympy.sqrt(2), v))
    ),
    "gelu_tanh": _gelu_tanh,
    "silu": lambda make, v, a: make.product(v, make.logistic(v)),
    "tanh": lambda make, v, a: make.call("tanh", v),
    "sigmoid": lambda make, v, a: make.logistic(v),
    "softplus": lambda make, v, a: make.call("log", make.sum(1, make.call("exp", v))),
    "sine": lambda make, v, a: make.call("sin", make.product(a, v)),
}
