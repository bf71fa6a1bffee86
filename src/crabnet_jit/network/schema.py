"""The meaning of a network's numbers: columns, classes, the shape of y. `fit` stores it in the network."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.activations import Sigmoid
from crabnet_jit.components.losses import quantiles_of
from crabnet_jit.data.columns import MISSING, Columns, is_frame
from crabnet_jit.data.labels import Labels
from crabnet_jit.kernels.structs import (
    AS_THEY_ARE,
    EXPONENTIAL,
    MEANS_AND_STDS,
    SIGMOID,
    SOFTMAX,
    TWO_CLASSES,
)

TASKS = ("regression", "classification", "multilabel")
HEADS = ("values", "quantiles", "log_means", "means_and_log_stds")
_LINKS = {"log_means": EXPONENTIAL, "means_and_log_stds": MEANS_AND_STDS}


@dataclass(frozen=True)
class Schema:
    """The meaning of inputs and outputs.

    Attributes
    ----------
    columns : Columns or None
        The columns of the inputs' data frame; None if there was none.
    output_names : tuple of str or None
        The names of the outputs.
    labels : Labels or None
        The classes of a classifier.
    task : {"regression", "classification", "multilabel"}
        "classification": one class for each sample; its outputs are logits of the classes, or one logit for
        the second of two. "multilabel": each output is the logit of a class that applies or does not.
    is_flat : bool
        Whether y had the shape (n_samples,); then predictions have it, too.
    label_name : str or None
        The name of the column of labels; None if it has no name.
    missing : {"error", "drop", "mean"}
        How missing inputs are treated: an error, leaving out the sample, or replacement by the mean, see
        `means`.
    means : tuple of float, or None
        The mean of each input over the samples of the fit, which replaces missing values.
    heads : {"values", "quantiles", "log_means", "means_and_log_stds"}
        The meaning of a regression's outputs: values of its targets; quantiles of all targets, one quantile
        after the other; logarithms of the means of counts; means, then logarithms of standard deviations.
    quantiles : tuple of float
        The quantiles of the heads, in ascending order; else ().
    """

    columns: Columns | None = None
    output_names: tuple[str, ...] | None = None
    labels: Labels | None = None
    task: str = "regression"
    is_flat: bool = False
    label_name: str | None = None
    missing: str = "error"
    means: tuple[float, ...] | None = None
    heads: str = "values"
    quantiles: tuple[float, ...] = ()

    def check(self, in_features: int, out_features: int) -> None:
        """Raise a ValueError unless it fits a network with these widths."""
        check.choice("task", self.task, TASKS)
        if self.columns is not None and len(self.columns.encoded_names) != in_features:
            raise ValueError(f"{len(self.columns.encoded_names)} columns for {in_features} inputs")
        check.choice("heads", self.heads, HEADS)
        if (self.heads == "quantiles") != bool(self.quantiles):
            raise ValueError(f"{len(self.quantiles)} quantiles for heads that are {self.heads}")
        if self.heads != "values" and self.task != "regression":
            raise ValueError(f"heads that are {self.heads} for a {self.task}")
        if out_features % self.n_heads != 0:
            raise ValueError(f"{out_features} outputs for {self.n_heads} heads")
        n_targets = self.n_targets(out_features)
        if self.output_names is not None and len(self.output_names) != n_targets:
            raise ValueError(f"{len(self.output_names)} names for {n_targets} targets")
        if (self.labels is None) != (self.task == "regression"):
            raise ValueError(f"a {self.task} {'without' if self.labels is None else 'with'} classes")
        is_binary = self.task == "classification" and out_features == 1
        if self.labels is not None and len(self.labels) != (2 if is_binary else out_features):
            raise ValueError(f"{len(self.labels)} classes for {out_features} outputs")
        check.choice("missing", self.missing, MISSING)
        if self.means is not None and (self.missing != "mean" or len(self.means) != in_features):
            raise ValueError(f"{len(self.means)} means for {in_features} inputs and missing={self.missing!r}")
        if self.is_flat and (self.task != "regression" or n_targets != 1):
            raise ValueError(f"a flat y of {n_targets} targets")

    @functools.cached_property
    def n_heads(self) -> int:
        """The number of outputs for each target."""
        return 2 if self.heads == "means_and_log_stds" else max(1, len(self.quantiles))

    def n_targets(self, out_features: int) -> int:
        """The number of targets for this many outputs."""
        return out_features // self.n_heads

    @property
    def middle(self) -> int:
        """The head used for predictions: the quantile next to the median, the lower one of two."""
        distances = [round(abs(q - 0.5), 12) for q in self.quantiles]
        return distances.index(min(distances)) if distances else 0

    def is_softmax(self, out_features: int) -> bool:
        """Whether the outputs are logits of as many classes, of which exactly one applies."""
        return self.task == "classification" and out_features > 1

    def n_values(self, out_features: int) -> int:
        """The number of results of a call in compiled code: outputs, or probabilities of classes."""
        return 2 if self.task == "classification" and out_features == 1 else out_features

    def link(self, out_features: int) -> int:
        """The link from outputs to values (kernels/point.py)."""
        if self.task == "regression":
            return _LINKS.get(self.heads, AS_THEY_ARE)
        if self.task == "multilabel":
            return SIGMOID
        return TWO_CLASSES if out_features == 1 else SOFTMAX

    @functools.cached_property
    def has_powers(self) -> bool:
        """Whether some outputs are logarithms."""
        return self.heads in _LINKS

    def first_power(self, out_features: int) -> int:
        """The index of the first output that is a logarithm; its value is a power of e."""
        first = {EXPONENTIAL: 0, MEANS_AND_STDS: self.n_targets(out_features)}
        return first.get(self.link(out_features), out_features)

    def meanings(self, outputs: Array) -> Array:
        """The values (n_samples, out_features) of a regression's outputs, in the units of the data."""
        first = self.first_power(outputs.shape[1])
        with np.errstate(over="ignore"):
            return np.hstack([outputs[:, :first], np.exp(outputs[:, first:])])

    def encode(self, x: Any, in_features: int | None) -> Array:
        """Inputs (n_samples, in_features) from an array or a data frame; means replace missing values."""
        rows = self.rows(x, in_features, allow_missing=self.means is not None)
        return rows if self.means is None else filled(rows, self.means)

    def rows(self, x: Any, in_features: int | None, *, allow_missing: bool) -> Array:
        """The same, with NaN for missing values, if they are allowed."""
        if is_frame(x):
            columns = Columns.of(x, "error") if self.columns is None else self.columns
            if self.columns is None and not columns.are_numbers:
                allowed = "a data frame of numbers, because the network was not fitted to columns of strings"
                raise check.reject("x", allowed, check.shortened(", ".join(columns.encoded_names)))
            x = columns.encode(x, allow_missing=allow_missing)
        return check.rows("x", x, in_features, allow_nan=allow_missing)

    def names_of_outputs(self, out_features: int) -> list[str]:
        """The names of what is predicted: the columns of y, the classes, or y0, y1, … ."""
        if self.output_names is not None:
            return list(self.output_names)
        if self.labels is not None and self.task == "classification":
            return [str(label) for label in self.labels.values[-out_features:].tolist()]
        return default_names("y", self.n_targets(out_features))

    def names_of_values(self, out_features: int) -> list[str]:
        """The names of the outputs; each target has one for each head."""
        names = self.names_of_outputs(out_features)
        if self.heads == "means_and_log_stds":
            return [*names, *(f"{name}, standard deviation" for name in names)]
        if self.n_heads == 1:
            return names
        return [f"{name}, quantile {q:g}" for q in self.quantiles for name in names]

    def values(self) -> dict[str, Any]:
        """JSON values for files; `from_values` reads them."""
        return {
            "columns": None if self.columns is None else self.columns.values(),
            "output_names": None if self.output_names is None else list(self.output_names),
            "classes": None if self.labels is None else self.labels.values.tolist(),
            "task": self.task,
            "is_flat": self.is_flat,
            "label_name": self.label_name,
            "missing": self.missing,
            "means": None if self.means is None else list(self.means),
            "heads": self.heads,
            "quantiles": list(self.quantiles),
        }

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "Schema":
        """The schema from `values`, fully checked; any exception means that they are invalid."""
        if not {"heads", "quantiles"} & values.keys():  # as before version 3
            values = {**values, "heads": "values", "quantiles": []}
        columns, names, classes = values["columns"], values["output_names"], values["classes"]
        return cls(
            None if columns is None else Columns.from_values(columns),
            None if names is None else tuple(different_texts("output_names", names)),
            None if classes is None else Labels.from_values(classes),
            values["task"],
            check.flag("is_flat", values["is_flat"]),
            None if values["label_name"] is None else check.text("label_name", values["label_name"]),
            values["missing"],
            _means(values["means"]),
            values["heads"],
            _quantiles(values["quantiles"]),
        )


