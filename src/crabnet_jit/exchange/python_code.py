"""Networks as plain Python files, which only need `math`.

Names and labels are ASCII literals in such a file, so they are data and never code.
"""

import re
from collections.abc import Iterator, Sequence

from crabnet_jit.exchange.common import Layer, formula, layers_of
from crabnet_jit.network.network import NN

_WIDTH, _SHORT = 110, 80  # of a line, and of a tuple on the same line as its name

_HEAD = '''"""A neural network as plain Python, made by crabnet-jit.

predict(x) takes a sequence of numbers, one for each of INPUT_NAMES, in the units of the data.
"""

import math

'''

#: Activations as expressions in a number v and the constant a of their formula.
_EXPRESSIONS = {
    "identity": "v",
    "relu": "relu(v)",
    "leaky_relu": "leaky_relu(v, {a!r})",
    "elu": "elu(v, {a!r})",
    "gelu": "gelu(v)",
    "gelu_tanh": "gelu_tanh(v)",
    "silu": "v * sigmoid(v)",
    "tanh": "math.tanh(v)",
    "sigmoid": "sigmoid(v)",
    "softplus": "softplus(v)",
    "sine": "sine({a!r} * v)",
}

#: All functions of such files except those of the network. NaN stays NaN.
_FUNCTIONS = {
    "sigmoid": '''
def sigmoid(v):
    """Return 1 / (1 + exp(-v)), without overflow."""
    e = math.exp(-abs(v))
    return 1.0 / (1.0 + e) if v > 0.0 else e / (1.0 + e)
''',
    "relu": '''
def relu(v):
    """Return the larger of v and 0."""
    return 0.0 if v < 0.0 else v
''',
    "leaky_relu": '''
def leaky_relu(v, slope):
    """Return v where it is above 0, else slope * v."""
    return v if v > 0.0 else slope * v
''',
    "elu": '''
def elu(v, alpha):
    """Return v where it is above 0, else alpha * (exp(v) - 1)."""
    return v if v > 0.0 else alpha * math.expm1(v)
''',
    "gelu": '''
def gelu(v):
    """Return v times the normal distribution function of v."""
    z = -math.sqrt(0.5) * v
    tail = math.erfc(z)
    if 0.5 < z < 30.0:  # the slope of erfc times what z has lost in rounding
        (n, d), (m, e) = v.as_integer_ratio(), z.as_integer_ratio()
        lost = (n * n * e * e - 2 * m * m * d * d) / (2 * d * d * e * e)  # v * v / 2 - z * z
        tail -= math.exp(-z * z) / (math.sqrt(math.pi) * z) * lost
    return v * (0.5 * tail)
''',
    "gelu_tanh": '''
def gelu_tanh(v):
    """Return v * (1 + tanh(u)) / 2, by the logistic function of 2 * u."""
    u = math.sqrt(2.0 / math.pi) * v * (1.0 + 0.044715 * (v * v))
    return v * sigmoid(2.0 * u)
''',
    "softplus": '''
def softplus(v):
    """Return log(1 + exp(v)), without overflow."""
    return max(v, 0.0) + math.log1p(math.exp(-abs(v)))
''',
    "sine": '''
def sine(v):
    """Return sin(v), and NaN for what is not finite."""
    return math.sin(v) if math.isfinite(v) else math.nan
''',
    "exponential": '''
def exponential(v):
    """Return exp(v), infinity if that is too large for a float."""
    try:
        return math.exp(v)
    except OverflowError:
        return math.inf
''',
    "softmax": '''
def softmax(z):
    """Return exp(z) divided by their sum."""
    largest = max(z)
    powers = [math.exp(v - largest) for v in z]
    total = sum(powers)
    return [v / total for v in powers]
''',
    "total": '''
def total(terms):
    """Return their sum, rounded once; if it is not finite, as floats add up."""
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):
        return sum(terms)
''',
    "linear": '''
def linear(W, b, h):
    """Return W h + b."""
    return [total([w * v for w, v in zip(row, h)] + [bias]) for row, bias in zip(W, b)]
''',
    "numbers": '''
def numbers(x):
    """Return x as a list of floats, one for each of INPUT_NAMES."""
    values = [float(v) for v in x]
    if len(values) != len(INPUT_NAMES):
        raise ValueError(f"x must have {len(INPUT_NAMES)} numbers, got {len(values)}")
    return values
''',
}

_ONE_OUTPUT = '''
def predict(x):
    """Return the output, a float."""
    return outputs(x)[0]
'''

_SEVERAL_OUTPUTS = '''
def predict(x):
    """Return the outputs, a list of floats in the order of OUTPUT_NAMES."""
    return outputs(x)
'''

_TWO_CLASSES = '''
def predict_proba(x):
    """Return the probabilities of both LABELS."""
    z = logits(x)[0]
    return [sigmoid(-z), sigmoid(z)]


def predict(x):
    """Return the likelier of LABELS."""
    return LABELS[predict_proba(x)[1] > 0.5]
'''

_CLASSES = '''
def predict_proba(x):
    """Return the probabilities of all LABELS."""
    return softmax(logits(x))


def predict(x):
    """Return the likeliest of LABELS."""
    p = predict_proba(x)
    return LABELS[p.index(max(p))]
'''

