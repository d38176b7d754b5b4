# SPDX-License-Identifier: Apache-2.0
"""Memory of the user's: a pointer, a buffer, a numpy array or a torch tensor."""

import dataclasses
from typing import Any

from baton_kv._library import ffi
from baton_kv.errors import InvalidError


@dataclasses.dataclass(frozen=True)
class Memory:
    """A range of memory, and who keeps it there.

    `owner` is held until nothing can touch the range any more; with None the caller sees to that.
    """

    address: int
    length_bytes: int
    owner: Any = None
    cuda_device: int | None = None  # the ordinal of the GPU whose memory it is; None: the host's


def memory_of(thing: Any) -> Memory:
    """The memory that `thing` has: a Memory, what has data_ptr() (a torch tensor), or a buffer
    (bytearray, mmap, a numpy array).

    Holds `thing`, and its buffer, so that it can be neither freed nor resized meanwhile.
    Raises InvalidError where its bytes are not in one piece, or may not be written.
    """
    if isinstance(thing, Memory):
        return thing
    if hasattr(thing, "data_ptr"):
        return _tensor(thing)
    try:
        buffer = ffi.from_buffer(thing, require_writable=True)
    except (BufferError, ValueError) as error:
        raise InvalidError(f"the memory of this {type(thing).__name__} can not be wrapped: {error}")
    address = int(ffi.cast("uintptr_t", buffer))
    return Memory(address, len(buffer), owner=(buffer, thing))


def _tensor(tensor: Any) -> Memory:
    if not tensor.is_contiguous():
        raise InvalidError("the tensor is not contiguous: wrap its storage, as a Memory")
    on_gpu = bool(getattr(tensor, "is_cuda", False))
    return Memory(
        address=tensor.data_ptr(),
        length_bytes=tensor.nbytes,
        owner=tensor,
        cuda_device=(tensor.device.index or 0) if on_gpu else None,
    )
