"""Probes against real servers: good, bad, slow and strange ones."""

from __future__ import annotations

import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from balancer.net.endpoints import EndpointRow
from balancer.settings.upstream import parse_upstream
from balancer.upstream.handshake import make_context
from balancer.upstream.watcher.http import HttpProbe
from balancer.upstream.watcher.tcp import TcpProbe
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from balancer.net.endpoints import Address

TIMEOUT = 5.0
QUICK = 0.1


def row_of(address: Address) -> EndpointRow:
    return EndpointRow(0, 1, 0, address, 1, False, False, 0.0, 0.0, 0.0, 0.0, 0)


async def head_of(stream: trio.abc.Stream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some(4096)
        if not data:
            break
        head += data
    return head


@asynccontextmanager
async def serving(
    *pieces: bytes, wrap: Callable[[trio.SocketStream], trio.abc.Stream] = lambda each: each
) -> AsyncIterator[tuple[EndpointRow, list[bytes], list[str]]]:
    """A server that answers with these, then closes; its row, the requests, and how they ended."""
    heads: list[bytes] = []
    ends: list[str] = []

    async def serve(raw: trio.SocketStream) -> None:
        stream = wrap(raw)
        try:
            heads.append(await head_of(stream))
            for piece in pieces:
                await stream.send_all(piece)
            if pieces == (HANG,):
                await stream.receive_some()
            if isinstance(stream, trio.SocketStream):
                await stream.send_eof()
                await stream.receive_some()
            await stream.aclose()
            ends.append("closed")
        except trio.BrokenResourceError:
            ends.append("broken")
            await trio.aclose_forcefully(stream)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield row_of((int(socket.AF_INET), ("127.0.0.1", port))), heads, ends
        nursery.cancel_scope.cancel()


HANG = b"HTTP/1.1 200"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WEB = parse_upstream("web.example:8080")


def status(code: int) -> bytes:
    return b"HTTP/1.1 %d Any\r\nContent-Length: 0\r\n\r\n" % code


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([OK], None),
        ([status(204)], None),
        ([status(302)], None),
        ([b"HTTP/1.1 103 Early\r\nLink: <a>\r\n\r\n", OK], None),
        ([b"HTTP/1.0 200 OK\r\nX-Odd : 1\r\n\r\nuntil the end"], None),
        ([OK[:20], OK[20:]], None),
        ([status(400)], "it answers 400"),
        ([status(500)], "it answers 500"),
        ([status(503), b"more"], "it answers 503"),
        ([], "it closed the connection before its answer was complete"),
        ([OK[:30]], "it closed the connection before its answer was complete"),
        ([b"SSH-2.0-OpenSSH\r\n"], "malformed answer: this is not an HTTP response"),
        ([b"HTTP/1.1 200 OK\nA: b\n\n"], "malformed answer: lines must end with CRLF"),
    ],
)
async def test_what_passes(pieces: list[bytes], reason: str | None) -> None:
    async with serving(*pieces) as (row, heads, _):
        verdict = await HttpProbe("/health?a=1", TIMEOUT, None, None)(row, WEB)
    if reason is None:
        assert verdict is None
    else:
        assert verdict is not None
        assert verdict.startswith(reason)
    line, host, *_ = heads[0].split(b"\r\n")
    assert (line, host) == (b"GET /health?a=1 HTTP/1.1", b"Host: web.example:8080")
    assert b"\r\nConnection: close\r\n" in heads[0]


async def test_who_hangs_fails_in_time() -> None:
    async with serving(HANG) as (row, _, _):
        began = trio.current_time()
        verdict = await HttpProbe("/", QUICK, None, None)(row, WEB)
        assert verdict == "no answer within 0.1 s"
        assert trio.current_time() - began < TIMEOUT


async def test_a_server_is_not_reset_while_it_sends() -> None:
    body = b"x" * 60000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"
    async with serving(answer, body) as (row, _, ends):
        assert await HttpProbe("/", TIMEOUT, None, None)(row, WEB) is None
        await until(lambda: ends)
        assert ends == ["closed"]


async def test_the_host_is_that_which_requests_get() -> None:
    async with serving(OK) as (row, heads, _):
        await HttpProbe("/", TIMEOUT, "other.example", None)(row, WEB)
    assert b"\r\nHost: other.example\r\n" in heads[0]


@pytest.mark.parametrize("ask", [TcpProbe(TIMEOUT), HttpProbe("/", TIMEOUT, None, None)])
async def test_who_refuses_fails(ask: TcpProbe | HttpProbe) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        row = row_of((int(socket.AF_INET), closed.getsockname()))
    assert await ask(row, WEB) == "can't connect: Connection refused"


async def test_a_socket_of_the_file_system(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    row = row_of((int(socket.AF_UNIX), ""))
    upstream = parse_upstream(f"unix:{path}")
    tcp, http = TcpProbe(TIMEOUT), HttpProbe("/", TIMEOUT, None, None)
    assert await tcp(row, upstream) == "can't connect: No such file or directory"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        assert await tcp(row, upstream) == "can't connect: Connection refused"
        sock.listen()
        assert await tcp(row, upstream) is None
        (await trio.to_thread.run_sync(sock.accept))[0].close()

        def answer() -> None:
            with sock.accept()[0] as peer:
                assert b"Host: localhost\r\n" in peer.recv(4096)
                peer.sendall(OK)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, answer)
            assert await http(row, upstream) is None


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def ask_tls(authority: trustme.CA, context: ssl.SSLContext, name: str) -> str | None:
    """A probe over TLS at a server whose certificate is for ``web.example`` and an address."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("web.example", "127.0.0.1").configure_cert(server)

    def wrap(stream: trio.SocketStream) -> trio.abc.Stream:
        return trio.SSLStream(stream, server, server_side=True, https_compatible=True)

    async with serving(OK, wrap=wrap) as (row, _, _):
        return await HttpProbe("/", TIMEOUT, None, context)(row, parse_upstream(name))


async def test_https_is_verified(authority: trustme.CA, tmp_path: Path) -> None:
    path = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(path)
    trusting = make_context(path, verify=True)
    assert await ask_tls(authority, trusting, "https://web.example") is None
    assert await ask_tls(authority, trusting, "https://web.example.") is None
    assert await ask_tls(authority, trusting, "https://127.0.0.1") is None
    verdict = await ask_tls(authority, trusting, "https://other.example")
    assert verdict is not None
    assert verdict.startswith("its certificate isn't accepted: Hostname mismatch")


async def test_https_may_be_left_unverified(authority: trustme.CA) -> None:
    suspicious = make_context(None, verify=True)
    verdict = await ask_tls(authority, suspicious, "https://web.example")
    assert verdict is not None
    assert verdict.startswith("its certificate isn't accepted: ")
    careless = make_context(None, verify=False)
    assert await ask_tls(authority, careless, "https://other.example") is None


async def test_https_at_a_server_that_speaks_http() -> None:
    async with serving(status(400)) as (row, _, _):
        context = make_context(None, verify=False)
        # it waits for the end of a head that never comes
        verdict = await HttpProbe("/", QUICK, None, context)(row, parse_upstream("https://a"))
    assert verdict == "no answer within 0.1 s"
