"""The kernels of training with derivatives; apart from entries.py, whose kernels do not need them."""

from crabnet_jit.kernels import activations
from crabnet_jit.kernels import train_terms as training
from crabnet_jit.kernels.layout import KINDS
from crabnet_jit.machine.jit import entry_point

activation_jets = {
    name: entry_point(activations.activation_jets(getattr(activations, name)), f"{name}_jets")
    for name in KINDS
}
train_terms = entry_point(training.train_terms, "train_terms")
loss_and_gradients_of_terms = entry_point(training.loss_and_gradients_of_terms, "loss_and_gradients_of_terms")
