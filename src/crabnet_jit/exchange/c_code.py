"""Networks as C: one file that needs at most the mathematical library.

The text is valid C99 and C++17. Numbers are hexadecimal, so they are not rounded and do not depend on the
locale. A network's names only appear in comments, which they cannot end.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.domain import Domain
from crabnet_jit.exchange.c_formulas import (
    BACKWARD,
    DERIVATIVES_OF_PROBABILITIES,
    FORMULAS,
    LINEAR,
    PROBABILITIES,
    SELF_TEST,
)
from crabnet_jit.exchange.common import Layer, formula, layers_of, scale_in_type
from crabnet_jit.exchange.self_test import samples_of
from crabnet_jit.kernels.structs import SIGMOID, SOFTMAX, TWO_CLASSES
from crabnet_jit.network.network import NN

_IDENTIFIER = re.compile(r"[A-Za-z](_?[A-Za-z0-9]){0,39}")
_MOST_UNITS = 2**14  # their values are on the stack
_WIDTH = 100


def checked_prefix(prefix: object, stem: str) -> str:
    """The prefix of all names in exported code: as given, or made from the file's name."""
    if prefix is None:
        name = re.sub("[^A-Za-z0-9]+", "_", stem).strip("_")[:36].rstrip("_")
        return name if name[:1].isalpha() else f"net_{name}".rstrip("_")
    if not isinstance(prefix, str) or not _IDENTIFIER.fullmatch(prefix):
        allowed = "a letter, then letters, digits and single underscores, at most 40, not ending with one"
        raise check.reject("prefix", allowed, check.shown(prefix))
    return prefix


def c_source(net: NN, prefix: str, header: str | None = None) -> str:
    """The content of the file; it includes the header, if there is one. `net` is `exportable`."""
    if net.n_units + net.in_features > _MOST_UNITS:
        came = f"{net.n_units + net.in_features:,}"
        raise check.reject("net", f"a network with at most {_MOST_UNITS:,} inputs and units, for C", came)
    layers = layers_of(net)
    n_out = net.out_features
    link = net.schema.link(n_out)
    used = {formula(layer.activation) for layer in layers}
    if used & {"gelu_tanh", "silu", "softplus"} or link in (TWO_CLASSES, SIGMOID):
        used.add("sigmoid")
    shape = {"n_in": net.in_features, "n_out": n_out}
    first = [f"/*\n{_comment(net)} */", "#include <math.h>", *([f'#include "{header}"'] if header else [])]
    parts = [
        "" if header else _prototypes(net, prefix),
        *_constants(net, layers),
        *(_activation(name) for name in sorted(used - {"identity"}, key=lambda name: name != "sigmoid")),
        LINEAR.strip(),
        BACKWARD.strip() if len(layers) > 1 else "",
    ]
    if link in PROBABILITIES:
        parts += [
            _function("void probabilities(const double *z, double *y)", PROBABILITIES[link].format(**shape)),
            _function(
                f"void derivatives_of_probabilities(const double *{_source(link)}, double *dy_dx)",
                DERIVATIVES_OF_PROBABILITIES[link].format(**shape),
            ),
        ]
    parts += [_predict(net, layers, prefix), _jacobian(net, layers, prefix), _is_inside(net, prefix)]
    code = "\n\n".join(part for part in parts if part) + "\n" + _self_test(net, prefix)
    return "\n\n".join([*first, code if net.dtype == np.float64 else _in_float(code)])


def c_header(net: NN, prefix: str) -> str:
    """The content of the header."""
    guard = f"{prefix.upper()}_H"
    text = f"#ifndef {guard}\n#define {guard}\n\n{_prototypes(net, prefix)}\n\n#endif\n"
    return text if net.dtype == np.float64 else _in_float(text)


def hexadecimal(value: float) -> str:
    """A number in C, exactly."""
    if not np.isfinite(value):
        return "NAN" if np.isnan(value) else ("INFINITY" if value > 0 else "-INFINITY")
    mantissa, exponent = float(value).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}"


