"""Nonsense as arguments of all that is public: it is told, by a documented error, or does no harm."""

import contextlib
import copy
import decimal
import fractions
import functools
import io
import math
import os
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import sympy
from matplotlib.figure import Figure
from optional import WITHOUT_TORCH

import crabnet_jit
from crabnet_jit import (
    ELU,
    GELU,
    MAE,
    MSE,
    NN,
    SGD,
    Activation,
    Adam,
    AdamW,
    ArraySource,
    BayesianRegularization,
    BinaryCrossEntropy,
    Checkpoint,
    Constant,
    Cosine,
    CrossEntropy,
    CustomActivation,
    CustomLoss,
    DivergenceError,
    EarlyStopping,
    Ensemble,
    Every,
    ExponentialDecay,
    FileFormatError,
    GaussianNLL,
    History,
    Huber,
    Identity,
    Integers,
    InvalidArgumentError,
    LeakyReLU,
    LevenbergMarquardt,
    LinearLayer,
    LogCosh,
    LogFile,
    Loss,
    Objective,
    OneCycle,
    Optimizer,
    OptimizerState,
    Poisson,
    Population,
    ProgressBar,
    Quantile,
    ReLU,
    Residual,
    RMSprop,
    Sigmoid,
    SiLU,
    Sine,
    Snapshots,
    Softplus,
    Source,
    StandardGaussian,
    StdRng,
    StepDecay,
    Tanh,
    TimeBudget,
    Trainer,
    Uniform,
    UniformSource,
    check_gradients,
    diagnose,
    export,
    fit,
    fit_many,
    from_onnx,
    from_safetensors,
    from_sklearn,
    from_torch,
    load,
    plotting,
    save,
    score,
    search,
    to_latex,
    to_sklearn,
    to_sympy,
    to_torch,
)
from crabnet_jit.exchange.onnx_models import onnx_model
from crabnet_jit.exchange.safetensors_files import safetensors_file
from crabnet_jit.network.schema import Schema

X = np.random.default_rng(0).normal(size=(12, 2))
Y = X[:, :1] * X[:, 1:]
DY = X[:, ::-1].copy()  # its derivatives
SEED = 20


class UserError(Exception):
    """Raised by what a user wrote."""


class TooLong(BaseException):
    """A call did not come back."""


@functools.cache
def searched() -> Any:
    return search({"seed": [1, 2]}, X, Y, n_iterations=5)


# ---- what is passed ----


def raises(*_: Any, **__: Any) -> Any:
    raise UserError


