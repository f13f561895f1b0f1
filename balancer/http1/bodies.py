"""Request bodies: pieces out of a buffer, by Content-Length or by chunks.  Pure.

A reader's ``take`` is given the whole buffer and returns the next piece and what is left; an empty
piece from a reader that is not ``done`` means that more bytes are needed.  The chunked reader is
our own because h11's accepts bare CR in extensions and bare LF in trailers; the tests compare them.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Protocol, final

from balancer.http1.errors import RequestError
from balancer.http1.strict import split_field

if TYPE_CHECKING:
    from balancer.http1.config import Http1Config

__all__ = ["BodyReader", "ChunkedReader", "LengthReader"]

# at most 15 digits, so that a size fits in a signed 64-bit number wherever it is sent on
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?").fullmatch
MAX_CHUNK_LINE = 1024
MAX_EXTENSIONS = 16384
"""Bytes of extensions per body: one byte of data with a kilobyte of extension costs us the more."""


class BodyReader(Protocol):
    """Takes a body out of a buffer that grows."""

    done: bool
    trailers: list[tuple[bytes, bytes]]

    def take(self, buffer: bytes) -> tuple[bytes, bytes]:
        """The next piece of the body and the rest of the buffer.

        Raises:
            RequestError: 400 (malformed), 413 (too large), 431 (trailers too large).
        """

    def remaining(self) -> int | None:
        """Bytes of the body still to come; None: unknown."""


@final
class LengthReader:
    """A body whose length was announced."""

    __slots__ = ("_left", "done", "trailers")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0
        self.trailers: list[tuple[bytes, bytes]] = []

    def take(self, buffer: bytes) -> tuple[bytes, bytes]:
        if len(buffer) <= self._left:
            piece, rest = buffer, b""
        else:
            piece, rest = buffer[: self._left], buffer[self._left :]
        self._left -= len(piece)
        self.done = self._left == 0
        return piece, rest

    def remaining(self) -> int | None:
        return self._left


class _Part(Enum):
    SIZE = "the line with a chunk's size"
    DATA = "a chunk's data"
    END = "the CRLF after a chunk's data"
    TRAILERS = "the lines after the last chunk"


@final
class ChunkedReader:
    """A body in chunks (RFC 9112 7.1); extensions are dropped, trailers kept apart."""

    __slots__ = (
        "_extensions",
        "_left",
        "_limits",
        "_part",
        "_size",
        "_trailer_bytes",
        "done",
        "trailers",
    )

    def __init__(self, limits: Http1Config) -> None:
        self._limits = limits
        self._part = _Part.SIZE
        self._left = 0
        self._size = 0
        self._extensions = 0
        self._trailer_bytes = 0
        self.done = False
        self.trailers: list[tuple[bytes, bytes]] = []

    def remaining(self) -> int | None:
        return 0 if self.done else None

    def take(self, buffer: bytes) -> tuple[bytes, bytes]:
        """All data that is there, of however many chunks."""
        # in one go: to cut the buffer behind each of many small chunks would copy it as often
        pieces = []
        at = 0
        while not self.done:
            if self._part is _Part.DATA:
                piece = buffer[at : at + self._left]
                step = len(piece)
                if step:
                    pieces.append(piece)
                    self._take_data(step)
            else:
                step = self._step(buffer, at)
            if not step:
                break
            at += step
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), buffer[at:]

    def _take_data(self, size: int) -> None:
        self._left -= size
        if not self._left:
            self._part = _Part.END

    def _step(self, buffer: bytes, at: int) -> int:
        """How many bytes of framing at ``at`` were understood; 0: more bytes are needed."""
        if self._part is _Part.END:
            return self._take_end(buffer, at)
        limit = MAX_CHUNK_LINE if self._part is _Part.SIZE else self._limits.max_head
        end = buffer.find(b"\r\n", at, at + limit + 2)
        line = buffer[at : end if end >= 0 else at + limit + 2]
        if b"\n" in line:
            raise RequestError(400, "lines in a chunked body must end with CRLF")
        if end < 0:
            if len(line) >= limit + 2:
                raise self._too_long()
            return 0
        if self._part is _Part.SIZE:
            self._start_chunk(line)
        else:
            self._take_trailer(line)
        return len(line) + 2

    def _too_long(self) -> RequestError:
        if self._part is _Part.SIZE:
            return RequestError(400, "a chunk's size line is too long")
        return RequestError(431, "the trailers are larger than this server allows")

    def _take_end(self, buffer: bytes, at: int) -> int:
        end = buffer[at : at + 2]
        if not b"\r\n".startswith(end):
            raise RequestError(400, "a chunk is longer than its size")
        if len(end) < 2:
            return 0
        self._part = _Part.SIZE
        return 2

    def _start_chunk(self, line: bytes) -> None:
        match = CHUNK_LINE(line)
        if match is None:
            raise RequestError(400, "a chunk's size is not a hexadecimal number")
        self._extensions += len(line) - len(match[1])
        if self._extensions > MAX_EXTENSIONS:
            raise RequestError(400, "the chunk extensions are too long")
        self._left = int(match[1], 16)
        self._size += self._left
        if self._limits.max_body and self._size > self._limits.max_body:
            raise RequestError(413, "the body is larger than this server allows")
        self._part = _Part.DATA if self._left else _Part.TRAILERS

    def _take_trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > self._limits.max_head:
            raise self._too_long()
        if len(self.trailers) == self._limits.max_fields:
            raise RequestError(431, "there are more trailers than this server allows")
        self.trailers.append(split_field(line))
