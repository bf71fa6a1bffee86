"""What only some environments have."""

import importlib.util

#: PyTorch is large, so the test extra does not bring it. Where it is missing its tests are not collected; CI
#: installs it in one of its environments.
WITHOUT_TORCH = importlib.util.find_spec("torch") is None
#: Modules that cannot be imported without it, or whose examples cannot run.
OF_TORCH = [f"crabnet_jit.exchange.{name}" for name in ("pytorch", "torch_modules", "torch_reader")]