_MULTILABEL = '''
def predict_proba(x):
    """Return for each of LABELS the probability that it holds."""
    return [sigmoid(z) for z in logits(x)]


def predict(x):
    """Return for each of LABELS 1 if it holds, else 0."""
    return [int(p > 0.5) for p in predict_proba(x)]
'''

_IS_INSIDE = '''
def is_inside(x):
    """Return whether x lies in the box of the inputs of the fit, its border included."""
    return all(low <= v <= high for v, low, high in zip(numbers(x), LOW, HIGH))
'''


def python_source(net: NN) -> str:
    """The text of a Python file, for Python 3.8 or newer, that computes the same as `net.predict`.

    Parameters
    ----------
    net : NN
        From `exportable`. A float32 network is computed in float64, with the same parameters.

    Returns
    -------
    str
        In ASCII. The file defines `predict(x)` for a sequence of in_features numbers in the units of the
        data. It returns a float for a regression with one output, and a list for several; for a classifier,
        the label, or a list of 0 and 1 if several classes may apply. For a classifier, there is also
        `predict_proba(x)`; for a network with a `domain`, there is `is_inside(x)`.
    """
    layers = layers_of(net)
    code = "\n".join([_outputs(net, layers), *_answers(net)])
    for name, function in reversed(_FUNCTIONS.items()):
        if re.search(rf"\b{name}\(", code):
            code = f"{function}\n{code}"
    return f"{_HEAD}{''.join(_data(net, layers))}\n{code}"


def _data(net: NN, layers: Sequence[Layer]) -> Iterator[str]:
    """Names, units and parameters, as assignments."""
    units, classes = net.standardization, net.classes
    yield _assignment("INPUT_NAMES", net.input_names)
    yield _assignment("OUTPUT_NAMES", net.schema.names_of_values(net.out_features))
    if classes is not None:
        yield _assignment("LABELS", classes.tolist())
    if net.domain is not None:
        yield _assignment("LOW", net.domain.low.tolist())
        yield _assignment("HIGH", net.domain.high.tolist())
    if units is not None:
        yield _assignment("X_MEAN", units.x_mean.tolist())
        yield _assignment("X_STD", units.x_std.tolist())
    if units is not None and classes is None:
        yield _assignment("Y_MEAN", units.y_mean.tolist())
        yield _assignment("Y_STD", units.y_std.tolist())
    for k, layer in enumerate(layers, 1):
        rows = "".join(f"    {_tuple(row, 4)},\n" for row in layer.W.tolist())
        yield f"W_{k} = (\n{rows})\n"
        yield _assignment(f"B_{k}", layer.b.tolist())


def _assignment(name: str, values: Sequence[object]) -> str:
    return f"{name} = {_tuple(values)}\n"


def _tuple(values: Sequence[object], indent: int = 0) -> str:
    """A tuple of literals, in lines as wide as allowed."""
    if len(values) == 1:
        return f"({values[0]!a},)"
    literals = [f"{value!a}," for value in values]
    line = " ".join(literals)[:-1]
    if len(line) <= _SHORT:
        return f"({line})"
    margin = " " * (indent + 4)
    lines = [margin + literals[0]]
    for literal in literals[1:]:
        if len(lines[-1]) + 1 + len(literal) <= _WIDTH:
            lines[-1] += f" {literal}"
        else:
            lines.append(margin + literal)
    return "\n".join(["(", *lines, " " * indent + ")"])


def _outputs(net: NN, layers: Sequence[Layer]) -> str:
    """The function of the layers, with one line for each."""
    is_classifier = net.classes is not None
    what = "logits" if is_classifier else "outputs"
    lines = [f"def {what}(x):", f'    """Return a list of the {what}."""', "    h = numbers(x)"]
    if net.standardization is not None:
        lines.append("    h = [(v - mean) / std for v, mean, std in zip(h, X_MEAN, X_STD)]")
    for k, layer in enumerate(layers, 1):
        name, sums = formula(layer.activation), f"linear(W_{k}, B_{k}, h)"
        expression = _EXPRESSIONS[name].format(a=layer.activation.constant)
        lines.append(f"    h = {sums}" if name == "identity" else f"    h = [{expression} for v in {sums}]")
    if net.standardization is not None and not is_classifier:
        lines.append("    h = [v * std + mean for v, std, mean in zip(h, Y_STD, Y_MEAN)]")
    if (first := net.schema.first_power(net.out_features)) < net.out_features:
        lines.append(f"    h = h[:{first}] + [exponential(v) for v in h[{first}:]]")
    return "\n".join(["", *lines, "    return h", ""])


def _answers(net: NN) -> Iterator[str]:
    """The functions for users."""
    if net.classes is None:
        yield _SEVERAL_OUTPUTS if net.out_features > 1 else _ONE_OUTPUT
    elif net.schema.task == "multilabel":
        yield _MULTILABEL
    else:
        yield _CLASSES if net.out_features > 1 else _TWO_CLASSES
    if net.domain is not None:
        yield _IS_INSIDE
