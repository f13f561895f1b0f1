"""HTTP messages as a test reads them: by framing alone; nothing is repaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

__all__ = ["Message", "Mismatch", "read_message"]

BODILESS = {b"204", b"304"}


@final
class Mismatch(AssertionError):  # noqa: N818 - what a row didn't get, not a mistake of ours
    """One side saw something else than the row says; one line that names what."""


@final
@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response.

    Attributes:
        line: The first line.
        fields: In order; names in lower case.
        body: Without its framing.
        framing: length, chunked, close (up to the end of the connection) or none.
        trailers: Fields behind the chunks.
        raw: All of its bytes.
    """

    line: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    framing: str
    trailers: tuple[tuple[bytes, bytes], ...]
    raw: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]

    @property
    def status(self) -> int:
        return int(self.line.split(b" ", 2)[1])


def read_message(buffer: bytes, *, method: bytes | None, ended: bool) -> Message | None:
    """The message at the beginning of a buffer; None: it isn't complete.

    Args:
        buffer: What came.
        method: Of the request that this is the response to; None: it is a request.
        ended: Nothing more comes.
    """
    head, blank, rest = buffer.partition(b"\r\n\r\n")
    if not blank:
        return None
    line, *lines = head.split(b"\r\n")
    fields = _fields(lines)
    framing, length = _framing(line, dict(fields), method)
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    if framing == "close":
        if not ended:
            return None
        body, size = rest, len(rest)
    elif framing == "chunked":
        found = _chunks(rest)
        if found is None:
            return None
        body, trailers, size = found
    else:
        if len(rest) < length:
            return None
        body, size = rest[:length], length
    return Message(line, fields, body, framing, trailers, buffer[: len(head) + 4 + size])


def _fields(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    pairs = [line.partition(b":") for line in lines]
    return tuple((name.lower(), value.strip(b" \t")) for name, _, value in pairs)


def _framing(line: bytes, fields: dict[bytes, bytes], method: bytes | None) -> tuple[str, int]:
    status = line.split(b" ")[1] if method is not None else b""
    if method == b"HEAD" or status in BODILESS or status.startswith(b"1"):
        return "none", 0
    if b"transfer-encoding" in fields:
        return "chunked", 0
    if b"content-length" in fields:
        return "length", int(fields[b"content-length"])
    return ("close", 0) if method is not None else ("none", 0)


def _chunks(data: bytes) -> tuple[bytes, tuple[tuple[bytes, bytes], ...], int] | None:
    body = b""
    at = 0
    while True:
        line, crlf, _ = data[at:].partition(b"\r\n")
        if not crlf:
            return None
        size = int(line.split(b";")[0], 16)
        at += len(line) + 2
        if not size:
            break
        if len(data) < at + size + 2:
            return None
        body += data[at : at + size]
        at += size + 2
    if data.startswith(b"\r\n", at):
        return body, (), at + 2
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        return None
    return body, _fields(data[at:end].split(b"\r\n")), end + 4
