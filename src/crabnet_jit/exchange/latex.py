"""Networks as LaTeX formulas, with a line for each unit."""

from collections.abc import Generator, Iterable, Iterator, Sequence

from crabnet_jit import check
from crabnet_jit.components.activations import Activation
from crabnet_jit.exchange.common import Layer, exportable, formula, layers_of
from crabnet_jit.network.network import NN

#: Activations of {v}; and those that need a definition, where {a} is the number in their formula.
_CALLS = {
    "identity": "{v}",
    "relu": r"\max\left(0, {v}\right)",
    "leaky_relu": r"\operatorname{{LeakyReLU}}_{{{a}}}\left({v}\right)",
    "elu": r"\operatorname{{ELU}}_{{{a}}}\left({v}\right)",
    "gelu": r"\operatorname{{GELU}}\left({v}\right)",
    "gelu_tanh": r"\operatorname{{GELU}}_{{\tanh}}\left({v}\right)",
    "silu": r"\operatorname{{SiLU}}\left({v}\right)",
    "tanh": r"\tanh\left({v}\right)",
    "sigmoid": r"\sigma\left({v}\right)",
    "softplus": r"\operatorname{{softplus}}\left({v}\right)",
    "sine": r"\sin\left({a} \left({v}\right)\right)",
}
_DEFINITIONS = {
    "leaky_relu": r"\max\left(0, v\right) + {a} \min\left(0, v\right)",
    "elu": r"\max\left(0, v\right) + {a} \left(e^{{\min\left(0, v\right)}} - 1\right)",
    "gelu": r"\frac{{v}}{{2}} \left(1 + \operatorname{{erf}}\frac{{v}}{{\sqrt{{2}}}}\right)",
    "gelu_tanh": r"\frac{{v}}{{2}} \left(1 + \tanh\left(\sqrt{{2/\pi}} (v + 0.044715 v^3)\right)\right)",
    "silu": r"\frac{{v}}{{1 + e^{{-v}}}}",
    "sigmoid": r"\frac{{1}}{{1 + e^{{-v}}}}",
    "softplus": r"\ln\left(1 + e^v\right)",
}
_ESCAPED = {
    **{character: f"\\{character}" for character in "{}$&#_%"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


@check.keywords
def to_latex(net: NN, digits: int = 4) -> str:
    r"""A network as LaTeX formulas: an `aligned` environment with a line for each unit.

    Parameters
    ----------
    net : NN
        Its activations must have names. For a large network the text is long: it has all parameters.
    digits : int, default 4
        Significant digits of numbers, 1 to 17.

    Returns
    -------
    str
        For the math mode of LaTeX with amsmath, or of MathJax. It has inputs x in the units of the data,
        standardised inputs z, hidden units h of each layer, and outputs y; for a classifier, logits a and the
        probabilities P of its classes. Inputs and outputs have their names, if there are any.

    Raises
    ------
    InvalidArgumentError
        For a `CustomActivation`, numbers that are not finite, and digits out of range.

    Examples
    --------
    >>> from crabnet_jit import NN, to_latex
    >>> net = NN(2, [1], 1, activation="tanh", init=[2.0, -1.0, 0.5, 3.0, 1 / 3])
    >>> print(to_latex(net, digits=2))
    \begin{aligned}
    h^{(1)}_{0} &= \tanh\left(2\,x_{0} - 1\,x_{1} + 0.5\right) \\
    y_{0} &= 3\,h^{(1)}_{0} + 0.33
    \end{aligned}
    """
    lines = _Writer(check.integer("digits", digits, 1, 17)).lines(exportable(net))
    text = " \\\\\n".join(lines)
    return f"\\begin{{aligned}}\n{text}\n\\end{{aligned}}"


class _Writer:
    """Writes formulas with this number of digits."""

    def __init__(self, digits: int) -> None:
        self._digits = digits

    def lines(self, net: NN) -> Iterator[str]:
        """All formulas of a network, starting with the inputs."""
        *hidden, last = layers_of(net)
        h = yield from self._inputs(net)
        for k, layer in enumerate(hidden, 1):
            names = _indexed(f"h^{{({k})}}", len(layer.b))
            yield from self._equations(names, self._values(layer, h))
            h = names
        if net.classes is not None:
            yield from self._classes(net, self._values(last, h))
        else:
            yield from self._equations(_outputs(net), self._scaled(net, self._values(last, h)))
        yield from dict.fromkeys(
            self._definition(activation)
            for activation in net.activations
            if formula(activation) in _DEFINITIONS
        )

    def _inputs(self, net: NN) -> Generator[str, None, list[str]]:
        """Lines of the standardisation; returns the names of the first layer's inputs."""
        has_names, units = net.schema.columns is not None, net.standardization
        x = [_text(name) for name in net.input_names] if has_names else _indexed("x", net.in_features)
        if units is None:
            return x
        z = _indexed("z", net.in_features)
        for k, name in enumerate(z):
            shifted, std = f"{x[k]}{self._added(-units.x_mean[k])}", self._number(units.x_std[k])
            yield f"{name} &= \\frac{{{shifted}}}{{{std}}}"
        return z

    def _equations(self, names: Iterable[str], values: Iterable[str]) -> Iterator[str]:
        return (f"{name} &= {value}" for name, value in zip(names, values, strict=True))

    def _values(self, layer: Layer, h: Sequence[str]) -> Iterator[str]:
        """The units of a layer."""
        call, a = _CALLS[formula(layer.activation)], self._number(layer.activation.constant)
        for w, b in zip(layer.W, layer.b, strict=True):
            terms = "".join(self._added(number, f"\\,{name}") for number, name in zip(w, h, strict=True))
            yield call.format(v=terms.removeprefix(" + ").removeprefix(" ") + self._added(b), a=a)

    def _scaled(self, net: NN, values: Iterable[str]) -> Iterator[str]:
        """Outputs in the units of the data."""
        units, first_power = net.standardization, net.schema.first_power(net.out_features)
        for k, value in enumerate(values):
            scaled = value
            if units is not None:
                std, mean = self._number(units.y_std[k]), self._added(units.y_mean[k])
                scaled = f"{std} \\left({value}\\right){mean}"
            yield f"\\exp\\left({scaled}\\right)" if k >= first_power else scaled

    def _classes(self, net: NN, values: Iterable[str]) -> Iterator[str]:
        """Logits, and the probabilities of classes."""
        a = _indexed("a", net.out_features)
        yield from self._equations(a, values)
        if net.schema.is_softmax(net.out_features):
            shares = [f"\\frac{{e^{{{name}}}}}{{\\sum_{{k}} e^{{a_{{k}}}}}}" for name in a]
        else:
            shares = [f"\\frac{{1}}{{1 + e^{{-{name}}}}}" for name in a]
        if len(shares) < len(_labels(net)):
            shares.insert(0, f"\\frac{{1}}{{1 + e^{{{a[0]}}}}}")
        yield from self._equations([f"P({_text(label)})" for label in _labels(net)], shares)

    def _definition(self, activation: Activation) -> str:
        name, a = formula(activation), self._number(activation.constant)
        return f"{_CALLS[name].format(v='v', a=a)} &= {_DEFINITIONS[name].format(a=a)}"

    def _added(self, value: float, factor: str = "") -> str:
        """A term of a sum, with its sign."""
        return f" {'-' if value < 0 else '+'} {self._number(abs(value))}{factor}"

    def _number(self, value: float) -> str:
        digits, _, exponent = f"{value:.{self._digits}g}".partition("e")
        return f"{digits} \\cdot 10^{{{int(exponent)}}}" if exponent else digits


def _labels(net: NN) -> list[str]:
    return [] if net.classes is None else [str(label) for label in net.classes.tolist()]


def _outputs(net: NN) -> list[str]:
    if net.schema.output_names is None:
        return _indexed("y", net.out_features)
    return [_text(name) for name in net.schema.names_of_values(net.out_features)]


def _indexed(letter: str, n: int) -> list[str]:
    return [f"{letter}_{{{k}}}" for k in range(n)]


def _text(name: str) -> str:
    """A name in upright letters; unprintable characters become spaces."""
    return rf"\text{{{''.join(_ESCAPED.get(c, c) if c.isprintable() else ' ' for c in name)}}}"
