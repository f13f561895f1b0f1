"""``wsgi.input``: the request's body as a file (PEP 3333, "Input and Error Streams").

It has an end, also where the body came in chunks (``wsgi.input_terminated``), and never holds more
than one piece beyond what was asked for: the next one is fetched from the client when it is needed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Fetch", "Input"]

if TYPE_CHECKING:
    Fetch = Callable[[int], tuple[bytes, bool]]
    """The next bytes, at least so many unless the body ends before, and whether it has ended."""

ALL = sys.maxsize


@final
class Input:
    """A binary file for one reader: ``read``, ``readline``, ``readlines`` and iteration.

    All raise OSError when the client has gone, or the body is not worth being read on: malformed,
    too large, or stalled.
    """

    __slots__ = ("_at", "_buffer", "_ended", "_fetch")

    def __init__(self, first: bytes, ended: bool, fetch: Fetch) -> None:
        self._buffer = first
        self._at = 0
        self._ended = ended
        self._fetch = fetch

    def read(self, size: int | None = -1, /) -> bytes:
        """``size`` bytes, or fewer where the body ends; all of it without a size."""
        wanted = _count(size)
        missing = wanted - (len(self._buffer) - self._at)
        if missing > 0 and not self._ended:
            self._fill(missing)
        return self._take(self._at + wanted)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Up to and with the next newline, at most ``size`` bytes."""
        left = _count(size)
        pieces = []
        while True:
            newline = self._buffer.find(b"\n", self._at, self._at + left) + 1
            piece = self._take(newline or self._at + left)
            pieces.append(piece)
            left -= len(piece)
            if newline or not left or self._ended:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._fill(1)

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """The lines up to the end, or until there are ``hint`` bytes of them."""
        lines = []
        left = ALL if hint is None or hint <= 0 else hint
        while left > 0 and (line := self.readline()):
            lines.append(line)
            left -= len(line)
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def _take(self, end: int) -> bytes:
        piece = self._buffer[self._at : end]
        self._at += len(piece)
        return piece

    def _fill(self, missing: int) -> None:
        rest = self._buffer[self._at :]
        data, self._ended = self._fetch(missing)
        self._buffer, self._at = rest + data, 0


def _count(size: int | None) -> int:
    return ALL if size is None or size < 0 else size
