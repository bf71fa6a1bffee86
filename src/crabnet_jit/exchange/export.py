"""Fitted networks as files for other programs."""

import contextlib
import errno
import re
from os import PathLike
from pathlib import Path

from numpy.typing import DTypeLike

from crabnet_jit import check
from crabnet_jit.archive import whole_file
from crabnet_jit.exchange.c_code import c_header, c_source, checked_prefix
from crabnet_jit.exchange.common import exportable
from crabnet_jit.exchange.fortran import fortran_source
from crabnet_jit.exchange.onnx_models import onnx_model
from crabnet_jit.exchange.python_code import python_source
from crabnet_jit.exchange.safetensors_files import safetensors_file
from crabnet_jit.network.ensemble import Ensemble
from crabnet_jit.network.network import NN

_ENDINGS = ".c", ".f90", ".onnx", ".py", ".safetensors"
_IN_C = ".c", ".f90"
_INCLUDED = "math", "stdio"  # headers of C


@check.keywords
def export(
    net: NN | Ensemble,
    path: str | PathLike[str],
    *,
    prefix: str | None = None,
    dtype: DTypeLike | None = None,
    header: bool = False,
) -> None:
    """Write a network to a file for another program, which the suffix selects.

    Parameters
    ----------
    net : NN or Ensemble
        All activations must have a name; other programs do not know a `CustomActivation`. For an ensemble,
        its `merged` network is written.
    path : path-like
        - .c: C99, and C++17, that only needs the mathematical library. It has the functions
          `PREFIX_predict(x, y)` and `PREFIX_jacobian(x, y, dy_dx)`, and `PREFIX_is_inside(x)` for a network
          that knows the region of its training data. Compiled with `-DPREFIX_SELF_TEST`, with PREFIX in
          capitals, it is a program that compares its results for some samples with those of the network, and
          exits with 0 or 1.
        - .f90: a Fortran module named PREFIX with those functions, and the C file next to it.
        - .onnx: opset 18, IR version 8.
        - .safetensors: weights and biases under the names that `torch.nn.Sequential` has for them.
        - .py: a Python module that only needs `math`, with a function `predict`.
    prefix : str, optional
        The prefix of function names, for C and Fortran; by default the name of the file.
    dtype : float64 or float32, optional
        The type of all numbers; by default that of the network. Python only has float64.
    header : bool, default False
        Whether to write a header for C, too, with the suffix .h.

    Raises
    ------
    InvalidArgumentError
        For a `CustomActivation`, numbers that are not finite, an unknown suffix, or an option that this
        suffix does not have.
    ImportError
        For .onnx without onnx: `pip install "crabnet-jit[onnx]"`.
    OSError
        If a file cannot be written. Then nothing of it is left.

    Notes
    -----
    Weights are those of the network, bit for bit. Standardisation is included: inputs and outputs are in the
    units of the data. For a classifier, C and Fortran return probabilities of classes. If an input is NaN, so
    are the outputs, even for a network that replaces missing values by means.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from crabnet_jit import NN, export
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.c"
    ...     export(NN(2, [8], 1, rng=1), path)
    ...     "void model_predict(const double *x, double *y)" in path.read_text()
    True
    """
    to = check.path("path", path)
    _check_options(to, prefix, dtype, header)
    files = _contents(exportable(net, dtype), to, prefix, header)
    for file in files:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a folder", str(file))
    with contextlib.ExitStack() as stack:
        for file, content in files.items():
            stream = stack.enter_context(whole_file(file))
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()  # detects a full disk before the first file is in place


def _check_options(to: Path, prefix: str | None, dtype: DTypeLike | None, header: bool) -> None:
    """Check that the suffix is known and supports the options."""
    ending = to.suffix.lower()
    if ending not in _ENDINGS:
        raise check.reject("path", f"a file with one of the suffixes {', '.join(_ENDINGS)}", repr(str(to)))
    if prefix is not None and ending not in _IN_C:
        raise check.reject("prefix", "None, except for .c and .f90", check.shown(prefix))
    if check.flag("header", header) and ending != ".c":
        raise check.reject("header", "False, except for .c", "True")
    if header and (re.fullmatch("[A-Za-z0-9_.-]+", to.stem) is None or to.stem in _INCLUDED):
        allowed = "letters, digits, _, . and - before its suffix, for a file with a header, not math or stdio"
        raise check.reject("path", allowed, check.shown(to.stem))
    if dtype is not None and ending == ".py":
        raise check.reject("dtype", "None for .py, since Python only has float64", check.shown(dtype))


def _contents(net: NN, to: Path, prefix: str | None, header: bool) -> dict[Path, str | bytes]:
    """The contents of all files; for some suffixes, there are several."""
    ending = to.suffix.lower()
    if ending == ".onnx":
        return {to: onnx_model(net)}
    if ending == ".safetensors":
        return {to: safetensors_file(net)}
    if ending == ".py":
        return {to: python_source(net)}
    name = checked_prefix(prefix, to.stem)
    if ending == ".f90":
        return {to.with_suffix(".c"): c_source(net, name), to: fortran_source(net, name)}
    if not header:
        return {to: c_source(net, name)}
    h = to.with_suffix(".h")
    return {to: c_source(net, name, h.name), h: c_header(net, name)}
