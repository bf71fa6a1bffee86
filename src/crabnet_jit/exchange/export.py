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
    """Write a network to a file for another program; the ending says for which.

    Parameters
    ----------
    net : NN or Ensemble
        With activations that have a name; those of users are known to nobody else. Of an ensemble, what its
        `merged` gives.
    path : path-like
        - .c: C99, and C++17, that needs nothing but its mathematical library. The functions
          `PREFIX_predict(x, y)` and `PREFIX_jacobian(x, y, dy_dx)`, and `PREFIX_is_inside(x)` for a network
          that knows where its training data lay. Compiled with `-DPREFIX_SELF_TEST`, PREFIX in capitals, it
          is a program that compares samples with what the network gave for them, and exits with 0 or 1.
        - .f90: a module of Fortran of the name PREFIX with those functions, and beside it the C file.
        - .onnx: opset 18, IR version 8.
        - .safetensors: weights and biases by the names that `torch.nn.Sequential` has for them.
        - .py: a module of Python that needs nothing but `math`, with a function `predict`.
    prefix : str, optional
        Of the names of functions, for C and Fortran; by default the name of the file.
    dtype : float64 or float32, optional
        Of all numbers; by default that of the network. Python has float64 only.
    header : bool, default False
        Whether to write a header, too, for C: its ending is .h.

    Raises
    ------
    InvalidArgumentError
        For a `CustomActivation`, numbers that are not finite, an unknown ending, or an option that this
        ending does not have.
    ImportError
        For .onnx without onnx: `pip install "crabnet-jit[onnx]"`.
    OSError
        If a file cannot be written. Nothing is left of it then.

    Notes
    -----
    Weights are those of the network, bit for bit. Standardisation is part of what is written: inputs and
    outputs are in the units of the data. Of a classifier, C and Fortran give probabilities of classes.
    Where an input is NaN, so are the outputs, also of a network that takes means for missing values.

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
            stream.flush()  # a full disk is found before the first file is in place


def _check_options(to: Path, prefix: str | None, dtype: DTypeLike | None, header: bool) -> None:
    """Accept a known ending, and the options that it has."""
    ending = to.suffix.lower()
    if ending not in _ENDINGS:
        raise check.reject("path", f"a file with one of the endings {', '.join(_ENDINGS)}", repr(str(to)))
    if prefix is not None and ending not in _IN_C:
        raise check.reject("prefix", "None, but for .c and .f90", check.shown(prefix))
    if check.flag("header", header) and ending != ".c":
        raise check.reject("header", "False, but for .c", "True")
    if header and (re.fullmatch("[A-Za-z0-9_.-]+", to.stem) is None or to.stem in _INCLUDED):
        allowed = "letters, digits, _, . and - before its ending, for a file with a header, not math or stdio"
        raise check.reject("path", allowed, check.shown(to.stem))
    if dtype is not None and ending == ".py":
        raise check.reject("dtype", "None for .py, since Python has float64 only", check.shown(dtype))


def _contents(net: NN, to: Path, prefix: str | None, header: bool) -> dict[Path, str | bytes]:
    """All files, for some endings more than one."""
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