def _means(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(check.array("means", values).tolist())


def _quantiles(values: Any) -> tuple[float, ...]:
    check.instance("quantiles", values, list, "a list")
    return quantiles_of("quantiles", values) if values else ()


def filled(rows: Array, means: Sequence[float]) -> Array:
    """Inputs (n_samples, in_features) with NaN replaced by means."""
    is_missing = np.isnan(rows)
    return np.where(is_missing, means, rows) if is_missing.any() else rows


def different_texts(name: str, texts: Any, count: int | None = None) -> list[str]:
    """A list of distinct strings, none of them empty; `count` is their number, if given."""
    allowed = f"a list of {'' if count is None else f'{count} '}distinct strings, none of them empty"
    if not isinstance(texts, list):
        raise check.reject(name, allowed, check.shown(texts))
    if count is not None and len(texts) != count:
        raise check.reject(name, allowed, f"{len(texts)} of them")
    seen: set[str] = set()
    for k, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            raise check.reject(name, allowed, f"{check.shown(text)} at index {k}")
        if text in seen:
            raise check.reject(name, allowed, f"{check.shown(text)} again at index {k}")
        seen.add(text)
    return texts


def default_names(letter: str, n: int) -> list[str]:
    """The names of n features: the letter and their number, from 0 on."""
    return [f"{letter}{k}" for k in range(n)]


def probabilities(link: int, logits: Array) -> Array:
    """Probabilities (n_samples, n_classes), in float64; for one logit, both have full precision."""
    z = np.asarray(logits, np.float64)
    if link != SOFTMAX:
        return Sigmoid()._values(np.hstack([-z, z]) if link == TWO_CLASSES else z)[0]
    shares: Array = np.exp(z - z.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares
