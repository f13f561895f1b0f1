"""What happens to payloads between frame and message: permessage-deflate and the size limit.

wsproto has an extension for compression, ``PerMessageDeflate``, which is not used here for what it
does on purpose or by mistake (1.3.2): it decompresses without a limit, so that 64 KiB make 64 MiB;
a control frame between two fragments makes it take the rest for uncompressed; a DEFLATE stream
that ends (RFC 7692 7.2.3.4) spoils every later message; an offer with a parameter that it doesn't
know is accepted, and one whose number is no number raises.  So this is an extension of our own.

The limit holds for the decompressed message, whatever the fragments.  A frame that announces more
is refused at its header, a compressed one when the first byte too many comes out.

Window and memory level follow what the ``websockets`` library found: 12 bits and level 5 make 32
KiB per connection where zlib's defaults make 256 KiB, and compress JSON nearly as well.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Opcode, RsvBits

from balancer.http1.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsproto.frame_protocol import FrameDecoder, FrameProtocol

__all__ = ["Deflate", "Payload", "negotiate"]

WINDOW_BITS = 12
LARGEST_WINDOW = 15
MEMORY_LEVEL = 5
SMALL = 64
"""A message below this is not worth compressing: the packet around it is larger than the gain."""
TAIL = b"\x00\x00\xff\xff"
"""What a compressor takes off the end of a message (RFC 7692 7.2.1)."""

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
PARAMETER = re.compile(rf'({TOKEN})(?:[ \t]*=[ \t]*(?:({TOKEN})|"({TOKEN})"))?').fullmatch
NAME = re.compile(TOKEN).fullmatch
BITS = re.compile(r"[89]|1[0-5]").fullmatch


@final
@dataclass(frozen=True, slots=True)
class Deflate:
    """The parameters of permessage-deflate that client and server agreed on (RFC 7692 7.1)."""

    server_bits: int
    client_bits: int | None
    """None: the client did not say that it can be limited."""
    server_takeover: bool
    client_takeover: bool

    @property
    def response(self) -> bytes:
        """The value of Sec-WebSocket-Extensions in the 101."""
        words = ["permessage-deflate", f"server_max_window_bits={self.server_bits}"]
        if self.client_bits is not None:
            words.append(f"client_max_window_bits={self.client_bits}")
        if not self.server_takeover:
            words.append("server_no_context_takeover")
        if not self.client_takeover:
            words.append("client_no_context_takeover")
        return "; ".join(words).encode("ascii")


def negotiate(values: Iterable[bytes]) -> Deflate | None:
    """The first offer of permessage-deflate that we can accept.

    Args:
        values: The request's Sec-WebSocket-Extensions.

    Raises:
        RequestError: 400, one of them is malformed (RFC 6455 9.1).
    """
    agreed = None
    for value in values:
        # a quoted value is a token without its quotes, so that no comma hides in it
        for offer in filter(str.strip, value.decode("latin-1").split(",")):
            name, parameters = _read_offer(offer)
            if name == "permessage-deflate" and agreed is None:
                agreed = _accept(parameters)
    return agreed


def _read_offer(offer: str) -> tuple[str, list[tuple[str, str | None]]]:
    name, *rest = [part.strip(" \t") for part in offer.split(";")]
    matches = [PARAMETER(part) for part in rest]
    if not NAME(name) or None in matches:
        raise RequestError(400, "Sec-WebSocket-Extensions must be a list of extensions")
    return name, [(match[1], match[2] or match[3]) for match in matches if match]


def _accept(parameters: list[tuple[str, str | None]]) -> Deflate | None:
    """What to answer to an offer; None: decline it (RFC 7692 5, 7.1)."""
    given = dict(parameters)
    if len(given) != len(parameters):
        return None
    server_bits, client_bits = WINDOW_BITS, None
    for name, value in parameters:
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                return None
        elif name == "server_max_window_bits":
            # zlib can't limit itself to 8 bits
            if value is None or not BITS(value) or value == "8":
                return None
            server_bits = min(server_bits, int(value))
        elif name == "client_max_window_bits":
            if value is not None and not BITS(value):
                return None
            client_bits = min(WINDOW_BITS, int(value or LARGEST_WINDOW))
        else:
            return None
    return Deflate(
        server_bits,
        client_bits,
        "server_no_context_takeover" not in given,
        "client_no_context_takeover" not in given,
    )


@final
class Payload(Extension):
    """The one extension that wsproto is given: limits every message, compresses where agreed.

    wsproto reads a header again when it came in two pieces, so ``frame_inbound_header`` may only
    set what it would set again.
    """

    name = "permessage-deflate"

    def __init__(self, limit: int, deflate: Deflate | None) -> None:
        self._limit = limit
        self._deflate = deflate
        self._control = False
        """The current frame is a control frame, and goes by untouched."""
        self._compressed = False
        """The current message is compressed: only its first frame says so."""
        self._size = 0
        """How much of the current message there is."""
        self._decompressor: zlib._Decompress | None = None
        self._compressor: zlib._Compress | None = None
        self.problem = ""
        """Why the last frame was refused, if it was."""

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        return False  # servers offer nothing

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,  # noqa: ARG002 - wsproto's signature, as below
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        self._control = opcode.iscontrol()
        allowed = RsvBits(self._deflate is not None, False, False)
        if self._control or opcode is Opcode.CONTINUATION:
            if rsv.rsv1:
                self.problem = "a reserved bit is set"
                return CloseReason.PROTOCOL_ERROR
        else:
            self._compressed = rsv.rsv1
        if not self._control and not self._compressed and self._size + payload_length > self._limit:
            return self._too_big()
        return allowed

    def frame_inbound_payload_data(
        self,
        proto: FrameDecoder | FrameProtocol,  # noqa: ARG002
        data: bytes,
    ) -> bytes | CloseReason:
        if self._control:
            return data
        if not self._compressed:
            self._size += len(data)  # the header was let through
            return data
        return self._decompress(data)

    def frame_inbound_complete(
        self,
        proto: FrameDecoder | FrameProtocol,  # noqa: ARG002
        fin: bool,
    ) -> bytes | CloseReason | None:
        if self._control or not fin:
            return None
        rest = None
        if self._compressed and self._decompressor is not None:  # None: its stream has ended
            rest = self._decompress(TAIL)
        self._size = 0
        if self._deflate is not None and not self._deflate.client_takeover:
            self._decompressor = None
        return rest

    def frame_outbound(
        self,
        proto: FrameDecoder | FrameProtocol,  # noqa: ARG002
        opcode: Opcode,
        rsv: RsvBits,
        data: bytes,
        fin: bool,
    ) -> tuple[RsvBits, bytes]:
        deflate = self._deflate
        if deflate is None or len(data) < SMALL or opcode.iscontrol():
            return rsv, data
        assert fin  # what an app sends is one frame
        compressor = self._compressor
        if compressor is None:
            compressor = zlib.compressobj(
                zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -deflate.server_bits, MEMORY_LEVEL
            )
            if deflate.server_takeover:
                self._compressor = compressor
        data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return RsvBits(True, rsv.rsv2, rsv.rsv3), data[: -len(TAIL)]

    def _decompress(self, data: bytes) -> bytes | CloseReason:
        pieces = []
        while data:
            decompressor = self._decompressor
            if decompressor is None:
                decompressor = self._decompressor = self._new_decompressor()
            try:
                # one more than there may be: 0 would mean no limit
                piece = decompressor.decompress(data, self._limit - self._size + 1)
            except zlib.error:
                self.problem = "the compressed data is malformed"
                return CloseReason.PROTOCOL_ERROR
            self._size += len(piece)
            if self._size > self._limit:
                return self._too_big()
            pieces.append(piece)
            data = b""
            if decompressor.eof:  # a final block; what comes next is another stream
                data = decompressor.unused_data
                self._decompressor = None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _new_decompressor(self) -> zlib._Decompress:
        assert self._deflate is not None
        bits = self._deflate.client_bits or LARGEST_WINDOW
        return zlib.decompressobj(-max(bits, 9))  # what 8 bits can reach, 9 can

    def _too_big(self) -> CloseReason:
        self.problem = f"a message may have {self._limit} bytes"
        return CloseReason.MESSAGE_TOO_BIG
