"""Networks as PyTorch modules, and back. PyTorch is imported when it is needed."""

from typing import Any

from crabnet_jit import check
from crabnet_jit.network.network import NN


@check.keywords
def to_torch(net: NN) -> Any:
    """A network as a `torch.nn.Sequential`.

    The module has its own copy of the parameters and takes inputs in the units of the data. It can be
    trained, copied, compiled and saved like any other.

    Parameters
    ----------
    net : NN
        All activations must have a name; a `CustomActivation` has none.

    Returns
    -------
    torch.nn.Sequential
        Its children "0", "2", "4", … are the linear layers, and "1", "3", … the activations, so its state
        dict has the names of a file that `export` writes. If the network has a standardisation, the first
        child is "standardize", and the last child of a regression is "unstandardize"; such a file has their
        numbers only in its metadata. For x (n_samples, in_features), the module returns (n_samples,
        out_features): the predictions of a regression, or the logits of a classifier, `net.get_output(x)`.
        `CrossEntropyLoss` takes these; `BCEWithLogitsLoss` takes those of a single output, or of several
        classes that may apply at once.

    Raises
    ------
    InvalidArgumentError
        For a `CustomActivation`, parameters that are not finite, or a network with logarithms among its
        outputs, from `Poisson` and `GaussianNLL`.
    ImportError
        Without PyTorch: `pip install "crabnet-jit[torch]"`.

    Notes
    -----
    The linear layers have the type of the network. The standardisation is computed in float64, because
    float32 loses the digits of values that are far from zero compared with their spread. So with a
    standardisation, x may have either type, and a regression returns float64; train it with float64 targets.
    Without one, x must have the type of the network. A device without float64 needs `module.float()` first.

    Loading a module that `torch.save` saved whole needs crabnet_jit; loading its state dict does not.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from crabnet_jit import fit, to_torch
    >>> x = np.random.default_rng(0).uniform(0, 10, (200, 2))
    >>> net = fit(x, x[:, 0] * x[:, 1], hidden_sizes=(8,), n_iterations=500)
    >>> module = to_torch(net)
    >>> module
    Sequential(
      (standardize): Standardize()
      (0): Linear(in_features=2, out_features=8, bias=True)
      (1): Tanh()
      (2): Linear(in_features=8, out_features=1, bias=True)
      (unstandardize): Unstandardize()
    )
    >>> predicted = module(torch.tensor(x)).squeeze(1)
    >>> np.allclose(predicted.detach().numpy(), net.predict(x))
    True
    """
    _need_torch("to_torch")
    from crabnet_jit.exchange import torch_modules

    return torch_modules.sequential(net)


@check.keywords
def from_torch(module: Any) -> NN:
    """A PyTorch module as a network.

    Parameters
    ----------
    module : torch.nn.Module
        A `Linear`, or a `Sequential` of alternating linear layers and activations; two linear layers may
        follow each other. The activations are `ReLU`, `LeakyReLU`, `ELU`, `GELU`, `SiLU`, `Tanh`, `Sigmoid`,
        `Softplus` with beta 1, and the sine of `to_torch`. There may also be

        - another `Sequential` inside,
        - `Identity`, and `Flatten`, which does not change samples in rows,
        - `Dropout` in evaluation mode, which does nothing,
        - `BatchNorm1d` in evaluation mode directly after a linear layer, which becomes part of this layer,
        - the modules that `to_torch` puts before and after the layers for a standardisation.

        Its parameters may be on any device, and are not changed.

    Returns
    -------
    NN
        With the type of the parameters, float64 or float32. Parameters and standardisation are the same bit
        for bit; only those of a layer with a `BatchNorm1d` are rounded. The network has no columns and no
        classes. If the module came from another network, `net.schema = other.schema` sets them.

    Raises
    ------
    InvalidArgumentError
        For any other module or order; for hooks, parametrizations and masks; for parameters that are lazy,
        not finite, or of several types. The message says where: "module.2 (Hardtanh)".
    ImportError
        Without PyTorch: `pip install "crabnet-jit[torch]"`.

    Examples
    --------
    >>> import torch
    >>> from crabnet_jit import from_torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> net = from_torch(module)
    >>> net
    NN(2, [8], 1, activation='tanh', 33 parameters, float32)
    """
    _need_torch("from_torch")
    from crabnet_jit.exchange import torch_reader

    return torch_reader.network(module)


def _need_torch(what: str) -> None:
    """Raise an error that says what to install if PyTorch is missing."""
    try:
        import torch  # noqa: F401  # the exception is the check
    except ImportError as error:
        raise ImportError(f'{what} needs PyTorch: pip install "crabnet-jit[torch]"') from error
