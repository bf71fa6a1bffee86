"""The kernels that Python calls.

Each is compiled once for each type of its arguments, when it is first called, and then
comes from the disk. Arguments are not checked here: a caller passes C-contiguous arrays of
the shapes that the kernel's docstring gives, which the object layer sees to.
"""

from crabnet_jit.kernels import chacha, gaussian, linear, mse, network, relu, schedule, sgd, uniform
from crabnet_jit.kernels._jit import entry

fill_groups = entry(chacha.fill_groups)
fill_uniform = entry(uniform.fill_uniform)
gaussian_panels = entry(gaussian.gaussian_panels)

linear_forward = entry(linear.linear_forward)
linear_backward_parameters = entry(linear.linear_backward_parameters)
linear_backward_input = entry(linear.linear_backward_input)
relu_forward = entry(relu.relu_forward)
relu_backward = entry(relu.relu_backward)
mse_forward = entry(mse.mse_forward)
sgd_update = entry(sgd.sgd_update)
exponential_decay = entry(schedule.exponential_decay)

predict = entry(network.predict)
train = entry(network.train)
