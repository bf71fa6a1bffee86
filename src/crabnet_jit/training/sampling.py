"""The samples and equations that a trainer uses."""

import importlib
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.components.losses import Loss
from crabnet_jit.components.update_rules import Optimizer
from crabnet_jit.data.sources import Source, new_batches
from crabnet_jit.kernels.panels import panel_shape
from crabnet_jit.kernels.structs import Batches
from crabnet_jit.network.network import NN

_MOST_SAMPLES = 2**50  # in a batch


def check_source(source: Any, residuals: tuple[Any, ...]) -> None:
    """Check a source of samples; there may be none if there are residuals."""
    if source is None and residuals:
        return
    if not isinstance(source, Source):
        hint = "; its class must be a subclass of Source" if hasattr(source, "fill") else ""
        raise check.reject("source", "a Source, such as ArraySource(x, y)", repr(source), hint)
    for name, most in (("in_features", None), ("out_features", None), ("batch_size", _MOST_SAMPLES)):
        check.integer(f"source.{name}", getattr(source, name, None), 1, most)


def check_widths(net: NN, source: Source | None, loss: Loss) -> None:
    """Check that a source has as many inputs and targets as the network has with this loss."""
    if source is None:
        return
    n_targets = loss.n_targets("net.out_features", net.out_features)
    more = "" if n_targets == net.out_features else f", {n_targets} with {loss!r}"
    for name, fitting in (("in_features", net.in_features), ("out_features", n_targets)):
        if getattr(source, name) != fitting:
            allowed = f"the network's {getattr(net, name)}{more if name == 'out_features' else ''}"
            raise check.reject(f"source.{name}", allowed, repr(getattr(source, name)))


def as_residuals(values: Any) -> tuple[Any, ...]:
    """Residuals as users pass them; their modules are not imported if there are none."""
    if not check.is_iterable(values):
        raise check.reject("residuals", "a sequence of Residual", repr(values))
    items = tuple(values)
    if items:
        kind = importlib.import_module("crabnet_jit.training.residuals").Residual
        for k, item in enumerate(items):
            check.instance(f"residuals[{k}]", item, kind, "a Residual")
    return items


def check_rule(rule: Optimizer, residuals: tuple[Any, ...]) -> None:
    """Check that an optimiser can use residuals, if there are any."""
    if residuals and rule.has_evidence:
        hint = "; levenberg_marquardt and others can"
        raise check.reject("optimizer", "one that can use residuals", repr(rule), hint)
    if rule.is_second_order:
        check_points_stay(residuals)


def check_points_stay(residuals: tuple[Any, ...]) -> None:
    """Check that the residuals' points are the same in every iteration."""
    for k, residual in enumerate(residuals):
        if not residual.source.is_constant:
            allowed = "one that gives the same points in every iteration, such as an array"
            raise check.reject(f"residuals[{k}].source", allowed, repr(residual.source))


def joined(net: NN, source: Source | None, residuals: tuple[Any, ...], loss: Loss) -> tuple[Any, list[Any]]:
    """The source of a trainer's batches, in standardised units, and the terms of residuals in its loss."""
    samples = None if source is None else source.for_trainer()
    if samples is not None and net.standardization is not None:
        samples = samples.standardized(net.standardization, net.dtype)
    if not residuals:
        return samples, []
    JointSource: Any = importlib.import_module("crabnet_jit.data.joint_source").JointSource
    points = [residual.points(net) for residual in residuals]
    whole = JointSource(samples, points, are_whole=loss.takes_whole_samples)
    firsts = whole.firsts[-len(residuals) :]
    return whole, [residual.term(net, first) for residual, first in zip(residuals, firsts, strict=True)]


def with_equations(
    net: NN, batches: Batches | None, residuals: tuple[Any, ...], loss: Loss
) -> tuple[Batches, list[Any]]:
    """A batch of data, if there are any, then of residuals at fixed points; and the residuals' terms."""
    if batches is not None and not residuals:
        return batches, []
    check_points_stay(residuals)
    points, terms = joined(net, None, residuals, loss)
    found = new_batches(1, net.in_features, 0, points.batch_size, net.dtype)
    points.fill(0, found)
    n, (more, width) = 0, panel_shape(points.batch_size)
    if batches is not None:
        n, n_targets = batches.target.shape[1:3]
        n_samples, n_weights = (n + more) * width, batches.weight.shape[2]
        whole = new_batches(1, net.in_features, n_targets, n_samples, net.dtype, n_weights=n_weights)
        for name in ("x", "weight", "target"):
            getattr(whole, name)[:, :n] = getattr(batches, name)
        whole.x[:, n:], whole.weight[:, n:] = found.x, found.weight
        found, terms = whole, [term._replace(first=n + term.first) for term in terms]
    return found._replace(masks=np.empty((1, n + more, 0, width), net.dtype)), terms