def gives(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


class Evil:
    """Every question is an error."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Evil({self.name!r})"


def evil(name: str, answer: Callable[..., Any]) -> Any:
    return type("Evil", (Evil,), {name: answer})(name)


class NamelessActivation(Activation):
    pass


class NamelessLoss(Loss):
    pass


class NamelessOptimizer(Optimizer):
    pass


class HalfSource:
    in_features, out_features, batch_size = 2, 1, 4


class WrongSource:
    in_features, out_features, batch_size, stream, fill = 2, 1, 4, 5, 6


def read_only(values: Any) -> Any:
    values.flags.writeable = False
    return values


def circular() -> Any:
    values: list[Any] = []
    values.append(values)
    return values


def network(**options: Any) -> NN:
    return NN(2, [3], 1, rng=1, **{"activation": "tanh", "init": "glorot_uniform", **options})


POOL: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "text": lambda: "x",
    "empty text": lambda: "",
    "surrogate": lambda: "\ud800",
    "null character": lambda: "a\0b",
    "bytes": lambda: b"x",
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "-1": lambda: -1,
    "0": lambda: 0,
    "1.5": lambda: 1.5,
    "1e308": lambda: 1e308,
    "5e-324": lambda: 5e-324,
    "10**400": lambda: 10**400,
    "2**62": lambda: 2**62,
    "2**64": lambda: 2**64,
    "complex": lambda: 1j,
    "True": lambda: True,
    "False": lambda: False,
    "decimal": lambda: decimal.Decimal("NaN"),
    "fraction": lambda: fractions.Fraction(-1, 3),
    "numpy nan": lambda: np.float64("nan"),
    "numpy int8": lambda: np.int8(-3),
    "numpy text": lambda: np.str_("x"),
    "numpy time": lambda: np.datetime64("2020-01-01"),
    "[]": list,
    "[[]]": lambda: [[]],
    "ragged": lambda: [[1.0], [1.0, 2.0]],
    "circular": circular,
    "texts": lambda: ["x", "y"],
    "Nones": lambda: [None, None],
    "numbers": lambda: [1.0, -1.0, 2.0],
    "()": tuple,
    "pair": lambda: (1, "x"),
    "{}": dict,
    "dict": lambda: {"a": 1},
    "dict of nonsense": lambda: {1: {2}, None: raises},
    "set": lambda: {1, 2},
    "generator": lambda: (k for k in (1, 2)),
    "range": lambda: range(3),
    "object": object,
    "ellipsis": lambda: ...,
    "module": lambda: np,
    "objects": lambda: np.array([None, "x"], dtype=object),
    "object numbers": lambda: np.array(X, dtype=object),
    "masked": lambda: np.ma.masked_array(X, mask=np.eye(12, 2, dtype=bool)),
    "0-d": lambda: np.array(1.0),
    "0-d nan": lambda: np.array(math.nan),
    "no rows": lambda: np.empty((0, 2)),
    "no columns": lambda: np.empty((12, 0)),
    "empty": lambda: np.empty(0),
    "3-d": lambda: np.ones((2, 2, 2)),
    "32-d": lambda: np.ones((1,) * 32),
    "too few": X[:5].copy,
    "too wide": lambda: np.ones((12, 3)),
    "transposed": lambda: X.T,
    "NaN array": lambda: np.full((12, 2), math.nan),
    "inf array": lambda: np.where(X > 1, math.inf, X),
    "1e308 array": lambda: np.where(X > 0, 1.7e308, -1.7e308),
    "1e308 column": lambda: np.where(Y > 0, 1.7e308, -1.7e308),
    "5e-324 array": lambda: np.where(X > 0, 5e-324, 0.0),
    "complex array": lambda: X + 1j,
    "text array": lambda: X.astype(str),
    "structured": lambda: np.zeros(12, [("a", float), ("b", float)]),
    "times": lambda: np.zeros((12, 2), "M8[s]"),
    "large integers": lambda: np.full((12, 2), 2**60),
    "read-only": lambda: read_only(X.copy()),
    "strided": lambda: np.repeat(X, 2, axis=0)[::2],
    "reversed": lambda: X[::-1],
    "fortran": lambda: np.asfortranarray(X),
    "big-endian": lambda: X.astype(">f8"),
    "float16": lambda: X.astype(np.float16),
    "float32": lambda: X.astype(np.float32),
    "longdouble": lambda: X.astype(np.longdouble) / 3,
    "flat float32": lambda: np.ones(13, np.float32),
    "flat read-only": lambda: read_only(np.ones(13)),
    "flat strided": lambda: np.ones(26)[::2],
    "memoryview": lambda: memoryview(b"abc"),
    "raises": lambda: raises,
    "gives None": lambda: gives(None),
    "gives text": lambda: gives("x"),
    "gives nan": lambda: gives(math.nan),
    "gives ragged": lambda: gives([[1.0], [1.0, 2.0]]),
    "gives itself": lambda: lambda *arguments: arguments[0] if arguments else None,
    "class NN": lambda: NN,
    "class MSE": lambda: MSE,
    "class Adam": lambda: Adam,
    "class Cosine": lambda: Cosine,
    "class Tanh": lambda: Tanh,
    "class Checkpoint": lambda: Checkpoint,
    "Activation()": Activation,
    "Loss()": Loss,
    "Optimizer()": Optimizer,
    "nameless activation": NamelessActivation,
    "nameless loss": NamelessLoss,
    "nameless optimiser": NamelessOptimizer,
    "half a source": HalfSource,
    "wrong source": WrongSource,
    "a network": network,
    "another network": lambda: NN(3, [2], 2, rng=1),
    "a loss": MSE,
    "a generator of numbers": lambda: StdRng(1),
    "a schedule": lambda: Cosine(0.1, 5),
    "a state": lambda: OptimizerState(np.zeros(3), np.zeros(2)),
    "a missing path": lambda: Path("/nonexistent/folder/file.npz"),
    "a folder": lambda: Path(os.sep),
    "long name": lambda: "x" * 5000,
    "__float__": lambda: evil("__float__", raises),
    "__index__": lambda: evil("__index__", raises),
    "__array__": lambda: evil("__array__", gives("x")),
    "__len__": lambda: evil("__len__", gives(-1)),
    "__iter__": lambda: evil("__iter__", gives(5)),
    "__getitem__": lambda: evil("__getitem__", raises),
    "__fspath__": lambda: evil("__fspath__", gives(5)),
    "__bool__": lambda: evil("__bool__", raises),
    "__eq__": lambda: evil("__eq__", raises),
    "__call__": lambda: evil("__call__", gives(object())),
    "py_func": lambda: evil("py_func", gives(5)),
}

#: Functions that Numba tries to compile: a few, since it takes its time.
UNCOMPILED = {
    "raises", "gives text", "gives ragged", "gives itself", "class NN", "class Adam", "class Cosine",
    "class Tanh", "class Checkpoint", "gives nan", "a schedule", "Activation()", "__call__",
}  # fmt: skip


# ---- what is called ----


class Call(NamedTuple):
    """A function, arguments that are right, and what must be as it was after an error."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    objects: tuple[Any, ...] = ()


def value(x: Any, u: Any) -> Any:
    return u - x[0]


def curved(x: Any, u: Any, du: Any, d2u: Any) -> Any:
    return d2u[0] + du[1] * u


def of_quantiles() -> NN:
    net = NN(2, [4], 2, rng=1)
    net.schema = Schema(heads="quantiles", quantiles=(0.1, 0.9))
    return net


def source() -> UniformSource:
    return UniformSource(StandardGaussian(), batch_size=4, rng=2)


def trainer(**options: Any) -> Trainer:
    result = Trainer(network(), source(), **{"optimizer": "adam", "learning_rate": 0.01, **options})
    result.run(2)
    return result


def assigned(thing: Any, name: str) -> Callable[[Any], None]:
    return lambda value: setattr(thing, name, value)


def called(thing: Any, method: str, **arguments: Any) -> Call:
    return Call(getattr(thing, method), arguments, (thing,))


def forwarded(thing: Any, *arguments: Any) -> Any:
    thing.forward(*arguments)
    return thing


def in_a_run(make: Callable[..., Any]) -> Callable[..., Any]:
    """A callback made of the arguments, and a run with it."""

    def function(**arguments: Any) -> Any:
        return trainer().run(3, callbacks=[make(**arguments)])

    return function


def on_a_figure(plot: Callable[..., Any]) -> Callable[..., Any]:
    """Not on one of pyplot, where None is right."""

    def function(figure: Any, **arguments: Any) -> Any:
        return plot(figure=Figure() if figure is None else figure, **arguments)

    return function


def snapshots() -> Snapshots:
    kept = Snapshots(1)
    trainer().run(1, callbacks=[kept])
    return kept


def quietly(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same without warnings, such as of networks that diverge, or of more threads than cores."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)

    return call


def minimized(**arguments: Any) -> Any:
    return Objective(network(), X, Y).minimize(**arguments)


def trained(**arguments: Any) -> Any:
    return Trainer(**arguments).run(3)


def saved(path: Path) -> Path:
    with warnings.catch_warnings():
        save(network(), path)
    return path


def tensors(path: Path, name: bytes = b"crabnet_jit") -> Path:
    """A file of safetensors with its description under this name, of eleven letters; else it is foreign."""
    path.write_bytes(safetensors_file(network()).replace(b"crabnet_jit", name))
    return path


def exported(path: Path) -> Path:
    path.write_bytes(onnx_model(network()))
    return path


def checkpoint(path: Path) -> Path:
    trainer().save_checkpoint(path)
    return path


def assignment(thing: Any, name: str, value: Any) -> Call:
    return Call(assigned(thing, name), {"value": value}, (thing,))


def updated(optimizer: Any) -> Call:
    p = np.ones(13)
    arguments = {"parameters": p, "gradients": np.ones(13), "state": optimizer.init(p), "learning_rate": 0.1}
    return Call(optimizer.update, arguments, ())


def calls(folder: Path) -> dict[str, Callable[[], Call]]:
    """All, by name."""
    file = folder / "file.npz"
    table = folder / "log.csv"
    target = np.ones((12, 1))
    stateful: dict[str, Callable[[], Call]] = {
        "LinearLayer.get_output": lambda: called(
            LinearLayer(2, 3, 1), "get_output", x=X, W=np.ones((3, 2)), b=np.ones((3, 1))
        ),
        "LinearLayer.forward": lambda: called(LinearLayer(2, 3, 1), "forward", x=X),
        "LinearLayer.backward": lambda: called(
            forwarded(LinearLayer(2, 3, 1), X), "backward", dL_dy=np.ones((12, 3))
        ),
        "LinearLayer.sgd": lambda: called(forwarded(LinearLayer(2, 3, 1), X), "sgd", learning_rate=0.1),
        **{
            f"LinearLayer.{name} =": lambda name=name: assignment(  # type: ignore[misc]
                LinearLayer(2, 3, 1), name, getattr(LinearLayer(2, 3, 2), name)
            )
            for name in ("W", "b", "weight", "bias", "dL_dW", "dL_db", "parameters", "gradients")
        },
        "Tanh.get_output": lambda: called(Tanh(), "get_output", x=X),
        "Tanh.forward": lambda: called(Tanh(), "forward", x=X),
        "Tanh.backward": lambda: called(forwarded(Tanh(), X), "backward", dL_dy=X),
        "Identity.forward": lambda: called(Identity(), "forward", x=X),
        "GELU.forward": lambda: called(GELU(), "forward", x=X),
        "MSE.get_output": lambda: called(MSE(), "get_output", x=X, target=X, sample_weight=np.ones(12)),
        "MSE.forward": lambda: called(MSE(), "forward", x=X, target=X, sample_weight=np.ones(12)),
        "Huber.forward": lambda: called(Huber(), "forward", x=X, target=X, sample_weight=np.ones(12)),
        "Quantile.forward": lambda: called(
            Quantile([0.2, 0.8]), "forward", x=X, target=np.ones((12, 1)), sample_weight=np.ones(12)
        ),
        "GaussianNLL.forward": lambda: called(
            GaussianNLL(), "forward", x=X, target=np.ones((12, 1)), sample_weight=np.ones(12)
        ),
        "Poisson.forward": lambda: called(Poisson(), "forward", x=X, target=X**2, sample_weight=np.ones(12)),
        "BinaryCrossEntropy.forward": lambda: called(
            BinaryCrossEntropy(), "forward", x=X, target=np.ones((12, 2)), sample_weight=np.ones(12)
        ),
        "CrossEntropy.forward": lambda: called(
            CrossEntropy(), "forward", x=X, target=np.full((12, 2), 0.5), sample_weight=np.ones(12)
        ),
        "Adam.init": lambda: called(Adam(), "init", parameters=np.ones(13)),
        "SGD.update": lambda: updated(SGD(0.5)),
        "RMSprop.update": lambda: updated(RMSprop()),
        "AdamW.update": lambda: updated(AdamW()),
        "StdRng.next_u64": lambda: called(StdRng(1), "next_u64", size=(2, 3)),
        "StdRng.random": lambda: called(StdRng(1), "random", size=3),
        "StdRng.uniform": lambda: called(StdRng(1), "uniform", low=0.0, high=1.0, size=3),
        "StdRng.position =": lambda: assignment(StdRng(1), "position", 5),
        "StdRng.state =": lambda: assignment(StdRng(1), "state", {"seed": 1, "stream": 2, "position": 3}),
        "StdRng.state values": lambda: Call(
            lambda seed, stream, position: setattr(
                StdRng(1), "state", {"seed": seed, "stream": stream, "position": position}
            ),
            {"seed": 1, "stream": 2, "position": 3},
        ),
        "StandardGaussian()": lambda: Call(StandardGaussian(), {"x": X}),
        "UniformSource.batch": lambda: called(source(), "batch", iteration=1),
        "UniformSource.stream =": lambda: assignment(
            source(), "stream", {"seed": 1, "stream": 2, "position": 3}
        ),
        "ArraySource.batch": lambda: called(ArraySource(X, Y, 5, rng=1), "batch", iteration=1),
        "ArraySource.stream =": lambda: assignment(
            ArraySource(X, Y, 5, rng=1), "stream", {"seed": 1, "stream": 2, "position": 3}
        ),
        "NN.get_output": lambda: called(network(), "get_output", x=X),
        "NN.predict": lambda: called(network(), "predict", x=X),
        "NN.predict, standardised": lambda: called(standardized(), "predict", x=X),
        "NN.interval": lambda: called(of_quantiles(), "interval", x=X, level=0.8, sort=True),
        "NN.predict_quantiles": lambda: called(of_quantiles(), "predict_quantiles", x=X, sort=True),
        "NN.count_crossings": lambda: called(of_quantiles(), "count_crossings", x=X),
        "NN.forward": lambda: called(network(), "forward", x=X),
        "NN.backward": lambda: called(forwarded(network(), X), "backward", dL_dy=np.ones((12, 1))),
        "NN.sgd": lambda: called(forwarded(network(), X), "sgd", learning_rate=0.1),
        "NN.parameters =": lambda: assignment(network(), "parameters", np.ones(13)),
        "NN.gradients =": lambda: assignment(network(), "gradients", np.ones(13)),
        "Trainer.run": lambda: called(
            trainer(), "run", n_iterations=3, on_log=gives(None), callbacks=[gives(None)]
        ),
        "Trainer.run, a log": lambda: called(trainer(log_every=1), "run", n_iterations=3, on_log=gives(None)),
        "Trainer.save_checkpoint": lambda: called(
            trainer(), "save_checkpoint", path=file, callbacks=[EarlyStopping()], options={"a": 1}
        ),
        "Trainer.load_checkpoint": lambda: called(trainer(), "load_checkpoint", path=checkpoint(file)),
        "History.running_loss": lambda: called(trainer().history, "running_loss", iteration=1),
        "Objective.loss_and_gradient": lambda: called(
            Objective(network(), X, Y), "loss_and_gradient", theta=np.ones(13)
        ),
    }
    plain: dict[str, Callable[[], Call]] = {
        "LinearLayer": lambda: Call(
            LinearLayer,
            {
                "in_features": 2,
                "out_features": 3,
                "rng": 1,
                "parameters": np.ones(9),
                "gradients": np.ones(9),
            },
        ),
        "LinearLayer, rng": lambda: Call(LinearLayer, {"in_features": 2, "out_features": 3, "rng": 1}),
        "LeakyReLU": lambda: Call(LeakyReLU, {"negative_slope": 0.1}),
        "ELU": lambda: Call(ELU, {"alpha": 0.1}),
        "GELU": lambda: Call(GELU, {"approximate": "tanh"}),
        "Sine": lambda: Call(Sine, {"frequency": 1.0}),
        "CustomActivation": lambda: Call(
            CustomActivation, {"function": lambda x: x, "derivative": lambda x: 1.0}
        ),
        "CustomLoss": lambda: Call(
            CustomLoss, {"function": lambda x, t: x - t, "derivative": lambda x, t: 1.0}
        ),
        "Huber": lambda: Call(Huber, {"delta": 1.0}),
        "SGD": lambda: Call(SGD, {"momentum": 0.5, "nesterov": True}),
        "RMSprop": lambda: Call(RMSprop, {"alpha": 0.9, "eps": 1e-8, "momentum": 0.1}),
        "Adam": lambda: Call(Adam, {"betas": (0.9, 0.99), "eps": 1e-8}),
        "LevenbergMarquardt": lambda: Call(LevenbergMarquardt, {"damping": 1e-3, "acceleration": 0.5}),
        "BayesianRegularization": lambda: Call(BayesianRegularization, {"loss_tolerance": 1e-6}),
        "AdamW": lambda: Call(AdamW, {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}),
        "Constant": lambda: Call(Constant, {"learning_rate": 0.1}),
        "ExponentialDecay": lambda: Call(ExponentialDecay, {"learning_rate": 0.1, "decay": 0.9}),
        "StepDecay": lambda: Call(StepDecay, {"learning_rate": 0.1, "every": 2, "factor": 0.5}),
        "Cosine": lambda: Call(
            Cosine, {"learning_rate": 0.1, "n_iterations": 9, "warmup": 3, "final_rate": 0.01}
        ),
        "OneCycle": lambda: Call(
            OneCycle,
            {
                "learning_rate": 0.1,
                "n_iterations": 9,
                "warmup_fraction": 0.3,
                "start_divisor": 2.0,
                "final_divisor": 3.0,
            },
        ),
        "StdRng": lambda: Call(StdRng, {"seed": 1, "stream": 2}),
        "UniformSource": lambda: Call(
            UniformSource,
            {"target": lambda x: x[:, 0], "low": [-1.0, 0.0], "high": [1.0, 2.0], "batch_size": 4, "rng": 1},
        ),
        "UniformSource, the article's": lambda: Call(
            UniformSource, {"target": StandardGaussian(), "low": -3.0, "high": 3.0}
        ),
        "ArraySource": lambda: Call(
            ArraySource,
            {"x": X, "y": Y, "batch_size": 4, "shuffle": True, "sample_weight": np.ones(12), "rng": 1},
        ),
        "ArraySource, with derivatives": lambda: Call(
            lambda **arguments: ArraySource(**arguments).derivatives(0),
            {"x": X, "y": Y, "batch_size": 4, "dy": DY, "rng": 1},
        ),
        "UniformSource, with derivatives": lambda: Call(
            lambda **arguments: UniformSource(**arguments).derivatives(1),
            {
                "target": lambda x: x[:, 0],
                "derivative": np.ones_like,
                "low": [-1, 0],
                "high": [1, 2],
                "rng": 1,
            },
        ),
        "NN": lambda: Call(
            NN,
            {
                "in_features": 2,
                "hidden_sizes": [3],
                "out_features": 1,
                "rng": 1,
                "activation": "tanh",
                "output_activation": "relu",
                "init": "he_normal",
                "dtype": "float64",
            },
        ),
        "NN, of each layer": lambda: Call(
            each_layer, {"activation": "tanh", "W": np.ones((1, 2)), "b": np.ones(1), "size": 3}
        ),
        "Trainer": lambda: Call(
            trained,
            {
                "net": network(),
                "source": source(),
                "loss": "mse",
                "optimizer": "sgd",
                "learning_rate": 0.1,
                "l1": 0.1,
                "l2": 0.1,
                "clip_value": 1.0,
                "clip_norm": 1.0,
            },
        ),
        "Trainer, its other options": lambda: Call(
            trained,
            {
                "net": network(),
                "source": source(),
                "dropout": 0.1,
                "rng": 1,
                "log_every": 1,
                "keep_losses": 5,
                "on_divergence": "skip",
                "chunk_size": 2,
            },
        ),
        "Trainer, dropout of each": lambda: Call(
            lambda rate, net: Trainer(net, source(), dropout=[rate]).run(2), {"rate": 0.1, "net": network()}
        ),
        "Trainer, of data": lambda: Call(
            lambda loss, target: Trainer(network(), ArraySource(X, target, rng=1), loss=loss).run(2),
            {"loss": "mse", "target": target},
        ),
        "Residual": lambda: Call(
            Residual, {"function": curved, "weight": 2.0, "source": X, "second": [(0, 0), (0, 1)]}
        ),
        "Residual, in a trainer": lambda: Call(
            lambda function, source, net: Trainer(
                net, residuals=[Residual(function, source=source, second=[(1, 1)])]
            ).run(2),
            {"function": curved, "source": X, "net": network(activation="tanh")},
        ),
        "Trainer, of equations": lambda: Call(
            trained, {"net": network(), "source": source(), "residuals": [Residual(value, source=X)]}
        ),
        "Objective, of equations": lambda: Call(
            Objective, {"net": network(), "residuals": [Residual(value, source=X)]}
        ),
        "History": lambda: Call(History, {"log_every": 1, "keep": 1}),
        "Objective": lambda: Call(
            Objective,
            {
                "net": network(),
                "x": X,
                "y": Y,
                "loss": "mse",
                "sample_weight": np.ones(12),
                "l1": 0.1,
                "l2": 0.1,
            },
        ),
        "Objective, with derivatives": lambda: Call(
            lambda **arguments: Objective(**arguments).loss_and_gradient(np.ones(13)),
            {"net": network(), "x": X, "y": Y, "dy": DY, "dy_weight": 0.5},
        ),
        "Objective, its loss": lambda: Call(
            lambda **arguments: Objective(**arguments).loss_and_gradient(np.ones(13)),
            {"net": network(), "x": X, "y": Y, "loss": "mse"},
        ),
        "Objective.minimize": lambda: Call(
            minimized,
            {"max_iterations": 2, "optimizer": "lbfgs", "history_size": 2, "gradient_tolerance": 1e-3},
        ),
        "fit": lambda: Call(
            fit,
            {
                "x": X,
                "y": Y,
                "n_iterations": 5,
                "hidden_sizes": [3],
                "activation": "tanh",
                "init": "auto",
                "loss": "mse",
                "optimizer": "adam",
                "learning_rate": 0.01,
                "batch_size": 4,
                "sample_weight": np.ones(12),
                "standardize": True,
            },
        ),
        "fit, its other options": lambda: Call(
            fit,
            {
                "x": X,
                "y": Y,
                "n_iterations": 5,
                "validation": 0.3,
                "seed": 1,
                "dtype": "float64",
                "on_check": gives(None),
                "patience": 2,
                "callbacks": [gives(None)],
            },
        ),
        "fit, options of Trainer": lambda: Call(
            fit,
            {
                "x": X,
                "y": Y,
                "n_iterations": 5,
                "l1": 0.1,
                "clip_norm": 1.0,
                "dropout": 0.1,
                "on_divergence": "skip",
                "log_every": 2,
            },
        ),
        "fit_many": lambda: Call(
            quietly(fit_many),
            {
                "specs": [{"seed": 1}],
                "x": X,
                "y": Y,
                "n_threads": 1,
                "progress": False,
                "checkpoint_seconds": 1.0,
                "hidden_sizes": [3],
                "n_iterations": 5,
                "learning_rate": 0.01,
            },
        ),
        "fit_many, a spec": lambda: Call(
            lambda **spec: quietly(fit_many)([spec], X, Y),
            {"seed": 1, "n_iterations": 5, "learning_rate": 0.01},
        ),
        "search": lambda: Call(
            quietly(search),
            {
                "space": {"seed": [1, 2]},
                "x": X,
                "y": Y,
                "n_candidates": 2,
                "seed": 1,
                "validation": 0.5,
                "factor": 2,
                "n_rungs": 2,
                "n_threads": 1,
                "progress": False,
                "checkpoint_seconds": 1.0,
                "hidden_sizes": [3],
                "n_iterations": 5,
            },
        ),
        "search, a budget": lambda: Call(
            lambda **budget: quietly(search)({"seed": [1]}, X, Y, n_iterations=5, **budget),
            {"budget_seconds": 0.5},
        ),
        "search, a space": lambda: Call(
            lambda **space: quietly(search)(space, X, Y, n_candidates=1, n_iterations=5, hidden_sizes=[3]),
            {"seed": [1], "learning_rate": Uniform(0.01, 0.1, log=True), "batch_size": Integers(2, 5)},
        ),
        "Uniform": lambda: Call(lambda **ends: Uniform(**ends).rvs(), {"low": 1, "high": 2, "log": False}),
        "Integers": lambda: Call(lambda **ends: Integers(**ends).rvs(), {"low": 1, "high": 3, "log": True}),
        "Population": lambda: Call(lambda trainers: Population(trainers).run(1), {"trainers": [trainer()]}),
        "Ensemble": lambda: Call(lambda networks: Ensemble(networks).predict(X), {"networks": [network()]}),
        "Ensemble.calibrate": lambda: called(Ensemble([network()]), "calibrate", x=X, y=Y),
        "Ensemble.interval": lambda: called(
            Ensemble([network()]).calibrate(X, Y), "interval", x=X, level=0.5
        ),
        "Population.run": lambda: Call(
            quietly(Population([trainer()]).run), {"n_iterations": 1, "n_threads": 1}
        ),
        "fit, with derivatives": lambda: Call(
            fit, {"x": X, "y": Y, "n_iterations": 5, "dy": DY, "dy_weight": 0.5, "sample_weight": np.ones(12)}
        ),
        "fit, a validation set": lambda: Call(
            lambda x, y, labels: fit(X, labels, validation=(x, y), n_iterations=5),
            {"x": X, "y": Y, "labels": Y},
        ),
        "fit, labels": lambda: Call(
            lambda y: fit(X, y, loss="cross_entropy", n_iterations=5), {"y": [0, 1] * 6}
        ),
        "to_sklearn": lambda: Call(to_sklearn, {"net": network(), "classes": [0, 1]}),
        "from_safetensors": lambda: Call(from_safetensors, {"path": tensors(folder / "net.safetensors")}),
        "from_safetensors, of another program": lambda: Call(
            from_safetensors,
            {
                "path": tensors(folder / "foreign.safetensors", b"description"),
                "activation": "tanh",
                "output_activation": "relu",
            },
        ),
        "export": lambda: Call(
            export,
            {"net": network(), "path": folder / "net.c", "prefix": "net", "dtype": "float32", "header": True},
        ),
        "from_sklearn": lambda: Call(from_sklearn, {"estimator": to_sklearn(network())}),
        "to_latex": lambda: Call(to_latex, {"net": network(), "digits": 3}),
        "to_sympy": lambda: Call(to_sympy, {"net": network(), "symbols": sympy.symbols("a b")}),
        "score": lambda: Call(score, {"net": network(), "x": X, "y": Y}),
        "diagnose": lambda: Call(diagnose, {"net": network(), "x": X, "y": Y, "loss": "mse"}),
        "check_gradients": lambda: Call(
            check_gradients, {"net": network(), "x": X, "y": Y, "loss": "mse", "tolerance": 1e-4}
        ),
        "check_gradients, with derivatives": lambda: Call(
            check_gradients, {"net": network(), "x": X, "y": Y, "dy": DY, "dy_weight": 0.5}
        ),
        "save": lambda: Call(save, {"net": network(), "path": file, "names": {"inputs": ["a", "b"]}}),
        "load": lambda: Call(load, {"path": saved(folder / "net.npz")}),
        "from_onnx": lambda: Call(from_onnx, {"path": exported(folder / "net.onnx")}),
        "Every": lambda: Call(in_a_run(Every), {"every": 1, "function": gives(None)}),
        "EarlyStopping": lambda: Call(
            in_a_run(EarlyStopping),
            {
                "patience": 2,
                "validation": Objective(network(), X, Y),
                "every": 1,
                "min_delta": 0.1,
                "restore_best": True,
            },
        ),
        "Snapshots": lambda: Call(
            in_a_run(Snapshots), {"every": 1, "max_snapshots": 2, "iterations": [1, 2]}
        ),
        "NN.standardize": lambda: Call(standardized().standardize, {"x": X}),
        "History.envelope": lambda: called(trainer().history, "envelope", n_pieces=1),
        "plot_surface": lambda: Call(
            on_a_figure(plotting.plot_surface),
            {
                "net": network(),
                "target": StandardGaussian(),
                "low": -1.0,
                "high": [1.0, 2.0],
                "inputs": [0, 1],
                "at": [0.0, 0.0],
                "output": 0,
                "n_points": 3,
                "input_names": ["a", "b"],
                "output_names": ["c"],
                "figure": Figure(),
            },
        ),
        "plot_history": lambda: Call(
            plotting.plot_history,
            {"history": trainer(), "ax": Figure().add_subplot(), "learning_rate": True},
        ),
        "plot_fit": lambda: Call(
            on_a_figure(plotting.plot_fit),
            {
                "net": network(),
                "x": X,
                "y": Y,
                "output": 0,
                "at": [0.0, 0.0],
                "inputs": [1],
                "input_names": ["a", "b"],
                "output_names": ["c"],
                "figure": Figure(),
            },
        ),
        "plot_network": lambda: Call(
            plotting.plot_network,
            {"net": network(), "x": X, "max_units": 2, "ax": Figure().add_subplot()},
        ),
        "plot_search": lambda: Call(
            plotting.plot_search, {"result": searched(), "arguments": ["seed"], "figure": Figure()}
        ),
        "rotate_surface": lambda: Call(
            functools.partial(plotting.rotate_surface, n_points=2),
            {
                "net": network(),
                "path": folder / "film.gif",
                "target": None,
                "n_frames": 1,
                "fps": 10.0,
                "dpi": 10.0,
            },
        ),
        "animate_surface": lambda: Call(
            functools.partial(plotting.animate_surface, n_points=2),
            {
                "net": network(),
                "snapshots": snapshots(),
                "path": folder / "film.png",
                "target": None,
                "fps": 10.0,
                "dpi": 10.0,
            },
        ),
        "save_figure": lambda: Call(
            plotting.save_figure, {"figure": Figure((1, 1)), "path": folder / "figure.png", "dpi": 20.0}
        ),
        "TimeBudget": lambda: Call(in_a_run(TimeBudget), {"seconds": 1.0}),
        "Checkpoint": lambda: Call(in_a_run(Checkpoint), {"path": file, "every": 1, "options": {"a": 1}}),
        "LogFile": lambda: Call(in_a_run(LogFile), {"path": table, "every": 1}),
        "ProgressBar": lambda: Call(in_a_run(ProgressBar), {"interval": 0.1, "file": io.StringIO()}),
        "Run.stop": lambda: Call(
            lambda reason: trainer().run(5, callbacks=[Every(1, lambda run: run.stop(reason))]).events,
            {"reason": "x"},
        ),
        "fit, resume": lambda: Call(
            lambda resume: fit(X, Y, n_iterations=5, resume=resume), {"resume": None}
        ),
    }
    plain_things = (ReLU(), SiLU(), Sigmoid(), Softplus())
    parts = {"x_mean": np.zeros(2), "x_std": np.ones(2), "y_mean": np.zeros(1), "y_std": np.ones(1)}
    sizes = {"in_features": 2, "out_features": 1, "batch_size": 4}
    others: dict[str, Callable[[], Call]] = {
        **{
            f"{type(schedule).__name__}()": lambda schedule=schedule: Call(  # type: ignore[misc]
                schedule, {"iterations": np.arange(3)}
            )
            for schedule in (
                Constant(0.1),
                ExponentialDecay(),
                StepDecay(0.1, 2),
                Cosine(0.1, 9),
                OneCycle(0.1, 9),
            )
        },
        **{
            f"{type(thing).__name__}.forward": lambda thing=thing: called(  # type: ignore[misc]
                copy.copy(thing), "forward", x=X
            )
            for thing in plain_things
        },
        **{
            f"{type(loss).__name__}.forward": lambda loss=loss: called(  # type: ignore[misc]
                copy.copy(loss), "forward", x=X, target=X
            )
            for loss in (MAE(), LogCosh())
        },
        "NN.forward, float32": lambda: called(network(dtype="float32"), "forward", x=X),
        "NN.predict, float32": lambda: called(network(dtype="float32"), "predict", x=X),
        "NN.parameters =, float32": lambda: assignment(network(dtype="float32"), "parameters", np.ones(13)),
        "NN.standardization =": lambda: Call(functools.partial(predicted, file), parts),
        "Callback.state": lambda: Call(functools.partial(kept_in, file), {"kept": 1.0}),
        "Source": lambda: Call(functools.partial(run_of, file), {**sizes, "is_constant": False}),
        "Source, of a stream": lambda: Call(
            functools.partial(run_of, file), {**sizes, "stream": StdRng(1).state, "configuration": {"a": 1}}
        ),
        "Trainer.run again": lambda: called(trainer(), "run", n_iterations=3),
        "check_gradients, float32": lambda: Call(
            check_gradients, {"net": network(dtype="float32"), "x": X, "y": Y}
        ),
        "diagnose, float32": lambda: Call(diagnose, {"net": network(dtype="float32"), "x": X, "y": Y}),
        "fit, float32": lambda: Call(
            functools.partial(fit, n_iterations=5, dtype="float32"), {"x": X, "y": Y, "learning_rate": 0.01}
        ),
        "score, standardised": lambda: Call(score, {"net": standardized(), "x": X, "y": Y}),
    }
    of_torch: dict[str, Callable[[], Call]] = {
        "to_torch": lambda: Call(to_torch, {"net": network()}),
        "from_torch": lambda: Call(from_torch, {"module": to_torch(network())}),
    }
    return stateful | plain | others | ({} if WITHOUT_TORCH else of_torch)


class Stateful(Every):
    """A callback whose state is whatever it was given."""

    def __init__(self, kept: Any) -> None:
        super().__init__(1, gives(None))
        self.kept = kept

    def state(self) -> dict[str, Any]:
        result: dict[str, Any] = {**super().state(), "kept": self.kept}
        return result


class PlainSource(Source):
    """A source that a user wrote."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def fill(self, iteration: int, batches: Any) -> None:
        x, target = batches.x, batches.target
        x[:], target[:] = 1.0, 2.0


def run_of(path: Path, **attributes: Any) -> None:
    """Trained on such a source, and saved."""
    source: Any = PlainSource(**attributes)
    one = Trainer(network(), source)
    one.run(2)
    one.save_checkpoint(path)


def kept_in(path: Path, kept: Any) -> None:
    trainer().save_checkpoint(path, [Stateful(kept)])
    other = trainer()
    other.load_checkpoint(path)
    other.run(2, callbacks=[Stateful(kept)])


def predicted(path: Path, **parts: Any) -> Any:
    """With a standardisation made of these, and saved with it."""
    net = network()
    net.standardization = crabnet_jit.Standardization(**parts)
    net.predict(X)
    save(net, path)
    return load(path).predict(X)


def each_layer(activation: Any, W: Any, b: Any, size: Any) -> NN:
    parts = [(np.ones((2, 2)), np.ones(2)), (W, b)]
    NN(2, [2], 1, activation=[activation], init=parts)
    return NN(2, [2, size], 1, activation=["relu", activation])


def standardized() -> NN:
    net = network()
    net.standardization = crabnet_jit.Standardization(np.zeros(2), np.ones(2), np.zeros(1), np.ones(1))
    return net


# ---- what comes of it ----

OPEN_ENDED = {"n_iterations", "seconds", "max_iterations"}  # where a large number is a long run, and right
FILES = {
    "save",
    "save_figure",
    "rotate_surface",
    "animate_surface",
    "load",
    "from_safetensors",
    "from_safetensors, of another program",
    "from_onnx",
    "Checkpoint",
    "LogFile",
    "Trainer.save_checkpoint",
    "Trainer.load_checkpoint",
    "Callback.state",
    "Source",
    "Source, of a stream",
    "fit, resume",
}
THEIRS = {
    "on_log",
    "callbacks",
    "function",
    "on_check",
}  # what users wrote may be called in the middle of a run
ARITY = ("positional argument", "required keyword", "unexpected keyword")  # of a function that users give


def state_of(thing: Any) -> Any:
    """To the last bit."""
    if isinstance(thing, np.ndarray):
        return thing.dtype, thing.shape, thing.strides, thing.flags.writeable, thing.tobytes()
    if isinstance(thing, tuple):
        return [state_of(part) for part in thing]
    parts: tuple[Any, ...] = ()
    if isinstance(thing, Trainer):
        parts = (thing.state()[:-1], len(thing.history.losses), repr(thing.history.log))
    elif isinstance(thing, (NN, LinearLayer)):
        parts = (thing.parameters, thing.gradients, getattr(thing, "dy_dW", None))
    elif isinstance(thing, (Activation, Loss)):
        parts = (getattr(thing, "dy_dx", None), getattr(thing, "dL_dx", None))
    elif isinstance(thing, (StdRng, UniformSource, ArraySource)):
        parts = (repr(getattr(thing, "state", None)), repr(getattr(thing, "stream", None)))
    return [state_of(part) for part in parts] if parts else repr(thing)


def still_works(thing: Any) -> None:
    if isinstance(thing, Trainer):
        thing.run(1)
    elif isinstance(thing, NN):
        assert np.isfinite(thing.get_output(X)).all()
    elif isinstance(thing, (LinearLayer, Tanh, Identity, GELU)):
        thing.forward(X)
    elif isinstance(thing, StdRng):
        thing.copy().random()
    elif isinstance(thing, (UniformSource, ArraySource)):
        thing.batch(0)


def documented(name: str, items: tuple[str, ...], error: BaseException) -> bool:
    """Whether the error is one that users are told of."""
    if (
        isinstance(error, (InvalidArgumentError, UserError, DivergenceError))
        or type(error) is FloatingPointError
    ):
        return True
    if isinstance(error, (OSError, FileFormatError)):
        return name in FILES
    if isinstance(error, MemoryError):
        return "2**62" in items
    if "__len__" in items and "__len__() should return >= 0" in str(error):
        return True  # their own
    return type(error) is TypeError and any(part in str(error) for part in ARITY)


def innermost(error: BaseException) -> str:
    """The last line of the package that it went through."""
    steps = [(Path(step.filename), step.lineno) for step in traceback.extract_tb(error.__traceback__)]
    return next((f"{path.name}:{line}" for path, line in steps[::-1] if "crabnet_jit" in path.parts), "?")


class Results:
    """Of all calls."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: dict[str, list[str]] = {}

    def take(self, name: str, make: Callable[[], Call], replaced: dict[str, str]) -> None:
        """One call with some arguments replaced by items of the pool."""
        call = make()
        nonsense = {argument: POOL[item]() for argument, item in replaced.items()}
        arguments = call.arguments | nonsense
        given = {key: state_of(value) for key, value in arguments.items() if isinstance(value, np.ndarray)}
        objects = [*call.objects, *(value for value in call.arguments.values() if isinstance(value, NN))]
        before = [state_of(thing) for thing in objects]
        shown = f"{name}({', '.join(f'{key}={item}' for key, item in replaced.items())})"
        wrong = self.failures.setdefault(name, [])
        items = tuple(replaced.values())
        signal.setitimer(signal.ITIMER_REAL, 20.0)
        told = False
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                call.function(**arguments)
            self.counts["accepted"] += 1
        except (Exception, TooLong) as error:
            told = isinstance(error, (InvalidArgumentError, FileFormatError)) and not THEIRS & set(replaced)
            self.counts["refused"] += 1
            if not documented(name, items, error):
                where = innermost(error)
                wrong.append(f"{shown}: {type(error).__name__}: {str(error)[:80]!r} in {where}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        if any(
            state_of(arguments[key]) != value for key, value in given.items() if not is_written(name, key)
        ):
            wrong.append(f"{shown}: an argument has changed")
        if told:
            if [state_of(thing) for thing in objects] != before:
                wrong.append(f"{shown}: an object has changed")
            for thing in objects:
                still_works(thing)


def is_written(name: str, key: str) -> bool:
    """Whether an array is there to be written to."""
    return name.endswith(".update") and key == "parameters"


def too_long(*_: Any) -> None:
    raise TooLong


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    folder = tmp_path_factory.mktemp("fuzz")
    found = Results()
    before = signal.signal(signal.SIGALRM, too_long)
    here = os.getcwd()
    os.chdir(folder)
    try:
        table = calls(folder)
        for name, make in table.items():
            for argument in make().arguments:
                for item in items_for(name, argument):
                    found.take(name, make, {argument: item})
        rng = np.random.default_rng(SEED)
        several = [name for name, make in table.items() if len(make().arguments) > 1]
        for _ in range(8000):
            name = several[rng.integers(len(several))]
            pair = rng.choice(list(table[name]().arguments), 2, replace=False)
            chosen = {str(key): str(rng.choice(items_for(name, str(key)))) for key in pair}
            found.take(name, table[name], chosen)
        yield found
    finally:
        os.chdir(here)
        signal.signal(signal.SIGALRM, before)


def items_for(name: str, argument: str) -> list[str]:
    """All that may stand for an argument."""
    items = list(POOL)
    if argument in OPEN_ENDED:
        items.remove("2**62")
    if name.startswith("Custom"):
        items = [item for item in items if item not in UNCOMPILED]
    return items


@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.xdist_group("fuzz")  # whose process makes the results once for all
@pytest.mark.parametrize("name", calls(Path()))
def test_nonsense_is_told_or_does_no_harm(name: str, results: Results) -> None:
    assert not results.failures[name], "\n".join(results.failures[name])


@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.xdist_group("fuzz")  # whose process makes the results once for all
def test_how_much_was_tried(results: Results) -> None:
    assert results.counts["refused"] >= 2000
    assert results.counts["refused"] + results.counts["accepted"] >= 8000
    assert results.counts["accepted"] < results.counts["refused"]


def test_all_that_is_public_is_called() -> None:
    text = Path(__file__).read_text()
    shown = {
        "Callback",
        "Run",
        "Source",
        "Target",
        "Scores",
        "ClassScores",
        "ClusterError",
        "Diagnosis",
        "LayerDiagnosis",
        "GradientCheck",
        "Fits",
        "SearchResult",
    }
    shown |= {
        "FitHistory",
        "Posterior",
        "Optimizer",
        "ACTIVATIONS",
        "INITIALIZERS",
        "LOSSES",
        "OPTIMIZERS",
        "warmup",
    }
    public = {*crabnet_jit.__all__, *plotting.__all__}
    assert [name for name in public - shown if name not in text] == []


def test_right_arguments_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, make in calls(tmp_path).items():
        function, arguments, _ = make()
        try:
            function(**arguments)
        except Exception as error:
            error.add_note(name)
            raise
