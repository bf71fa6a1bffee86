"""The random stream: ChaCha with 12 rounds, 16 blocks side by side.

Algorithm: D. J. Bernstein, "ChaCha, a variant of Salsa20" (2008), with its original
division of the last four words: a 64-bit block counter, then a 64-bit stream number.
A block gives 16 words of 32 bits, read as 8 draws of 64 bits, low half first.
"""

from typing import Any

import numpy as np

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.vector import load, rotate_left, splat, store

BLOCKS = 16
DRAWS_PER_BLOCK = 8
_LOW = np.uint64(0xFFFFFFFF)
_HIGH_SHIFT = np.uint64(32)


@kernel
def fill_u64(key: Any, stream: Any, block: Any, skip: Any, words: Any, out: Any) -> None:
    """Overwrite out with consecutive draws, from draw number `skip` of block number `block` on.

    Reads key (8,) of uint32, `stream` and `block` of uint64. Overwrites `words` (18, 16) of
    uint32, the workspace: row w holds word w of 16 blocks, the last two rows their numbers.
    """
    done = 0
    while done < out.size:
        _sixteen_blocks(key, stream, block, words)
        for b in range(skip // DRAWS_PER_BLOCK, BLOCKS):
            for d in range(skip % DRAWS_PER_BLOCK, DRAWS_PER_BLOCK):
                if done < out.size:
                    low, high = np.uint64(words[2 * d, b]), np.uint64(words[2 * d + 1, b])
                    out[done] = low | (high << _HIGH_SHIFT)
                    done += 1
            skip = 0
        block += np.uint64(BLOCKS)


@kernel
def _sixteen_blocks(key: Any, stream: Any, block: Any, words: Any) -> None:
    """Blocks number `block` to `block` + 15: word w of all of them in row w of `words`."""
    for b in range(BLOCKS):
        number = block + np.uint64(b)
        words[16, b] = np.uint32(number & _LOW)
        words[17, b] = np.uint32(number >> _HIGH_SHIFT)
    # "expand 32-byte k", as little-endian words
    c0 = splat(words, np.uint32(0x61707865))
    c1 = splat(words, np.uint32(0x3320646E))
    c2 = splat(words, np.uint32(0x79622D32))
    c3 = splat(words, np.uint32(0x6B206574))
    k0, k1, k2, k3 = splat(words, key[0]), splat(words, key[1]), splat(words, key[2]), splat(words, key[3])
    k4, k5, k6, k7 = splat(words, key[4]), splat(words, key[5]), splat(words, key[6]), splat(words, key[7])
    n0, n1 = load(words, 16, 0), load(words, 17, 0)
    s0, s1 = splat(words, np.uint32(stream & _LOW)), splat(words, np.uint32(stream >> _HIGH_SHIFT))

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

    store(words, 0, 0, x0 + c0)
    store(words, 1, 0, x1 + c1)
    store(words, 2, 0, x2 + c2)
    store(words, 3, 0, x3 + c3)
    store(words, 4, 0, x4 + k0)
    store(words, 5, 0, x5 + k1)
    store(words, 6, 0, x6 + k2)
    store(words, 7, 0, x7 + k3)
    store(words, 8, 0, x8 + k4)
    store(words, 9, 0, x9 + k5)
    store(words, 10, 0, x10 + k6)
    store(words, 11, 0, x11 + k7)
    store(words, 12, 0, x12 + n0)
    store(words, 13, 0, x13 + n1)
    store(words, 14, 0, x14 + s0)
    store(words, 15, 0, x15 + s1)


@kernel
def _quarter_round(a: Any, b: Any, c: Any, d: Any) -> Any:
    a = a + b
    d = rotate_left(d ^ a, 16)
    c = c + d
    b = rotate_left(b ^ c, 12)
    a = a + b
    d = rotate_left(d ^ a, 8)
    c = c + d
    b = rotate_left(b ^ c, 7)
    return a, b, c, d
