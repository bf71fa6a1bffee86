"""The article's network trained by hand, an object for each formula: `python examples/by_hand.py`.

It prints what `crabnet-jit gaussian --iterations 3001 --log-every 1000` prints, to the last digit.
"""

import numpy as np

from crabnet_jit import MSE, LinearLayer, ReLU, StandardGaussian, StdRng, UniformSource

rng = StdRng(1)
layers: list[LinearLayer | ReLU] = [
    LinearLayer(2, 8, rng),
    ReLU(),
    LinearLayer(8, 8, rng),
    ReLU(),
    LinearLayer(8, 1, rng),
]
loss = MSE()
samples = UniformSource(StandardGaussian(), low=-3, high=3, batch_size=16, rng=rng)
learning_rate, losses = 0.002, []

for iteration in range(3_001):
    x, target = samples.batch(iteration)
    for layer in layers:
        x = layer.forward(x)
    losses.append(loss.forward(x, target))
    gradient = loss.backward()  # of the loss, with respect to x
    for layer in reversed(layers):
        gradient = layer.backward(gradient)  # with respect to the layer's input; W and b get theirs
    learning_rate *= 0.99999
    for layer in layers:
        if isinstance(layer, LinearLayer):
            layer.sgd(learning_rate)  # W -= learning_rate * dL_dW, b -= learning_rate * dL_db
    if iteration % 1_000 == 0:
        print(f"Iter {iteration}, loss: {float(np.sum(losses[-1001:])) / 1000!r}")
