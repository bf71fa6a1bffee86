"""The random stream of Rust's `StdRng` (rand 0.8): explicit state, exact jumps."""

import math
import secrets
from typing import TypedDict, overload

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check
from crabnet_jit.kernels.chacha import DRAWS, whole_groups
from crabnet_jit.kernels.entries import fill_groups, fill_uniform
from crabnet_jit.kernels.panels import round_up
from crabnet_jit.kernels.structs import Stream
from crabnet_jit.kernels.uniform import buffer_size

_U64_MAX = 2**64 - 1
#: The streams of integer seeds, by the purpose of the draws.
INITIAL_PARAMETERS, DROPOUT, SAMPLES, CANDIDATES, HELD_OUT = range(5)
#: Draws in a stream: 2**64 blocks of 8.
PERIOD = 2**67
_MAX_NUMBERS = 2**48  # in one call


class RngState(TypedDict):
    """The type of `StdRng.state`: plain integers, ready for JSON."""

    seed: int
    stream: int
    position: int


class StdRng:
    """Uniform random numbers, bit for bit the same as those of Rust's `StdRng::seed_from_u64`.

    ChaCha with 12 rounds [1]_, seeded as in rand 0.8. The stream is a function of
    (seed, stream, position): jumping to any position costs nothing, and streams
    with different numbers are independent.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.
    stream : int, default 0
        From 0 to 2**64 - 1. The original uses stream 0.

    Attributes
    ----------
    position : int
        Number of 64-bit draws taken so far, from 0 to 2**67 - 1. Assign to jump.
    state : dict
        `seed`, `stream` and `position`; assign a state to restore it.

    Raises
    ------
    InvalidArgumentError
        For a seed, stream or position outside its range.

    References
    ----------
    .. [1] D. J. Bernstein, "ChaCha, a variant of Salsa20", 2008.

    Examples
    --------
    >>> from crabnet_jit import StdRng
    >>> rng = StdRng(1)
    >>> rng.next_u64()
    17971643333364160609
    >>> rng.position = 0
    >>> rng.random(2)
    array([0.97424474, 0.69123561])
    """

    @check.keywords
    def __init__(self, seed: int, stream: int = 0) -> None:
        self.state = {"seed": seed, "stream": stream, "position": 0}

    @property
    def state(self) -> RngState:
        """Seed, stream and position."""
        return {"seed": self._seed, "stream": self._stream, "position": self._position}

    @state.setter
    def state(self, state: RngState) -> None:
        if not isinstance(state, dict) or set(state) != {"seed", "stream", "position"}:
            raise check.reject("state", "a dict of seed, stream and position", repr(state))
        seed = check.integer("seed", state["seed"], 0, _U64_MAX)
        stream = check.integer("stream", state["stream"], 0, _U64_MAX)
        position = check.integer("position", state["position"], 0, PERIOD - 1)
        self._seed, self._stream, self._position = seed, stream, position
        self._key = _key_from_seed(seed)

    @property
    def position(self) -> int:
        """Number of 64-bit draws taken so far."""
        return self._position

    @position.setter
    def position(self, position: int) -> None:
        self._position = check.integer("position", position, 0, PERIOD - 1)

    def kernel_view(self, position: int) -> Stream:
        """A position in its stream for kernels; after 2**67 - 1, positions start again at 0."""
        group, skip = divmod(position % PERIOD, DRAWS)
        return Stream(self._key, np.uint64(self._stream), np.uint64(group), skip)

    def copy(self) -> "StdRng":
        """An independent generator at the same position of the same stream."""
        twin = StdRng(self._seed, self._stream)
        twin.position = self._position
        return twin

    def __repr__(self) -> str:
        return f"StdRng(seed={self._seed}, stream={self._stream}), position {self._position}"

    @overload
    def next_u64(self, size: None = None) -> int: ...
    @overload
    def next_u64(self, size: int | tuple[int, ...]) -> NDArray[np.uint64]: ...
    def next_u64(self, size: int | tuple[int, ...] | None = None) -> int | NDArray[np.uint64]:
        """Random integers from 0 to 2**64 - 1.

        Parameters
        ----------
        size : int or tuple of int, optional
            Shape of the result; one number if omitted.
        """
        n = self._count(size)
        stream = self.kernel_view(self._position)
        draws = np.empty(whole_groups(stream.skip + n), np.uint64)
        fill_groups(stream, 0, draws)
        self._position = (self._position + n) % PERIOD
        draws = draws[stream.skip : stream.skip + n]
        return int(draws[0]) if size is None else draws.reshape(size)

    @overload
    def random(self, size: None = None) -> float: ...
    @overload
    def random(self, size: int | tuple[int, ...]) -> NDArray[np.float64]: ...
    def random(self, size: int | tuple[int, ...] | None = None) -> float | NDArray[np.float64]:
        """Standard uniform float64 on [0, 1): `(u64 >> 11) * 2**-53`.

        Parameters
        ----------
        size : int or tuple of int, optional
            Shape of the result; one number if omitted.
        """
        values = self._uniform(53, 1.0, 0.0, self._count(size))
        return float(values[0]) if size is None else values.reshape(size)

    @overload
    def uniform(self, low: float, high: float, size: None = None) -> float: ...
    @overload
    def uniform(self, low: float, high: float, size: int | tuple[int, ...]) -> NDArray[np.float64]: ...
    def uniform(
        self, low: float, high: float, size: int | tuple[int, ...] | None = None
    ) -> float | NDArray[np.float64]:
        """Uniform float64 on the closed interval [low, high].

        This is rand's `Uniform::new_inclusive`: `(u64 >> 12) * 2**-52 * scale + low`, where `scale` is
        `(high - low) / (1 - 2**-52)`, reduced by one ulp as long as the sum could exceed `high`.

        Parameters
        ----------
        low, high : float
            Finite, low <= high.
        size : int or tuple of int, optional
            Shape of the result; one number if omitted.
        """
        low = check.finite("low", low)
        scale = interval_scale(low, check.finite("high", high))
        values = self._uniform(52, scale, low, self._count(size))
        return float(values[0]) if size is None else values.reshape(size)

    def _count(self, size: int | tuple[int, ...] | None) -> int:
        shape = size if isinstance(size, tuple) else (1 if size is None else size,)
        n = math.prod(check.integer("size", n, 0) for n in shape)
        if n > _MAX_NUMBERS:
            raise MemoryError(f"cannot hold {n} random numbers")
        return n

    def _uniform(self, bits: int, scale: float, low: float, n: int) -> NDArray[np.float64]:
        """The next n numbers `(u64 >> (64 - bits)) * 2**-bits * scale + low`."""
        if n == 0:
            return np.empty(0)
        x = np.empty((1, 1, 1, round_up(n)))
        workspace = np.empty(buffer_size(n, 1, 1), np.uint64)
        fill_uniform(
            self.kernel_view(self._position), bits, np.array([scale]), np.array([low]), n, workspace, x
        )
        self._position = (self._position + n) % PERIOD
        return x.reshape(-1)[:n]


