"""The probe that asks for a page: 2xx or 3xx passes.

The answer is read by the rules that hold for the answers to clients, so what would be a 502 to
them is a failure here.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, final

import trio

from balancer import __version__
from balancer.http1.config import Http1Config
from balancer.http1.replies import BadReply, parse_reply
from balancer.upstream.errors import UpstreamError
from balancer.upstream.watcher.tcp import dial

if TYPE_CHECKING:
    from balancer.http1.replies import Reply
    from balancer.net.endpoints import EndpointRow
    from balancer.settings.upstream import Upstream

__all__ = ["HttpProbe"]

READ = 16384
REST = 65536
"""Bytes of an answer's body that are read before the connection is closed."""
LINGER = 1.0
"""Seconds for that."""


@final
class HttpProbe:
    """GETs a path.

    Args:
        path: Of the request.
        timeout: Seconds from the connection to the end of the answer's head.
        host: The request's Host; None is the upstream's own.
        context: For https.
    """

    def __init__(
        self, path: str, timeout: float, host: str | None, context: ssl.SSLContext | None
    ) -> None:
        self._path = path
        self._timeout = timeout
        self._host = host
        self._context = context
        self._limits = Http1Config()

    async def __call__(self, row: EndpointRow, upstream: Upstream) -> str | None:
        """Ask; None when the answer is as it should be."""
        deadline = trio.current_time() + self._timeout
        try:
            sock = await dial(row, upstream, self._timeout)
        except UpstreamError as error:
            return error.reason
        stream = self._secure(trio.SocketStream(trio.socket.from_stdlib_socket(sock)), upstream)
        try:
            with trio.move_on_at(deadline) as limit:
                verdict = await self._ask(stream, upstream)
            if limit.cancelled_caught:
                return f"no answer within {self._timeout:g} s"
            await _discard(stream)
        finally:
            await trio.aclose_forcefully(stream)
        return verdict

    def _secure(self, stream: trio.SocketStream, upstream: Upstream) -> trio.abc.Stream:
        if upstream.scheme != "https" or self._context is None:
            return stream
        name = upstream.host.partition("%")[0].removesuffix(".")
        return trio.SSLStream(stream, self._context, server_hostname=name, https_compatible=True)

    async def _ask(self, stream: trio.abc.Stream, upstream: Upstream) -> str | None:
        try:
            await stream.send_all(self._request(upstream))
            reply = await self._reply(stream)
        except BadReply as error:
            return f"malformed answer: {error.reason}"
        except trio.BrokenResourceError as error:
            return _broken(error)
        if reply is None:
            return "it closed the connection before its answer was complete"
        return None if 200 <= reply.status < 400 else f"it answers {reply.status}"

    def _request(self, upstream: Upstream) -> bytes:
        return (
            f"GET {self._path} HTTP/1.1\r\n"
            f"Host: {self._host or upstream.authority}\r\n"
            f"User-Agent: balancer/{__version__}\r\n"
            "Accept: */*\r\n"
            "Connection: close\r\n\r\n"
        ).encode("ascii")

    async def _reply(self, stream: trio.abc.Stream) -> Reply | None:
        """The final response's head; None when the server closed before."""
        buffer = b""
        while True:
            found = parse_reply(buffer, self._limits) if buffer else None
            if found is not None and not found.interim:
                return found
            if found is not None:
                buffer = buffer[found.size :]
                continue
            data = await stream.receive_some(READ)
            if not data:
                return None
            buffer += data


async def _discard(stream: trio.abc.Stream) -> None:
    """Read on until the server has closed: who is reset while it sends writes that into its log."""
    left = REST
    with trio.move_on_after(LINGER), suppress(trio.BrokenResourceError):
        while left > 0 and (data := await stream.receive_some(READ)):
            left -= len(data)


def _broken(error: trio.BrokenResourceError) -> str:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate isn't accepted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS fails: {cause.reason or cause.strerror}"
    if isinstance(cause, OSError) and cause.strerror:
        return f"it broke the connection: {cause.strerror}"
    return "it broke the connection"
