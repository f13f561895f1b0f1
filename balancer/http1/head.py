"""The head of one request, however it was parsed."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    import re

__all__ = ["Head"]

REMEMBERED = 2048
"""Bytes of fields that are worth keeping for the next request, should it have the same."""


@final
class Head:
    """The head of one request.

    ``target`` is as sent; ``origin`` is its path and query only (an absolute-form target names the
    host as well, and wins over the Host field, RFC 9112 3.2.2).  ``http_version`` is "1.0" or
    "1.1", which is what 1.2 means to us (RFC 9110 2.5).  ``keep_alive`` is the client's wish.
    ``size`` is the number of bytes of the buffer that the head took.
    """

    # what is rare stays the class's: a head is made for every request
    chunked = False
    expect_continue = False
    upgrade = False
    _headers: list[tuple[bytes, bytes]] | None = None

    def __init__(
        self,
        method: str,
        target: bytes,
        http_version: str,
        content_length: int,
        keep_alive: bool,
        size: int,
        fields: re.Match[bytes] | None,
    ) -> None:
        self.method = method
        self.target = target
        self.origin = target
        self.http_version = http_version
        self.content_length = content_length
        self.keep_alive = keep_alive
        self.size = size
        self._fields = fields

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The fields in order, names in lower case, values without the blanks around them."""
        if self._headers is None:
            match = self._fields
            assert match is not None
            block = match.string[match.end(3) + 2 : match.end() - 4]
            split = _split_again if len(block) <= REMEMBERED else _split_fields
            self._headers = list(split(block))
        return self._headers

    @property
    def block(self) -> bytes | None:
        """The lines of the fields as sent, where they were common enough to be taken as they are.

        Two requests with the same block have the same ``headers``.
        """
        match = self._fields
        return None if match is None else match.string[match.end(3) : match.end()]

    def pick(self, names: tuple[bytes, ...]) -> tuple[str, ...]:
        """The last value of each field, as latin-1, or a dash; names in lower case.

        For logs; cheaper than ``headers`` where nobody has asked for those.
        """
        match = self._fields
        if match is None or self._headers is not None:
            found = dict(self.headers)
            return tuple([found.get(name, b"-").decode("latin-1") for name in names])
        block = match.string[match.end(3) : match.end() - 2]
        return (_find_again if len(block) <= REMEMBERED else _find_fields)(block, names)


def _find_fields(block: bytes, names: tuple[bytes, ...]) -> tuple[str, ...]:
    """Look for fields in lines that are known to be well-formed, each behind a CRLF."""
    lower = block.lower()
    found: list[str] = []
    for name in names:
        start = lower.rfind(b"\r\n%b:" % name)
        if start < 0:
            found.append("-")
        else:
            start += len(name) + 3
            value = block[start : block.index(b"\r\n", start)]
            found.append(value.strip(b" \t").decode("latin-1"))
    return tuple(found)


# Most requests of a client differ from its last by nothing but the target.
_find_again = lru_cache(maxsize=512)(_find_fields)


def _split_fields(block: bytes) -> tuple[tuple[bytes, bytes], ...]:
    found = []
    for line in block.split(b"\r\n") if block else ():
        name, _, value = line.partition(b":")
        found.append((name.lower(), value.strip(b" \t")))
    return tuple(found)


_split_again = lru_cache(maxsize=512)(_split_fields)
