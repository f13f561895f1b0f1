"""What a program and its workers send each other, and how it is written down.

A *parcel* is a message of the user's and perhaps file descriptors.  On the wire, a byte stream, it
is four bytes of length (big endian), one byte with the number of descriptors, and the message as
msgpack.  The descriptors travel beside the bytes (``net.mailbox``), one *batch* with the first byte
of each parcel that has any; so the batches come in the order of their parcels, and never later than
the parcel's last byte.  A batch may have lost its descriptors on the way (the receiver had no room
for them), but never its place.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, final

import msgspec

from balancer.core.messages import ProtocolError

__all__ = ["MAX_FDS", "MAX_PARCEL", "Batch", "Parcel", "ParcelDecoder", "encode_parcel"]

MAX_FDS = 250
"""Descriptors with one parcel; Linux's SCM_MAX_FD is 253."""
MAX_PARCEL = 64 * 1024 * 1024
"""Bytes of one message."""
LENGTH = 4
HEAD = LENGTH + 1

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


class Batch(NamedTuple):
    """The descriptors that came with one parcel; ``lost`` says that some had no room."""

    fds: tuple[int, ...]
    lost: bool = False


@final
class Parcel(NamedTuple):
    """A message as it arrived; ``size`` in bytes, for whoever counts what is unread."""

    data: object
    batch: Batch
    size: int


NOTHING = Batch(())


def encode_parcel(data: object, fds: int = 0) -> bytes:
    """One message that has so many descriptors.

    Raises:
        TypeError: msgspec can't encode it.
        ValueError: it is too large, or has too many descriptors.
    """
    if fds > MAX_FDS:
        raise ValueError(f"a message with {fds} sockets; {MAX_FDS} are allowed")
    payload = _encoder.encode(data)
    if len(payload) > MAX_PARCEL:
        raise ValueError(f"a message of {len(payload)} bytes; {MAX_PARCEL} are allowed")
    return len(payload).to_bytes(LENGTH, "big") + bytes([fds]) + payload


@final
class ParcelDecoder:
    """Puts parcels together, however the stream is cut.  It carries descriptors and owns none."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._batches: deque[Batch] = deque()

    def feed(self, data: bytes, batch: Batch | None = None) -> list[Parcel]:
        """The parcels that are complete now; ``batch`` is what came beside these bytes.

        Raises:
            ProtocolError: this is no parcel.  ``leftovers`` has the descriptors.
        """
        if batch is not None:
            self._batches.append(batch)
        buffer = self._buffer
        buffer += data
        parcels = []
        while len(buffer) >= HEAD:
            length = int.from_bytes(buffer[:LENGTH], "big")
            if length > MAX_PARCEL:
                raise ProtocolError(f"a message of {length} bytes; {MAX_PARCEL} are allowed")
            end = HEAD + length
            if len(buffer) < end:
                break
            parcels.append(self._parcel(buffer[LENGTH], bytes(memoryview(buffer)[HEAD:end])))
            del buffer[:end]
        return parcels

    def leftovers(self) -> list[int]:
        """The descriptors of parcels that never became complete; the caller closes them."""
        fds = [fd for batch in self._batches for fd in batch.fds]
        self._batches.clear()
        return fds

    def _parcel(self, fds: int, payload: bytes) -> Parcel:
        try:
            data = _decoder.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(str(error)) from error
        batch = NOTHING
        if fds:
            if not self._batches or len(self._batches[0].fds) not in {0, fds}:
                raise ProtocolError(f"a message that should have {fds} descriptors has not")
            batch = self._batches.popleft()
        return Parcel(data, batch, HEAD + len(payload))
