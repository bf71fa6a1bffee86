"""What machines send to each other: plain values, arrays and functions, but no machine code."""

import io
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import cloudpickle

_PROTOCOL = 5  # with which arrays need not be copied


class Parcels:
    """Converts objects to bytes and back. Objects that both sides have are not in the bytes.

    So a function of many networks remains one object, which is compiled once.

    Parameters
    ----------
    objects : sequence
        The objects that both sides have, in the same order.
    """

    def __init__(self, objects: Sequence[Any]) -> None:
        self.objects = objects
        self._places = {id(thing): k for k, thing in enumerate(objects)}

    def __reduce__(self) -> Any:
        return Parcels, (self.objects,)

    def pack(self, thing: Any) -> bytes:
        """Convert an object to bytes."""
        file = io.BytesIO()
        _Pickler(file, self._places).dump(thing)
        return file.getvalue()

    def unpack(self, data: bytes) -> Any:
        """Convert bytes to the object."""
        return _Unpickler(data, self.objects).load()


class _Pickler(cloudpickle.Pickler):
    def __init__(self, file: io.BytesIO, places: Mapping[int, int]) -> None:
        super().__init__(file, protocol=_PROTOCOL)
        self._places = places

    def persistent_id(self, part: Any) -> int | None:
        return self._places.get(id(part))


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, objects: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._objects = objects

    def persistent_load(self, place: int) -> Any:
        return self._objects[place]


def n_bytes(thing: Any) -> int:
    """The number of bytes of an object, found without copying its arrays."""
    buffers: list[pickle.PickleBuffer] = []
    head = cloudpickle.dumps(thing, protocol=_PROTOCOL, buffer_callback=buffers.append)
    return len(head) + sum(buffer.raw().nbytes for buffer in buffers)