def as_rng(name: str, rng: StdRng | int | None, stream: int = INITIAL_PARAMETERS) -> StdRng:
    """A generator unchanged, a new generator with this stream for a seed, a random seed for None.

    Each purpose has its own stream, so equal seeds for a network and for its samples do not give the same
    draws.
    """
    if isinstance(rng, StdRng):
        return rng
    if rng is None:
        return StdRng(secrets.randbits(64), stream)
    if not hasattr(rng, "__index__"):
        raise check.reject(name, f"an integer from 0 to {_U64_MAX} or a StdRng", repr(rng))
    return StdRng(check.integer(name, rng, 0, _U64_MAX), stream)


def interval_scale(low: float, high: float) -> float:
    """The factor that maps [0, 1 - 2**-52] onto the closed interval [low, high].

    It is `(high - low) / (1 - 2**-52)`, reduced by one ulp as long as rounding would exceed `high`.
    """
    if low > high:
        raise check.reject("low", f"at most high = {high!r}", repr(low))
    largest = 1.0 - 2.0**-52
    scale = (high - low) / largest
    if not math.isfinite(scale):
        raise check.reject("high - low", "finite", f"{high!r} - {low!r}")
    while scale * largest + low > high:
        scale = math.nextafter(scale, -math.inf)
    return scale


def _key_from_seed(seed: int) -> NDArray[np.uint32]:
    """The 256-bit key of `seed_from_u64`: eight outputs of a PCG32 generator."""
    state = seed
    key = np.empty(8, np.uint32)
    for k in range(8):
        state = (state * 6364136223846793005 + 11634580027462260723) & _U64_MAX
        word = (((state >> 18) ^ state) >> 27) & 0xFFFFFFFF
        turn = state >> 59
        key[k] = ((word >> turn) | (word << (-turn & 31))) & 0xFFFFFFFF
    return key
