"""The random stream: ChaCha with 12 rounds, 16 blocks side by side.

Algorithm: D. J. Bernstein, "ChaCha, a variant of Salsa20" (2008), with its original
division of the last four words: a 64-bit block counter, then a 64-bit stream number.
A block gives 16 words of 32 bits, read as 8 draws of 64 bits, low half first.
"""

import numpy as np

from crabnet_jit.arrays import Flat, Matrix, Number, Vector
from crabnet_jit.kernels.structs import Stream
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import (
    interleave_high,
    interleave_low,
    lane_numbers,
    rotate_left,
    splat,
    store,
    transpose_8x8,
)
from crabnet_jit.machine.view import words

BLOCKS = 16  # in a group: one for each lane of a vector
DRAWS = 128  # in a group
_LOW_WORD = np.uint64(0xFFFFFFFF)
_HIGH_SHIFT = np.uint64(32)


def whole_groups(n: int) -> int:
    """Draws in as many groups as n draws need."""
    return -(-n // DRAWS) * DRAWS


@kernel
def fill_groups(stream: Stream, ahead: Number, draws: Flat) -> None:
    """Overwrite `draws` with those of consecutive groups of 128, from `ahead` groups after the stream's on.

    Reads a `Stream` (structs.py); `draws` is uint64, its size a multiple of 128.
    """
    blocks = words(draws)
    group = stream.group + np.uint64(ahead)
    for row in range(0, blocks.shape[0], BLOCKS):
        _fill_group(stream.key, stream.number, group * np.uint64(BLOCKS), blocks, row)
        group += np.uint64(1)


@kernel
def _fill_group(key: Flat, stream: Number, block: Number, out: Matrix, row: Number) -> None:
    """Overwrite 16 rows of `out` from `row` on with the blocks from `block`, a multiple of 16, on."""
    # "expand 32-byte k", as little-endian words
    c0 = splat(out, np.uint32(0x61707865))
    c1 = splat(out, np.uint32(0x3320646E))
    c2 = splat(out, np.uint32(0x79622D32))
    c3 = splat(out, np.uint32(0x6B206574))
    k0, k1, k2, k3 = splat(out, key[0]), splat(out, key[1]), splat(out, key[2]), splat(out, key[3])
    k4, k5, k6, k7 = splat(out, key[4]), splat(out, key[5]), splat(out, key[6]), splat(out, key[7])
    # 16 numbers from a multiple of 16 on: no carry from the low to the high word
    n0 = splat(out, np.uint32(block & _LOW_WORD)) + lane_numbers(out)
    n1 = splat(out, np.uint32(block >> _HIGH_SHIFT))
    s0, s1 = splat(out, np.uint32(stream & _LOW_WORD)), splat(out, np.uint32(stream >> _HIGH_SHIFT))

    x0, x1, x2, x3 = c0, c1, c2, c3
    x4, x5, x6, x7 = k0, k1, k2, k3
    x8, x9, x10, x11 = k4, k5, k6, k7
    x12, x13, x14, x15 = n0, n1, s0, s1
    for _ in range(6):
        x0, x4, x8, x12 = _quarter_round(x0, x4, x8, x12)
        x1, x5, x9, x13 = _quarter_round(x1, x5, x9, x13)
        x2, x6, x10, x14 = _quarter_round(x2, x6, x10, x14)
        x3, x7, x11, x15 = _quarter_round(x3, x7, x11, x15)
        x0, x5, x10, x15 = _quarter_round(x0, x5, x10, x15)
        x1, x6, x11, x12 = _quarter_round(x1, x6, x11, x12)
        x2, x7, x8, x13 = _quarter_round(x2, x7, x8, x13)
        x3, x4, x9, x14 = _quarter_round(x3, x4, x9, x14)

    # One word of 16 blocks to a vector, now; 16 words of one block to a row, in `out`.
    x0, x1, x2, x3 = x0 + c0, x1 + c1, x2 + c2, x3 + c3
    x4, x5, x6, x7 = x4 + k0, x5 + k1, x6 + k2, x7 + k3
    x8, x9, x10, x11 = x8 + k4, x9 + k5, x10 + k6, x11 + k7
    x12, x13, x14, x15 = x12 + n0, x13 + n1, x14 + s0, x15 + s1
    _store_rows(
        out,
        row,
        interleave_low(x0, x1),
        interleave_low(x2, x3),
        interleave_low(x4, x5),
        interleave_low(x6, x7),
        interleave_low(x8, x9),
        interleave_low(x10, x11),
        interleave_low(x12, x13),
        interleave_low(x14, x15),
    )
    _store_rows(
        out,
        row + 8,
        interleave_high(x0, x1),
        interleave_high(x2, x3),
        interleave_high(x4, x5),
        interleave_high(x6, x7),
        interleave_high(x8, x9),
        interleave_high(x10, x11),
        interleave_high(x12, x13),
        interleave_high(x14, x15),
    )


@kernel
def _store_rows(
    out: Matrix,
    row: Number,
    d0: Vector,
    d1: Vector,
    d2: Vector,
    d3: Vector,
    d4: Vector,
    d5: Vector,
    d6: Vector,
    d7: Vector,
) -> None:
    """Overwrite 8 rows of `out`; d0 to d7 hold a draw of each of these 8 blocks."""
    r0, r1, r2, r3, r4, r5, r6, r7 = transpose_8x8(d0, d1, d2, d3, d4, d5, d6, d7)
    store(out, row, 0, r0)
    store(out, row + 1, 0, r1)
    store(out, row + 2, 0, r2)
    store(out, row + 3, 0, r3)
    store(out, row + 4, 0, r4)
    store(out, row + 5, 0, r5)
    store(out, row + 6, 0, r6)
    store(out, row + 7, 0, r7)


@kernel
def _quarter_round(a: Vector, b: Vector, c: Vector, d: Vector) -> tuple[Vector, Vector, Vector, Vector]:
    a = a + b
    d = rotate_left(d ^ a, 16)
    c = c + d
    b = rotate_left(b ^ c, 12)
    a = a + b
    d = rotate_left(d ^ a, 8)
    c = c + d
    b = rotate_left(b ^ c, 7)
    return a, b, c, d
