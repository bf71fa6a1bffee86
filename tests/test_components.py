"""What all components have in common: options, and what is made of them."""

import copy
import pickle
from typing import Any

import pytest

import crabnet_jit
from crabnet_jit import (
    ELU,
    GELU,
    MSE,
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    CustomActivation,
    CustomLoss,
    ExponentialDecay,
    Huber,
    LeakyReLU,
    OneCycle,
    ReLU,
    RMSprop,
    Sine,
    StepDecay,
)

THINGS = [
    ReLU(), LeakyReLU(0.2), ELU(0.5), GELU("tanh"), Sine(30), MSE(), Huber(0.5), SGD(0.9, nesterov=True),
    RMSprop(0.9, 1e-6, 0.5), Adam((0.8, 0.99), 1e-6), AdamW(weight_decay=0.1), Constant(0.1),
    ExponentialDecay(0.1, 0.5), StepDecay(0.1, 3), Cosine(0.1, 10, 2), OneCycle(0.1, 100),
]  # fmt: skip


@pytest.mark.parametrize("thing", THINGS, ids=repr)
def test_options_make_an_equal_one(thing: Any) -> None:
    for twin in (
        type(thing)(**thing.options()),
        eval(repr(thing), vars(crabnet_jit)),
        copy.copy(thing),
        copy.deepcopy(thing),
        pickle.loads(pickle.dumps(thing)),
    ):
        assert type(twin) is type(thing)
        assert twin == thing
        assert hash(twin) == hash(thing)
        assert twin.options() == thing.options()


def test_others_are_not_equal() -> None:
    others = [*THINGS, LeakyReLU(0.1), Huber(1.0), Adam(), AdamW(), SGD(), Cosine(0.1, 11), GELU()]
    assert len(set(others)) == len(others)
    assert Adam() != AdamW(weight_decay=0.0)
    assert MSE() != "mse"


def test_what_forward_keeps_is_no_option() -> None:
    loss, activation = MSE(), ReLU()
    loss.forward([[1.0]], [[2.0]])
    activation.forward([[1.0]])
    assert (loss, activation) == (MSE(), ReLU())


def square(x: float) -> float:
    return x * x


def twice(x: float) -> float:
    return 2 * x


def test_functions_of_ones_own_are_options() -> None:
    one, other = CustomActivation(square, twice), CustomActivation(twice, square)
    assert one == CustomActivation(square, twice)
    assert one != other
    assert one.options() == {"function": square, "derivative": twice}

    def distance(x: float, t: float) -> float:
        return (x - t) ** 2

    def slope(x: float, t: float) -> float:
        return 2 * (x - t)

    loss = CustomLoss(distance, slope)
    assert loss == CustomLoss(distance, slope)
    assert loss != CustomLoss(slope, distance)
    assert len({loss, copy.deepcopy(loss), CustomLoss(slope, distance)}) == 2
