"""The random stream: ChaCha with 12 rounds, 16 blocks side by side.

Algorithm: D. J. Bernstein, "ChaCha, a variant of Salsa20" (2008), with its original
division of the last four words: a 64-bit block counter, then a 64-bit stream number.
A block gives 16 words of 32 bits, read as 8 draws of 64 bits, low half first.
"""

import numpy as np

from crabnet_jit.arrays import Flat, Matrix, Number, Vector
from crabnet_jit.kernels.structs import Stream
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import join, lane_numbers, rotate_left, splat, store_transposed, turn
from crabnet_jit.machine.view import words

BLOCKS = 16  # in a group: one for each lane of a vector
DRAWS = 128  # in a group
_LOW_WORD = np.uint64(0xFFFFFFFF)
_HIGH_SHIFT = np.uint64(32)


def whole_groups(n: int) -> int:
    """The number of draws, rounded up to whole groups."""
    return -(-n // DRAWS) * DRAWS


@kernel
def fill_groups(stream: Stream, ahead: Number, draws: Flat) -> None:
    """Overwrite `draws` with consecutive groups of 128, starting `ahead` groups after the stream's group.

    Reads a `Stream` (structs.py). `draws` is uint64 and its size is a multiple of 128.
    """
    blocks = words(draws)
    group = stream.group + np.uint64(ahead)
    for row in range(0, blocks.shape[0], BLOCKS):
        _fill_group(stream.key, stream.number, group * np.uint64(BLOCKS), blocks, row)
        group += np.uint64(1)


@kernel
def _fill_group(key: Flat, stream: Number, block: Number, out: Matrix, row: Number) -> None:
    """Overwrite 16 rows of `out` from `row` on with 16 blocks; the first is `block`, a multiple of 16."""
    # 16 numbers that start at a multiple of 16: no carry from the low to the high word
    low = splat(out, np.uint32(block & _LOW_WORD)) + lane_numbers(out)
    high = np.uint32(block >> _HIGH_SHIFT)
    # The state has four rows of four words, each a vector over 16 blocks. The first row is "expand 32-byte
    # k".
    constants = np.uint32(0x61707865), np.uint32(0x3320646E), np.uint32(0x79622D32), np.uint32(0x6B206574)
    a0 = join(out, constants)
    b0 = join(out, (key[0], key[1], key[2], key[3]))
    c0 = join(out, (key[4], key[5], key[6], key[7]))
    d0 = join(out, (low, high, np.uint32(stream & _LOW_WORD), np.uint32(stream >> _HIGH_SHIFT)))
    a, b, c, d = a0, b0, c0, d0
    for _ in range(6):
        a, b, c, d = _quarter_rounds(a, b, c, d)  # of the columns
        b, c, d = turn(b, 1), turn(c, 2), turn(d, 3)
        a, b, c, d = _quarter_rounds(a, b, c, d)  # of the diagonals
        b, c, d = turn(b, 3), turn(c, 2), turn(d, 1)
    store_transposed(out, row, (a + a0, b + b0, c + c0, d + d0))


@kernel
def _quarter_rounds(a: Vector, b: Vector, c: Vector, d: Vector) -> tuple[Vector, Vector, Vector, Vector]:
    a = a + b
    d = rotate_left(d ^ a, 16)
    c = c + d
    b = rotate_left(b ^ c, 12)
    a = a + b
    d = rotate_left(d ^ a, 8)
    c = c + d
    b = rotate_left(b ^ c, 7)
    return a, b, c, d