def one_line(text: str) -> str:
    """A name that is safe in a comment: ASCII, without an end of the comment or a line continuation."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return re.sub("[*?/]", lambda found: f"\\x{ord(found[0]):02x}", escaped)


def _in_float(text: str) -> str:
    """The same in single precision."""
    text = re.sub(r"\bdouble\b", "float", text)
    text = re.sub(r"\b(cos|erfc|exp|expm1|fabs|log1p|sin|tanh)\(", r"\1f(", text)
    return re.sub(r"(?<![\w.])(\d+\.\d+|0x[0-9a-f.]+p[+-]\d+)(?![\w.])", r"\1f", text)


def describe_names(net: NN) -> Iterator[str]:
    """Lines that describe inputs and outputs."""
    for k, name in enumerate(net.input_names):
        yield f"x[{k}]  {one_line(name)}"
    classes = net.classes
    if classes is None:
        for k, name in enumerate(net.schema.names_of_values(net.out_features)):
            yield f"y[{k}]  {one_line(name)}"
    else:
        for k, label in enumerate(classes.tolist()):
            yield f"y[{k}]  probability of {one_line(str(label))}"


def _comment(net: NN) -> str:
    sizes = "-".join(map(str, net.spec.sizes))
    names = list(dict.fromkeys(formula(activation) for activation in net.activations))
    lines = [
        f"A fitted network, {sizes}, with {', '.join(names)}; written by crabnet_jit.",
        "Inputs and outputs are in the units of the data.",
        "",
        *describe_names(net),
    ]
    return "".join(f" * {line}".rstrip() + "\n" for line in lines)


def _prototypes(net: NN, prefix: str) -> str:
    n_in, n_y = net.in_features, net.schema.n_values(net.out_features)
    what = "Predictions" if net.schema.labels is None else "Probabilities of the classes"
    lines = [
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        f"/* {what}, y[{n_y}], for the inputs x[{n_in}]. */",
        f"void {prefix}_predict(const double *x, double *y);",
        "",
        f"/* The same, and the derivatives dy_dx[{n_y} * {n_in}]: d y[k] / d x[j] is at k * {n_in} + j. */",
        f"void {prefix}_jacobian(const double *x, double *y, double *dy_dx);",
    ]
    if net.domain is not None:
        lines += [
            "",
            "/* 1 if x is in the box of the training data, else 0: then the network extrapolates. */",
            f"int {prefix}_is_inside(const double *x);",
        ]
    return "\n".join([*lines, "", "#ifdef __cplusplus", "}", "#endif"])


def _array(name: str, values: Array | Sequence[float]) -> str:
    numbers = ", ".join(hexadecimal(float(value)) for value in np.ravel(values))
    lines = textwrap.fill(numbers, _WIDTH, initial_indent="    ", subsequent_indent="    ")
    return f"static const double {name}[{np.size(values)}] = {{\n{lines}\n}};"


def _constants(net: NN, layers: Iterable[Layer]) -> Iterator[str]:
    units = net.standardization
    if units is not None:
        check.array("net.standardization.x_mean", units.x_mean, net.dtype)
        mean, rest = mean_and_rest(units.x_mean, net.dtype)
        yield _array("x_mean", mean)
        if rest.any():
            yield "/* The rounding errors of x_mean. */\n" + _array("x_mean_rest", rest)
        yield _array("x_std", scale_in_type("x_std", units.x_std, net.dtype))
        if _has_units_of_y(net):
            yield _array("y_mean", check.array("net.standardization.y_mean", units.y_mean, net.dtype))
            yield _array("y_std", scale_in_type("y_std", units.y_std, net.dtype))
    for k, layer in enumerate(layers, 1):
        yield _array(f"W{k}", layer.W)
        yield _array(f"b{k}", layer.b)


def mean_and_rest(mean: Array, dtype: "np.dtype[np.floating]") -> tuple[Array, Array]:
    """A float64 mean as the sum of two numbers of this type."""
    rounded = mean.astype(dtype)
    return rounded, (mean - rounded.astype(np.float64)).astype(dtype)


def _has_units_of_y(net: NN) -> bool:
    return net.standardization is not None and net.schema.labels is None


def _function(head: str, body: str) -> str:
    return f"static {head}\n{{\n{textwrap.indent(body, '    ')}\n}}"


def _activation(name: str) -> str:
    a = "double a, " if _has_number(name) else ""
    return _function(f"double activate_{name}(double x, {a}double *slope)", FORMULAS[name])


def _source(link: int) -> str:
    """The source for derivatives of probabilities: probabilities, or outputs."""
    return "y" if link == SOFTMAX else "z"


def _has_number(name: str) -> bool:
    return re.search(r"\ba\b", FORMULAS[name]) is not None


def _loop(letter: str, n: int, *body: str, first: int = 0) -> list[str]:
    head = f"for (int {letter} = {first}; {letter} < {n}; {letter}++)"
    if len(body) == 1:
        return [head, f"    {body[0]}"]
    return [f"{head} {{", *(f"    {line}" for line in body), "}"]


def _forward(net: NN, layers: Sequence[Layer], slope: str) -> Iterator[str]:
    """Lines of C from x to y; the slopes of layer k are stored in `slope.format(k)`."""
    n_in, n_out = net.in_features, net.out_features
    last = len(layers)
    if net.standardization is not None:
        rest = mean_and_rest(net.standardization.x_mean, net.dtype)[1].any()
        difference = "x[j] - x_mean[j] - x_mean_rest[j]" if rest else "x[j] - x_mean[j]"
        yield from _loop("j", n_in, f"h0[j] = ({difference}) / x_std[j];")
    for k, layer in enumerate(layers, 1):
        n_before, n, name = layer.W.shape[1], len(layer.b), formula(layer.activation)
        before = "x" if k == 1 and net.standardization is None else f"h{k - 1}"
        yield f"linear(W{k}, b{k}, {n_before}, {n}, {before}, h{k});"
        if name != "identity":
            a = f"{hexadecimal(layer.activation.constant)}, " if _has_number(name) else ""
            yield from _loop("i", n, f"h{k}[i] = activate_{name}(h{k}[i], {a}&{slope.format(k)});")
    if net.schema.labels is not None:
        yield f"probabilities(h{last}, y);"
    else:
        value = f"h{last}[k] * y_std[k] + y_mean[k]" if _has_units_of_y(net) else f"h{last}[k]"
        yield from _loop("k", n_out, f"y[k] = {value};")
        yield from _of_powers(net, "y[k] = exp(y[k]);")


def _of_powers(net: NN, *body: str) -> list[str]:
    """The same for each value that is a power of e."""
    first = net.schema.first_power(net.out_features)
    return _loop("k", net.out_features, *body, first=first) if first < net.out_features else []


def _predict(net: NN, layers: Sequence[Layer], prefix: str) -> str:
    body = [*_declarations(net, layers)]
    if any(formula(layer.activation) != "identity" for layer in layers):
        body.append("double slope;")
    body += ["", *_forward(net, layers, "slope")]
    head = f"void {prefix}_predict(const double *x, double *y)"
    return _function(head, "\n".join(body)).removeprefix("static ")


def _declarations(net: NN, layers: Sequence[Layer]) -> Iterator[str]:
    first = 1 if net.standardization is None else 0
    sizes = [net.in_features, *(len(layer.b) for layer in layers)]
    yield f"double {', '.join(f'h{k}[{sizes[k]}]' for k in range(first, len(sizes)))};"


def _jacobian(net: NN, layers: Sequence[Layer], prefix: str) -> str:
    """Go backward from each output in turn, by the chain rule."""
    n_in, n_out, last = net.in_features, net.out_features, len(layers)
    is_identity = [True, *(formula(layer.activation) == "identity" for layer in layers)]
    body = [*_declarations(net, layers)]
    slopes = [f"slope{k}[{len(layers[k - 1].b)}]" for k in range(1, last + 1) if not is_identity[k]]
    body += [f"double {', '.join(slopes)};"] if slopes else []
    gradients = [f"dz_dh{k}[{len(layers[k - 1].b)}]" for k in range(1, last)]
    body += [f"double {', '.join(gradients)};"] if gradients else []
    body += ["", *_forward(net, layers, "slope{}[i]")]
    back = [f"double *dz_dx = dy_dx + k * {n_in};"]
    n_before = layers[-1].W.shape[1]
    to = f"dz_dh{last - 1}" if last > 1 else "dz_dx"
    factor = "" if is_identity[last] else f" * slope{last}[k]"
    back += _loop("j", n_before, f"{to}[j] = W{last}[k * {n_before} + j]{factor};")
    for k in range(last - 1, 0, -1):
        n_before, n = layers[k - 1].W.shape[1], len(layers[k - 1].b)
        if not is_identity[k]:
            back += _loop("i", n, f"dz_dh{k}[i] *= slope{k}[i];")
        to = f"dz_dh{k - 1}" if k > 1 else "dz_dx"
        back.append(f"linear_backward(W{k}, {n_before}, {n}, dz_dh{k}, {to});")
    if net.standardization is not None:
        y_std = " * y_std[k]" if _has_units_of_y(net) else ""
        back += _loop("j", n_in, f"dz_dx[j] = dz_dx[j]{y_std} / x_std[j];")
    body += _loop("k", n_out, *back)
    body += _of_powers(net, *_loop("j", n_in, f"dy_dx[k * {n_in} + j] *= y[k];"))
    link = net.schema.link(n_out)
    if link in PROBABILITIES:
        source = _source(link).replace("z", f"h{last}")
        body.append(f"derivatives_of_probabilities({source}, dy_dx);")
    head = f"void {prefix}_jacobian(const double *x, double *y, double *dy_dx)"
    return _function(head, "\n".join(body)).removeprefix("static ")


def _is_inside(net: NN, prefix: str) -> str:
    if net.domain is None:
        return ""
    n_in = net.in_features
    body = _loop("j", n_in, "if (!(x[j] >= low[j] && x[j] <= high[j]))", "    return 0;")
    domain = _domain_in_type(net, net.domain)
    function = _function(f"int {prefix}_is_inside(const double *x)", "\n".join([*body, "return 1;"]))
    return "\n".join(
        [_array("low", domain.low), _array("high", domain.high), "", function.removeprefix("static ")]
    )


def _domain_in_type(net: NN, domain: Domain) -> Domain:
    """The same, with a box in the network's type; its border is inside."""
    low, high = domain.low.astype(net.dtype), domain.high.astype(net.dtype)
    return domain._replace(
        low=np.where(low > domain.low, np.nextafter(low, -np.inf, dtype=net.dtype), low),
        high=np.where(high < domain.high, np.nextafter(high, np.inf, dtype=net.dtype), high),
    )


def _self_test(net: NN, prefix: str) -> str:
    samples = samples_of(net)
    arrays = {
        "sample_x": samples.x,
        "sample_y": samples.y,
        "tolerance_y": samples.tolerance,
        "sample_dy_dx": samples.dy_dx,
        "tolerance_dy_dx": samples.tolerance_of_derivatives,
    }
    test_of_box = ""
    texts = [_array(name, values) for name, values in arrays.items()]
    if net.domain is not None:
        is_inside = _domain_in_type(net, net.domain).contains(samples.x)
        inside = ", ".join(str(int(flag)) for flag in is_inside)
        texts.append(f"static const int sample_is_inside[{len(samples.x)}] = {{{inside}}};")
        test_of_box = f"        n_wrong += {prefix}_is_inside(x) != sample_is_inside[s];\n"
    return SELF_TEST.format(
        PREFIX=prefix.upper(),
        prefix=prefix,
        arrays="\n".join(texts),
        n_samples=len(samples.x),
        n_derivatives=len(samples.dy_dx),
        n_compared=samples.dy_dx[0].size,
        n_in=net.in_features,
        n_y=net.schema.n_values(net.out_features),
        test_of_box=test_of_box,
    )
