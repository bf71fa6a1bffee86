"""The kernels for teams of threads; entries.py has the others."""

from crabnet_jit.kernels import train_team
from crabnet_jit.machine.jit import entry_point

train = entry_point(train_team.train, "train_team")
loss_and_gradients = entry_point(train_team.loss_and_gradients, "loss_and_gradients_team")
help_run = entry_point(train_team.help_run, "help_run")
