"""The parts of exported C that depend on nothing of the network except its sizes."""

from crabnet_jit.kernels.structs import SIGMOID, SOFTMAX, TWO_CLASSES

#: Formulas of kernels/activations.py: the body of a function that sets *slope to the derivative at x. Some
#: use a number a.
FORMULAS = {
    "relu": "*slope = x > 0.0 ? 1.0 : 0.0;\nreturn x < 0.0 ? 0.0 : x;",
    "leaky_relu": "*slope = x > 0.0 ? 1.0 : a;\nreturn x > 0.0 ? x : a * x;",
    "elu": "*slope = x > 0.0 ? 1.0 : a * exp(x);\nreturn x > 0.0 ? x : a * expm1(x);",
    "gelu": """\
const double distribution = 0.5 * erfc(-0.70710678118654752440 * x);
*slope = distribution + x * (0.39894228040143267794 * exp(-0.5 * x * x));
return x * distribution;""",
    "gelu_tanh": """\
const double near = x > 100.0 ? 100.0 : x < -100.0 ? -100.0 : x;
const double square = near * near;
const double y = activate_sigmoid(1.5957691216057307118 * near * (1.0 + 0.044715 * square), slope);
*slope = y + near * *slope * (1.5957691216057307118 * (1.0 + 0.134145 * square));
return x * y;""",
    "silu": "const double y = activate_sigmoid(x, slope);\n*slope = y + x * *slope;\nreturn x * y;",
    "tanh": "const double y = tanh(x);\n*slope = 1.0 - y * y;\nreturn y;",
    "sigmoid": """\
const double e = exp(-fabs(x));
const double q = 1.0 / (1.0 + e);
*slope = e * q * q;
return x > 0.0 ? q : e * q;""",
    "softplus": "*slope = activate_sigmoid(x, slope);\nreturn (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x)));",
    "sine": "*slope = a * cos(a * x);\nreturn sin(a * x);",
}

#: From outputs z to probabilities y; and from dy_dx, the derivatives of outputs, to those of probabilities.
PROBABILITIES = {
    TWO_CLASSES: """\
double slope;
y[0] = activate_sigmoid(-z[0], &slope);
y[1] = activate_sigmoid(z[0], &slope);""",
    SIGMOID: """\
double slope;
for (int k = 0; k < {n_out}; k++)
    y[k] = activate_sigmoid(z[k], &slope);""",
    SOFTMAX: """\
double largest = z[0], sum = 0.0;
for (int k = 1; k < {n_out}; k++)
    largest = z[k] > largest ? z[k] : largest;
for (int k = 0; k < {n_out}; k++) {{
    y[k] = exp(z[k] - largest);
    sum += y[k];
}}
for (int k = 0; k < {n_out}; k++)
    y[k] /= sum;""",
}
DERIVATIVES_OF_PROBABILITIES = {
    TWO_CLASSES: """\
double slope;
activate_sigmoid(z[0], &slope);
for (int j = 0; j < {n_in}; j++) {{
    dy_dx[{n_in} + j] = slope * dy_dx[j];
    dy_dx[j] = -dy_dx[{n_in} + j];
}}""",
    SIGMOID: """\
for (int k = 0; k < {n_out}; k++) {{
    double slope;
    activate_sigmoid(z[k], &slope);
    for (int j = 0; j < {n_in}; j++)
        dy_dx[k * {n_in} + j] *= slope;
}}""",
    SOFTMAX: """\
for (int j = 0; j < {n_in}; j++) {{
    double mean = 0.0;
    for (int k = 0; k < {n_out}; k++)
        mean += y[k] * dy_dx[k * {n_in} + j];
    for (int k = 0; k < {n_out}; k++)
        dy_dx[k * {n_in} + j] = y[k] * (dy_dx[k * {n_in} + j] - mean);
}}""",
}

LINEAR = """
/* y = W x + b */
static void linear(const double *W, const double *b, int n_in, int n_out, const double *x, double *y)
{
    for (int i = 0; i < n_out; i++) {
        double sum = b[i];
        for (int j = 0; j < n_in; j++)
            sum += W[i * n_in + j] * x[j];
        y[i] = sum;
    }
}
"""
BACKWARD = """
/* dz_dx = W^T dz_dy */
static void linear_backward(const double *W, int n_in, int n_out, const double *dz_dy, double *dz_dx)
{
    for (int j = 0; j < n_in; j++)
        dz_dx[j] = 0.0;
    for (int i = 0; i < n_out; i++)
        for (int j = 0; j < n_in; j++)
            dz_dx[j] += W[i * n_in + j] * dz_dy[i];
}
"""

SELF_TEST = """
#ifdef {PREFIX}_SELF_TEST
#include <stdio.h>

enum {{ N_SAMPLES = {n_samples}, N_DERIVATIVES = {n_derivatives}, N_COMPARED = {n_compared} }};
{arrays}

static int is_wrong(double got, double expected, double tolerance)
{{
    if (isnan(expected))
        return !isnan(got);
    return got != expected && !(fabs(got - expected) <= tolerance);
}}

int main(void)
{{
    int n_wrong = 0;
    for (int s = 0; s < N_SAMPLES; s++) {{
        const double *x = sample_x + s * {n_in};
        static double y[{n_y}], same_y[{n_y}], dy_dx[{n_y} * {n_in}];
        {prefix}_predict(x, y);
        {prefix}_jacobian(x, same_y, dy_dx);
        for (int k = 0; k < {n_y}; k++)
            n_wrong += is_wrong(y[k], sample_y[s * {n_y} + k], tolerance_y[k]) ||
                       is_wrong(same_y[k], sample_y[s * {n_y} + k], tolerance_y[k]);
        for (int k = 0; s < N_DERIVATIVES && k < N_COMPARED; k++)
            n_wrong += is_wrong(dy_dx[k], sample_dy_dx[s * N_COMPARED + k], tolerance_dy_dx[k]);
{test_of_box}    }}
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
    printf("{prefix}_predict: compiled with -ffast-math or the like, by which NaN may become a number\\n");
    n_wrong++;
#endif
    printf("{prefix}_predict: %d samples, %d wrong numbers\\n", N_SAMPLES, n_wrong);
    return n_wrong > 0;
}}
#endif
"""
