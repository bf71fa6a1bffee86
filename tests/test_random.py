"""The random stream is the original's, bit for bit."""

import math
from typing import Any

import numpy as np
import pytest

from crabnet_jit import InvalidArgumentError, StdRng
from crabnet_jit.data.random import interval_scale


def as_u64(values: list[str]) -> Any:
    return np.array([int(value) for value in values], np.uint64)


def test_integers_are_the_originals(reference: Any) -> None:
    expected = as_u64(reference["stream"]["next_u64"])
    np.testing.assert_array_equal(StdRng(1).next_u64(expected.size), expected)


def test_floats_are_the_originals(reference: Any) -> None:
    stream = reference["stream"]
    rng = StdRng(1)
    np.testing.assert_array_equal(rng.random(64), stream["first_64_standard_f64"])
    np.testing.assert_array_equal(rng.uniform(-3, 3, 64), stream["then_64_range_minus3_3_inclusive"])


def test_single_draws_are_those_of_an_array() -> None:
    singles, array = StdRng(7), StdRng(7)
    assert [singles.next_u64() for _ in range(5)] == array.next_u64(5).tolist()
    assert [singles.random() for _ in range(5)] == array.random(5).tolist()
    assert [singles.uniform(0, 2) for _ in range(5)] == array.uniform(0, 2, 5).tolist()
    assert isinstance(singles.next_u64(), int)
    assert isinstance(singles.random(), float)
    assert array.random((2, 3)).shape == (2, 3)
    assert array.random(0).shape == (0,)


@pytest.mark.parametrize("position", [0, 1, 7, 8, 127, 128, 129, 1000])
def test_jump_to_any_position(reference: Any, position: int) -> None:
    rng = StdRng(1)
    rng.position = position
    np.testing.assert_array_equal(rng.next_u64(100), as_u64(reference["stream"]["next_u64"])[position:][:100])
    assert rng.position == position + 100


def chacha12_block(seed: int, stream: int, block: int) -> list[int]:
    """One block in plain Python, written from the description of the cipher."""
    mask = 0xFFFFFFFF
    state, key = seed, []
    for _ in range(8):
        state = (state * 6364136223846793005 + 11634580027462260723) % 2**64
        word, turn = (((state >> 18) ^ state) >> 27) & mask, state >> 59
        key.append((word >> turn | word << (32 - turn)) & mask)
    constants = [int.from_bytes(b"expand 32-byte k"[i : i + 4], "little") for i in range(0, 16, 4)]
    start = [*constants, *key, block & mask, block >> 32, stream & mask, stream >> 32]
    x = list(start)
    for _ in range(6):
        for shift in (0, 1):
            for i in range(4):
                a, b, c, d = i, 4 + (i + shift) % 4, 8 + (i + 2 * shift) % 4, 12 + (i + 3 * shift) % 4
                for p, q, r, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                    x[p] = (x[p] + x[q]) & mask
                    x[r] ^= x[p]
                    x[r] = (x[r] << bits | x[r] >> (32 - bits)) & mask
    words = [(u + v) & mask for u, v in zip(x, start, strict=True)]
    return [low | high << 32 for low, high in zip(words[::2], words[1::2], strict=True)]


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("stream", [0, 1, 2**40 + 3, 2**64 - 1])
@pytest.mark.parametrize("block", [0, 3, 2**32 - 5, 2**33 + 1, 2**64 - 2])
def test_any_seed_stream_and_block(seed: int, stream: int, block: int) -> None:
    rng = StdRng(seed, stream)
    rng.position = 8 * block
    following = (block + 1) % 2**64
    expected = chacha12_block(seed, stream, block) + chacha12_block(seed, stream, following)
    assert rng.next_u64(16).tolist() == expected


def test_stream_starts_again_at_its_end() -> None:
    rng = StdRng(5)
    rng.position = 2**67 - 3
    np.testing.assert_array_equal(rng.next_u64(10)[3:], StdRng(5).next_u64(7))
    assert rng.position == 7
    rng.position = 2**67 - 200
    np.testing.assert_array_equal(rng.random(300)[200:], StdRng(5).random(100))


def test_state_is_restored_exactly() -> None:
    rng = StdRng(3, stream=9)
    rng.random(13)
    state = rng.state
    expected = rng.random(50)
    other = StdRng(0)
    other.state = state
    np.testing.assert_array_equal(other.random(50), expected)
    assert state == {"seed": 3, "stream": 9, "position": 13}


def test_copy_is_independent() -> None:
    rng = StdRng(3, stream=2)
    twin = rng.copy()
    assert rng.random() == twin.random()
    rng.random()
    assert (rng.position, twin.position) == (2, 1)


@pytest.mark.parametrize(("low", "high"), [(-3.0, 3.0), (0.0, 1.0), (1.0, 1.0), (-1e300, 5e-324), (0.1, 0.3)])
def test_interval_is_closed_and_never_left(low: float, high: float) -> None:
    draws = StdRng(1).uniform(low, high, 10_000)
    assert low <= draws.min()
    assert draws.max() <= high
    if low < high:
        np.testing.assert_allclose(draws.mean(), (low + high) / 2, atol=0.02 * (high - low))


def test_largest_draw_on_an_interval_is_its_upper_end() -> None:
    largest = 1 - 2.0**-52
    for low, high in [(-3.0, 3.0), (0.1, 0.3), (-7.7, 1e-3)]:
        top = interval_scale(low, high) * largest + low
        assert high - 2 * math.ulp(high - low) <= top <= high


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", None, True, float("nan")])
def test_seed_outside_u64(seed: Any) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"seed must be an integer from 0 to 18446744073709551615, got"
    ):
        StdRng(seed)


def test_bad_arguments_name_themselves() -> None:
    rng = StdRng(1)
    with pytest.raises(InvalidArgumentError, match="stream must be"):
        StdRng(1, -1)
    with pytest.raises(InvalidArgumentError, match="position must be"):
        rng.position = 2**67
    with pytest.raises(InvalidArgumentError, match=r"low must be at most high = 1\.0, got 2\.0"):
        rng.uniform(2, 1)
    with pytest.raises(InvalidArgumentError, match="high must be a finite number"):
        rng.uniform(0, float("inf"))
    with pytest.raises(InvalidArgumentError, match="high - low must be finite"):
        rng.uniform(-1.7e308, 1.7e308)
    with pytest.raises(InvalidArgumentError, match="size must be"):
        rng.random(-1)
    with pytest.raises(InvalidArgumentError, match="state must be a dict"):
        rng.state = {"seed": 1}  # type: ignore[typeddict-item]  # that is the test
    with pytest.raises(InvalidArgumentError, match="position must be"):
        rng.state = {"seed": 2, "stream": 0, "position": -1}
    assert rng.state == {"seed": 1, "stream": 0, "position": 0}
