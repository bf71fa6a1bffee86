"""The search for the weight decay with the largest evidence, by Levenberg-Marquardt iterations."""

import math

import numpy as np

from crabnet_jit.arrays import Array
from crabnet_jit.components.update_rules import OptimizerState
from crabnet_jit.data.sources import Source
from crabnet_jit.kernels.levenberg_marquardt import DAMPING, LOSS_TOLERANCE
from crabnet_jit.machine.signals import NEVER, Flag, Interruptible
from crabnet_jit.network.network import NN
from crabnet_jit.network.posterior import Posterior
from crabnet_jit.training.second_order import Iterations, Laplace, SecondOrderChunks
from crabnet_jit.training.settings import Settings

#: The state of the search, at the end of an optimiser's numbers. A decay of 0 means none yet.
DECAY, BEST_DECAY, BEST_EVIDENCE, N_MISSES, STAGE = range(-5, 0)
# Its stages: decreasing decays, starting with a large one, each from the network's first parameters; then the
# best one, doubled and halved, from the best parameters; and the best one, until it converges.
_COARSE, _DOUBLED, _HALVED, _OVER = range(4)
_FACTORS = {_DOUBLED: 2.0, _HALVED: 0.5, _OVER: 1.0}

_FIRST_DECAY, _RATIO, _LARGE_DECAY, _LEAST_DECAY = 0.3, 4.0, 1e-5, 1e-12
_MAX_MISSES = 3  # decays in a row, after the large ones, that did not raise the evidence
_LOSS_TOLERANCE = 1e-4  # until the search is over


class EvidenceChunks(SecondOrderChunks):
    """The iterations of `BayesianRegularization`, some at a time.

    The state has two buffers: the network's first parameters, and those with the largest evidence.
    """

    def __init__(self, net: NN, source: Source, settings: Settings, state: OptimizerState) -> None:
        super().__init__(net, source, settings, state)
        is_known = (self._batches.weight > 0) & ~np.isnan(self._batches.target)
        self._n_residuals = int(np.count_nonzero(is_known))
        self._numbers = state.numbers
        self._first, self._best = state.buffers.reshape(2, -1)
        self._tolerance = float(state.numbers[LOSS_TOLERANCE])
        self._numbers[DECAY] = settings.penalties.l2 or _FIRST_DECAY

    def run(self, chunk: Iterations, interrupt: Flag = NEVER) -> int:
        """Take the steps of a chunk; return how many. There are fewer if the run ends or is interrupted."""
        numbers, n_done, self.end = self._numbers, 0, None
        while numbers[STAGE] < _OVER:
            self._method.l2 = numbers[DECAY]
            numbers[LOSS_TOLERANCE] = max(self._tolerance, _LOSS_TOLERANCE)
            if numbers[DAMPING] >= 0.0:
                n, end = self._method.run(chunk.losses[n_done:], interrupt)
                n_done += n
                if end is None:
                    return n_done
                numbers[DAMPING] = -1.0  # this decay needs no more steps, perhaps after a checkpoint
            if not self._next_decay(interrupt):
                return n_done
        self._method.l2, numbers[LOSS_TOLERANCE] = numbers[DECAY], self._tolerance
        rest = Iterations(chunk.learning_rates[n_done:], chunk.losses[n_done:])
        return n_done + super().run(rest, interrupt)

    def _next_decay(self, interrupt: Flag) -> bool:
        """Judge the present decay, and go on with another one; False if a signal arrived first."""
        numbers, parameters = self._numbers, self._net.parameters
        found = self._method.laplace(interrupt)
        if found is None:
            return False
        evidence = self._log_evidence(found)
        numbers[N_MISSES] += 1
        if evidence is not None and (numbers[BEST_DECAY] == 0 or evidence > numbers[BEST_EVIDENCE]):
            numbers[BEST_DECAY], numbers[BEST_EVIDENCE], numbers[N_MISSES] = numbers[DECAY], evidence, 0
            self._best[:] = parameters
        numbers[DAMPING] = 0.0
        is_low = numbers[DECAY] < _LARGE_DECAY and numbers[N_MISSES] >= _MAX_MISSES
        if numbers[STAGE] == _COARSE and not is_low and numbers[DECAY] > _LEAST_DECAY:
            numbers[DECAY] /= _RATIO
            parameters[:] = self._first
        elif numbers[BEST_DECAY] == 0:
            numbers[STAGE] = _OVER
        else:
            numbers[STAGE] += 1
            numbers[DECAY] = numbers[BEST_DECAY] * _FACTORS[int(numbers[STAGE])]
            parameters[:] = self._best
        return True

    def _noise_variance(self, found: Laplace) -> float:
        """(E + c |theta|^2) / n, the variance for which the evidence is largest.

        E is the sum of squares of n residuals, and c = n decay / 2, so that E + c |theta|^2 is minimised.
        """
        return found.loss + 0.5 * self._method.l2 * float(self._net.parameters @ self._net.parameters)

    def _log_evidence(self, found: Laplace) -> float | None:
        """ln p(targets | decay) up to a constant that does not depend on the decay; None if not finite.

        The prior is exp(-b c |theta|^2), the noise is exp(-b E), and its variance is 1 / (2 b).
        """
        n, p, variance = self._n_residuals, self._net.parameters.size, self._noise_variance(found)
        if not (found.n_effective >= 0.0 and 0.0 < variance < math.inf):
            return None
        value = p * math.log(self._method.l2) - n * math.log(variance) - found.log_determinant
        return 0.5 * value if math.isfinite(value) else None

    def best_parameters(self) -> Array | None:
        """The parameters with the largest evidence so far, if the search is not over."""
        return None if self._numbers[STAGE] == _OVER or self._numbers[BEST_DECAY] == 0 else self._best

    def posterior(self) -> Posterior | None:
        """The posterior of the present parameters; None if their equations have no solution, by rounding."""
        is_best = self._numbers[BEST_DECAY] > 0 and np.array_equal(self._net.parameters, self._best)
        self._method.l2 = self._numbers[BEST_DECAY if is_best else DECAY]
        with Interruptible() as interruptible:
            found = self._method.laplace(interruptible.flag)
            while interruptible.is_interrupted():
                found = self._method.laplace(interruptible.flag)
        if found is None or not (found.n_effective > 0.0 and found.loss > 0.0):
            return None
        noise = math.sqrt(self._noise_variance(found))
        return Posterior(noise, self._method.l2, found.n_effective, self._n_residuals, found.factor)
