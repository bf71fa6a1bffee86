"""JAX: `lax.scan` over 1,000 iterations, written in the way that XLA compiles best.

A linear layer is a sum of products: XLA merges that with its neighbours into one loop,
but calls a routine for `W @ x`, and the job takes about twice as long. Drawing the
samples within the scan, iteration by iteration, takes 1.7 times as long as drawing 1,000
batches before it; other generators of JAX are not faster.
"""

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

    def linear(W: Any, b: Any, x: Any) -> Any:
        return (W[:, :, None] * x).sum(axis=1) + b

    def loss(parameters: Any, x: Any, target: Any) -> Any:
        (W1, b1), (W2, b2), (W3, b3) = parameters
        y = linear(W3, b3, jax.nn.relu(linear(W2, b2, jax.nn.relu(linear(W1, b1, x)))))
        return jnp.mean((y - target) ** 2)

    def iterate(carry: Any, batch: Any) -> Any:
        parameters, rate = carry
        value, gradients = jax.value_and_grad(loss)(parameters, *batch)
        rate = rate * DECAY
        parameters = jax.tree.map(lambda p, g: p - rate * g, parameters, gradients)
        return (parameters, rate), value

    def train_chunk(carry: Any, key: Any) -> Any:
        x = jax.random.uniform(key, (CHUNK, SIZES[0], BATCH_SIZE), minval=LOW, maxval=HIGH)
        target = 5.0 * jnp.exp(-0.5 * jnp.square(x).sum(axis=1, keepdims=True))
        return jax.lax.scan(iterate, carry, (x, target))

    compiled = jax.jit(train_chunk)

    def train(n_iterations: int) -> Any:
        key = jax.random.key(SEED)
        parameters = []
        for n_in, n_out in pairwise(SIZES):
            key, W_key, b_key = jax.random.split(key, 3)
            W, b = jax.random.uniform(W_key, (n_out, n_in)), jax.random.uniform(b_key, (n_out, 1))
            parameters.append((W, b))
        carry = parameters, jnp.asarray(LEARNING_RATE)
        losses = []
        for chunk in range(n_iterations // CHUNK):
            carry, values = compiled(carry, jax.random.fold_in(key, chunk))
            losses.append(values)
        return np.concatenate(losses)

    return train
