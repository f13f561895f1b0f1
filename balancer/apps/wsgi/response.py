"""What an app says to a request (PEP 3333): ``start_response``, ``write()`` and the iterable.

All of this runs in the app's thread.  What breaks the PEP's rules raises ``MisuseError`` there, as
soon as it is known: out of ``start_response`` and ``write``, where the app may still answer
something else, or behind the app, where the client gets a 500 or sees that the response is cut.

When things are sent:

* a list or tuple is complete: it leaves in one piece, with a Content-Length;
* so does the first block of anything else when that is all there will be (its length says so);
* other blocks are sent on one by one, for they may be a stream, and the PEP wants no delay; empty
  ones mean nothing.  The head leaves with the first block, or when ``write`` is called.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, final
from wsgiref.util import is_hop_by_hop

from balancer.apps.wsgi.types import FileWrapper
from balancer.http1.errors import MisuseError
from balancer.http1.responses import BODILESS, read_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from balancer.apps.wsgi.types import Environ, WsgiApp
    from balancer.http1.responses import ResponseHead

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

__all__ = ["Response", "Wire"]

FILE_PIECE = 65536
"""Bytes read from a file at once; apps ask for 4096 or 8192, for servers that block meanwhile."""
STATUS = re.compile(r"([2-5][0-9]{2})(?: [^\r\n]*)?").fullmatch


class Wire(Protocol):
    """Where a response goes; ``ClientGone`` when it goes nowhere any more."""

    def respond(self, status: int, head: ResponseHead, body: bytes) -> None: ...

    def begin(self, status: int, head: ResponseHead) -> None: ...

    def send(self, data: bytes) -> None: ...

    def finish(self) -> None: ...


@final
class Response:
    """One response, from the app to the wire."""

    def __init__(self, wire: Wire, method: str) -> None:
        self._wire = wire
        self._is_head = method == "HEAD"
        self._status = 0
        self._head: ResponseHead | None = None
        self._begun = False
        self._left: int | None = None
        """Bytes of the body that are announced and not sent; None: nothing is announced."""
        self.complete = False
        """Everything has been given to the wire."""

    def run(self, app: WsgiApp, environ: Environ) -> None:
        """Have the app answer.  Whatever it raises is raised, and so is MisuseError."""
        result = app(environ, self.start_response)
        try:
            self._send_result(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    # -- what the app calls -------------------------------------------------------------------

    def start_response(
        self,
        status: str,
        headers: Iterable[tuple[str, str]],
        exc_info: ExcInfo | None = None,
        /,
    ) -> Callable[[bytes], None]:
        """Take status and headers, which replace earlier ones only beside ``exc_info``."""
        if exc_info is not None:
            try:
                if self._begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # the traceback holds this frame
        elif self._head is not None:
            raise MisuseError("start_response was called again, and without exc_info")
        self._status = _read_status(status)
        self._head = _read_headers(headers)
        return self.write

    def write(self, data: bytes, /) -> None:
        """Send a block now; what the app returns comes behind it."""
        data = _as_bytes(data)
        self._check(data)
        if not self._begun:
            self._begin()
        self._block(data)

    # -- what the app returns -----------------------------------------------------------------

    def _send_result(self, result: Any) -> None:  # noqa: ANN401 - whatever an app returns
        if type(result) is list or type(result) is tuple:
            body = b"".join([_as_bytes(block) for block in result])
            if self._begun:  # by write()
                self._check(body)
                self._block(body)
            else:
                self._respond(body)
        elif isinstance(result, FileWrapper):
            self._send_file(result)
        elif isinstance(result, str | bytes | bytearray):
            raise MisuseError(f"the app returned {_a(result)}, not an iterable of bytes")
        else:
            self._send_blocks(result)
        if not self.complete:
            self._end()

    def _send_blocks(self, result: Any) -> None:  # noqa: ANN401
        try:
            blocks = iter(result)
        except TypeError:
            raise MisuseError(f"the app returned {_a(result)}, not an iterable of bytes") from None
        for each in blocks:
            block = _as_bytes(each)
            if not block:
                continue
            head = self._check(block)
            if not self._begun and (head.length == len(block) or _length(result) == 1):
                self._respond(block)
            else:
                if not self._begun:
                    self._begin()
                self._block(block)
            if self._bodiless:
                return

    def _send_file(self, file: Any) -> None:  # noqa: ANN401 - stdlib's, without types
        """Send a file from where it stands, as far as Content-Length says or to its end."""
        piece = max(file.blksize, FILE_PIECE)
        while not self.complete:
            head = self._head
            left = self._left if self._begun or head is None else head.length
            data = _as_bytes(file.filelike.read(piece if left is None else min(piece, left)))
            if not data:
                return
            head = self._check(data)
            if not self._begun and head.length == len(data):
                self._respond(data)
                return
            if not self._begun:
                self._begin()
            self._block(data)

    # -- what goes on the wire ----------------------------------------------------------------

    @property
    def _bodiless(self) -> bool:
        return self._is_head or self._status in BODILESS

    def _check(self, data: bytes) -> ResponseHead:
        """Whether ``data`` may come now; the head that it belongs to."""
        if self._head is None:
            raise MisuseError("the body came before start_response was called")
        left = self._left if self._begun else self._head.length
        if self.complete and not self._bodiless:
            left = 0  # also without Content-Length, when the length was taken for known
        if left is not None and len(data) > left and not self._bodiless:
            raise MisuseError("the body is longer than was announced")
        return self._head

    def _respond(self, body: bytes) -> None:
        """The whole response."""
        if self._head is None:
            raise MisuseError("the app returned without calling start_response")
        length = self._head.length
        if self._status in BODILESS or (self._is_head and length is not None):
            body = b""  # what it says of the length may be about the body that is not sent
        elif length is not None and length != len(body):
            raise MisuseError(f"Content-Length {length} for a body of {len(body)} bytes")
        self._begun = self.complete = True
        self._wire.respond(self._status, self._head, body)

    def _begin(self) -> None:
        assert self._head is not None
        self._begun = True
        if self._bodiless:
            self.complete = True
            self._wire.respond(self._status, self._head, b"")
        else:
            self._left = self._head.length
            self._wire.begin(self._status, self._head)

    def _block(self, data: bytes) -> None:
        """A checked block of a response that has begun."""
        if self.complete:
            return  # it has no body, whatever the app says
        if self._left is not None:
            self._left -= len(data)
        self._wire.send(data)
        if self._left == 0:
            self._finish()

    def _end(self) -> None:
        """The app has nothing more to say."""
        if not self._begun:
            self._respond(b"")
        elif self._left:
            raise MisuseError(f"the body is {self._left} bytes shorter than its Content-Length")
        else:
            self._finish()

    def _finish(self) -> None:
        self.complete = True
        self._wire.finish()


def _read_status(status: str) -> int:
    given: object = status
    match = STATUS(given) if isinstance(given, str) else None
    if match is None:
        raise MisuseError(f"{status!r} is no status: it looks like '200 OK'")
    return int(match[1])


def _read_headers(headers: Iterable[tuple[str, str]]) -> ResponseHead:
    fields = tuple([_read_header(name, value) for name, value in headers])
    return read_fields(fields)


def _read_header(name: str, value: str) -> tuple[bytes, bytes]:
    given: tuple[object, object] = (name, value)
    for each in given:
        if not isinstance(each, str):
            raise MisuseError(f"header {name!r}: {each!r} is {_a(each)}; names and values are str")
    if is_hop_by_hop(name):
        raise MisuseError(f"header {name}: hop-by-hop headers are the server's (PEP 3333)")
    try:
        return name.encode("latin-1"), value.encode("latin-1")
    except UnicodeEncodeError:
        raise MisuseError(f"header {name!r}: {value!r} has characters beyond Latin-1") from None


def _as_bytes(block: object) -> bytes:
    if type(block) is bytes:
        return block
    if isinstance(block, bytes | bytearray | memoryview):
        return bytes(block)
    raise MisuseError(f"a block of the body is {_a(block)}, not bytes")


def _length(result: object) -> int | None:
    """How many blocks there are, if the app's object knows."""
    try:
        return len(result)  # type: ignore[arg-type]  # it may not: that's the question
    except Exception:  # noqa: BLE001 - an app's own __len__
        return None


def _a(thing: object) -> str:
    name = type(thing).__name__
    return "None" if thing is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
