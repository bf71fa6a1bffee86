"""JAX: the step as one would write it, in `lax.scan` over 1,000 iterations, compiled as one program."""

from importlib import import_module, metadata
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.peers.job import BATCH_SIZE, CHUNK, DECAY, HIGH, LEARNING_RATE, LOW, SEED, SIZES, Train


def version() -> str:
    """Version of JAX."""
    return metadata.version("jax")


def prepare() -> Train:
    """Switch to float64, define the compiled function; its first call compiles."""
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    jax.config.update("jax_enable_x64", True)

    def loss(parameters: Any, x: Any, target: Any) -> Any:
        (W1, b1), (W2, b2), (W3, b3) = parameters
        h1 = jax.nn.relu(x @ W1 + b1)
        h2 = jax.nn.relu(h1 @ W2 + b2)
        return jnp.mean((h2 @ W3 + b3 - target) ** 2)

    def iterate(carry: Any, _: Any) -> Any:
        parameters, rate, key = carry
        key, x_key = jax.random.split(key)
        x = jax.random.uniform(x_key, (BATCH_SIZE, SIZES[0]), minval=LOW, maxval=HIGH)
        target = 5.0 * jnp.exp(-0.5 * jnp.square(x).sum(axis=1, keepdims=True))
        value, gradients = jax.value_and_grad(loss)(parameters, x, target)
        rate = rate * DECAY
        parameters = jax.tree.map(lambda p, g: p - rate * g, parameters, gradients)
        return (parameters, rate, key), value

    def train_chunk(carry: Any) -> Any:
        return jax.lax.scan(iterate, carry, length=CHUNK)

    compiled = jax.jit(train_chunk)

    def train(n_iterations: int) -> Any:
        key = jax.random.key(SEED)
        parameters = []
        for n_in, n_out in pairwise(SIZES):
            key, W_key, b_key = jax.random.split(key, 3)
            W, b = jax.random.uniform(W_key, (n_in, n_out)), jax.random.uniform(b_key, (n_out,))
            parameters.append((W, b))
        carry = parameters, jnp.asarray(LEARNING_RATE), key
        losses = []
        for _ in range(n_iterations // CHUNK):
            carry, values = compiled(carry)
            losses.append(values)
        return np.concatenate(losses)

    return train
