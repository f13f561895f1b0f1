"""Node's parser as a judge of what reached upstreams; in batches, for it works beside us."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fuzz.judge import Message

__all__ = ["NODE", "Llhttp", "Verdict", "as_known", "with_known_methods"]

NODE = shutil.which("node")
SCRIPT = Path(__file__).with_name("llhttp.js")
NUMBER = struct.Struct(">I")
KNOWN = frozenset(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH"
    b" UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE"
    b" UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK UNLINK SOURCE".split()
)
"""llhttp refuses all other methods, by a list in its source; RFC 9110 9.1 lets there be any."""
STAND_IN = b"POST"
Verdict = tuple[list["Message"], str]


@final
class Llhttp:
    """A node process that reads streams; ``ask`` and later, in the same order, ``answers``."""

    def __init__(self) -> None:
        assert NODE is not None
        self._process = subprocess.Popen(
            [NODE, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)

    def ask(self, streams: Sequence[Sequence[bytes]]) -> None:
        """Give it streams, in the pieces that were sent."""
        stdin = self._process.stdin
        assert stdin is not None
        parts = []
        for pieces in streams:
            parts.append(NUMBER.pack(len(pieces)))
            for piece in pieces:
                parts += (NUMBER.pack(len(piece)), piece)
        stdin.write(b"".join(parts))
        stdin.flush()

    def answers(self, count: int) -> list[Verdict]:
        """The messages of so many streams, each with the code of an error, or ""."""
        stdout = self._process.stdout
        assert stdout is not None
        return [_read(stdout.readline()) for _ in range(count)]


def _read(line: bytes) -> Verdict:
    found, error = json.loads(line)
    return [
        (
            method.encode("latin-1"),
            url.encode("latin-1"),
            _pairs(fields),
            body.encode("latin-1"),
            _pairs(trailers),
            complete,
        )
        for method, url, fields, body, trailers, complete in found
    ], error


def _pairs(flat: list[str]) -> list[tuple[bytes, bytes]]:
    raw = [each.encode("latin-1") for each in flat]
    return [(name.lower(), value) for name, value in zip(raw[::2], raw[1::2], strict=True)]


def with_known_methods(pieces: Sequence[bytes], starts: Sequence[int]) -> list[bytes]:
    """The same stream with a method that llhttp knows in place of each that it doesn't.

    ``starts`` are the pieces that begin a message.
    """
    found = list(pieces)
    for at in starts:
        method, blank, rest = found[at].partition(b" ")
        if method not in KNOWN:
            found[at] = STAND_IN + blank + rest
    return found


def as_known(method: bytes) -> bytes:
    """The method that llhttp is shown."""
    return method if method in KNOWN else STAND_IN
