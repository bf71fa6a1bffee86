"""What all components have in common."""

from crabnet_jit.arrays import Array


def kept(value: Array | None) -> Array:
    """What `forward` kept for `backward`."""
    if value is None:
        raise RuntimeError("forward() must be called before backward()")
    return value
