"""Requests through the proxy to upstreams that speak TLS."""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.core.retry import Failure
from balancer.upstream.connection import HEAD_READ
from balancer.upstream.directory import Wish
from balancer.upstream.handshake import TlsTarget, make_context
from tests.apps.proxy.lab import lab
from tests.apps.proxy.test_handler import GET, OK, SHORT, SWITCH, UPGRADE, VIA
from tests.support.certificates import authority, self_signed, server_context, target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.apps.proxy.lab import Lab, Talk

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = (TLS_1_2, TLS_1_3)
RECORDS = (1 << 30, 1)
"""Bytes per record: every message is also said byte by byte."""

both = pytest.mark.parametrize("version", VERSIONS, ids=str)
sizes = pytest.mark.parametrize("record", RECORDS)


async def secured(
    here: Lab, version: ssl.TLSVersion = TLS_1_3
) -> tuple[Talk, trio.SSLStream[trio.SocketStream]]:
    """The next upstream connection, after its handshake."""
    upstream = await here.upstream()
    return upstream, await upstream.secure(server_context("localhost", highest=version))


async def answer(upstream: Talk, data: bytes, record: int) -> None:
    await upstream.say(*[data[i : i + record] for i in range(0, len(data), record)])


@both
@sizes
async def test_requests_and_answers_over_one_connection(
    tmp_path: Path, version: ssl.TLSVersion, record: int
) -> None:
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        await client.say(GET)
        upstream, wire = await secured(here, version)
        for turn in range(3):
            if turn:
                await client.say(GET)
            assert (await upstream.hear()).startswith(b"GET /a?b HTTP/1.1\r\nhost: a\r\n")
            await answer(upstream, SHORT, record)
            assert (await client.hear(b"hello")).startswith(OK)
            await trio.testing.wait_all_tasks_blocked()
            assert len(here.pool) == 1
        assert wire.selected_alpn_protocol() is None
        assert here.statuses == [200] * 3


@both
async def test_a_large_upload(tmp_path: Path, version: ssl.TLSVersion) -> None:
    body = bytes(range(256)) * 4096
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        here.nursery.start_soon(client.say, head, body)
        upstream, _ = await secured(here, version)
        await upstream.hear()
        await trio.testing.wait_all_tasks_blocked(0.01)  # until nothing more fits anywhere
        assert await upstream.hear_size(len(body)) == body
        await upstream.say(SHORT)
        await client.hear(b"hello")
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.pool) == 1


@both
async def test_a_large_download_in_chunks(tmp_path: Path, version: ssl.TLSVersion) -> None:
    piece = bytes(range(256)) * 160
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        await client.say(GET)
        upstream, _ = await secured(here, version)

        @here.nursery.start_soon
        async def _() -> None:
            await upstream.hear()
            await upstream.say(OK + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(256):
                await upstream.say(b"a000\r\n%b\r\n" % piece)
            await upstream.say(b"0\r\n\r\n")

        await client.hear()
        total = b""
        while size := int(await client.hear(b"\r\n"), 16):
            total += await client.hear_size(size)
            assert await client.hear_size(2) == b"\r\n"
        assert total == piece * 256
        assert await client.hear(b"\r\n") == b"\r\n"
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.pool) == 1


@sizes
async def test_chunks_of_an_answer(tmp_path: Path, record: int) -> None:
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        await client.say(GET)
        upstream, _ = await secured(here)
        said = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"
        await answer(upstream, said, record)
        await client.hear()
        assert (await client.hear(b"\r\n\r\n")).endswith(b"0\r\nx: y\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.pool) == 1


@both
async def test_an_answer_whose_last_record_was_fetched_with_the_one_before(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """The first read stops at its limit, and the kernel has no more to tell of."""
    head = OK + b"Content-Length: %d\r\n\r\n"
    size = HEAD_READ + 300 - len(head % HEAD_READ)
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        await client.say(GET)
        upstream, _ = await secured(here, version)
        await upstream.hear()
        await upstream.say(head % size + b"x" * size)
        await client.hear()
        assert await client.hear_size(size) == b"x" * size
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.pool) == 1


# ends


@both
@sizes
async def test_a_body_up_to_a_proper_end(
    tmp_path: Path, version: ssl.TLSVersion, record: int
) -> None:
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        await client.say(GET)
        upstream, wire = await secured(here, version)
        await upstream.hear()
        await answer(upstream, OK + b"\r\nhello", record)

        @here.nursery.start_soon
        async def _() -> None:
            with suppress(trio.BrokenResourceError):
                await wire.aclose()

        await client.hear()
        assert (await client.hear(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")
        assert not here.failures


@both
@sizes
async def test_a_bare_end_is_a_truncation(
    tmp_path: Path, version: ssl.TLSVersion, record: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        await client.say(GET)
        upstream, _ = await secured(here, version)
        await upstream.hear()
        await answer(upstream, OK + b"\r\nhello", record)
        await client.hear()
        await upstream.stream.aclose()  # the socket alone
        with pytest.raises(trio.BrokenResourceError):
            await client.hear_all()
        assert here.failures == [Failure.TRUNCATED]
    assert "TLS's word" in caplog.text


async def test_but_not_where_the_body_was_complete(tmp_path: Path) -> None:
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        await client.say(GET)
        upstream, _ = await secured(here)
        await upstream.say(OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello")
        await upstream.stream.aclose()
        await client.hear(b"hello")
        assert not here.failures


@both
async def test_an_idle_connection_that_has_closed_is_not_taken(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        await client.say(GET)
        upstream, wire = await secured(here, version)
        await upstream.hear()
        await upstream.say(SHORT)
        await client.hear(b"hello")
        await wire.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not len(here.pool)
        await client.say(GET)
        again, wire = await secured(here, version)
        assert wire._ssl_object.session_reused
        await again.say(SHORT)
        await client.hear(b"hello")
        assert not here.failures


async def test_tickets_that_come_to_an_idle_connection(tmp_path: Path) -> None:
    """Records that hold nothing for us are no reason to drop it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = server_context("localhost").wrap_bio(incoming, outgoing, server_side=True)
    async with lab(target=target(tmp_path)) as here:

        @here.nursery.start_soon
        async def _() -> None:
            lease = here.claim(Wish())
            assert lease is not None
            lease.end(await lease.connect())

        sock = (await here.upstream()).stream

        async def until(step: Callable[[], object]) -> object:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    await sock.send_all(outgoing.read())
                    incoming.write(await sock.receive_some())

        await until(end.do_handshake)
        tickets = outgoing.read()
        assert tickets
        for piece in (tickets[:100], tickets[100:]):
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert len(here.pool) == 1
            await sock.send_all(piece)
        client = here.client()
        await client.say(GET)
        request = await until(lambda: end.read(65536))
        assert isinstance(request, bytes)
        assert request.startswith(b"GET ")
        end.write(SHORT)
        await sock.send_all(outgoing.read())
        await client.hear(b"hello")
        assert here.leases == 2


@both
async def test_a_tunnel(tmp_path: Path, version: ssl.TLSVersion) -> None:
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        await client.say(UPGRADE + b"early")
        upstream, wire = await secured(here, version)
        await upstream.hear()
        await upstream.say(SWITCH + b"late")
        assert await client.hear() == SWITCH[:-2] + VIA + b"\r\n"
        assert await client.hear(b"late") == b"late"
        assert await upstream.hear(b"early") == b"early"
        await client.say(b"ping")
        assert await upstream.hear(b"ping") == b"ping"
        await client.stream.send_eof()
        assert await upstream.hear_all() == b""
        await upstream.say(b"last ", b"words")

        @here.nursery.start_soon
        async def _() -> None:
            await wire.aclose()

        assert await client.hear_all() == b"last words"


@both
async def test_a_tunnel_that_is_full_when_its_client_ends(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    size = 12_000_000
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        await client.say(UPGRADE)
        upstream, wire = await secured(here, version)
        await upstream.hear()
        await upstream.say(SWITCH)
        await client.hear()

        @here.nursery.start_soon
        async def _() -> None:
            await client.say(bytes(size))
            await client.stream.send_eof()

        await trio.testing.wait_all_tasks_blocked(0.01)  # nothing more fits anywhere
        assert len(await upstream.hear_all()) == size
        await upstream.say(b"thanks")

        @here.nursery.start_soon
        async def _() -> None:
            await wire.aclose()

        assert await client.hear_all() == b"thanks"


# whom to trust


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "balancer"):
        yield caplog


EXPIRED = partial(server_context, "localhost", days=-10)
FOREIGN = partial(server_context, "localhost", ca="foreign")
ELSEWHERE = partial(server_context, "other.example", "127.0.0.2")


@both
@pytest.mark.parametrize(
    ("context", "host", "reason"),
    [
        (EXPIRED, "localhost", "its certificate has expired"),
        (FOREIGN, "localhost", "the authority of its certificate is not known; --upstream-ca"),
        (ELSEWHERE, "localhost", "its certificate is for another host than localhost"),
        (ELSEWHERE, "127.0.0.1", "its certificate is for another host than 127.0.0.1"),
        (self_signed, "localhost", "its certificate is signed by itself alone"),
    ],
)
@pytest.mark.parametrize("verify", [True, False])
async def test_who_is_not_who_it_should_be(
    tmp_path: Path,
    heard: pytest.LogCaptureFixture,
    version: ssl.TLSVersion,
    context: Callable[..., ssl.SSLContext],
    host: str,
    reason: str,
    verify: bool,
) -> None:
    async with lab(retries=0, target=target(tmp_path, host, verify=verify)) as here:
        client = here.client()
        await client.say(GET)
        upstream = await here.upstream()
        if verify:
            with suppress(trio.BrokenResourceError):  # unless it is over too early to know
                await upstream.secure(context(highest=version))
            assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
            assert here.failures == [Failure.CONNECT]
            assert f"can't connect: {reason}" in heard.text
        else:
            await upstream.secure(context(highest=version))
            await upstream.hear()
            await upstream.say(SHORT)
            await client.hear(b"hello")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost.", "LOCALHOST"])
async def test_a_host_is_named_unless_it_is_an_address(tmp_path: Path, host: str) -> None:
    names: list[str | None] = []
    context = server_context("127.0.0.1", "localhost")
    context.sni_callback = lambda _, name, __: names.append(name)
    async with lab(target=target(tmp_path, host)) as here:
        client = here.client()
        await client.say(GET)
        upstream = await here.upstream()
        await upstream.secure(context)
        await upstream.say(SHORT)
        await client.hear(b"hello")
    assert names == [None if host == "127.0.0.1" else host.removesuffix(".")]


async def test_only_http_1_1_is_offered(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority("ours").issue_cert("localhost").configure_cert(context)
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        await client.say(GET)
        upstream = await here.upstream()
        wire = await upstream.secure(context)
        assert wire.selected_alpn_protocol() == "http/1.1"
        await upstream.say(SHORT)
        await client.hear(b"hello")


async def test_a_server_that_is_trusted_by_name(tmp_path: Path) -> None:
    """Its own certificate in --upstream-ca, and not its authority's."""
    issued = authority("unknown").issue_cert("localhost")
    file = tmp_path / "server.pem"
    issued.cert_chain_pems[0].write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    async with lab(target=TlsTarget(make_context(str(file), verify=True), "localhost")) as here:
        client = here.client()
        await client.say(GET)
        upstream = await here.upstream()
        await upstream.secure(context)
        await upstream.say(SHORT)
        await client.hear(b"hello")


# handshakes that fail


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it speaks plain HTTP and no TLS"),
        (b"HTTP/", "it speaks plain HTTP and no TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it speaks no TLS"),
        (
            b"\x15\x03\x03\x00\x02\x02\x28",
            "the TLS handshake failed: sslv3 alert",
        ),
        (b"", "it closed the connection in the TLS handshake"),
    ],
)
async def test_a_server_that_does_not_shake_hands(
    tmp_path: Path, heard: pytest.LogCaptureFixture, said: bytes, reason: str
) -> None:
    async with lab(retries=0, target=target(tmp_path)) as here:
        client = here.client()
        await client.say(GET)
        upstream = await here.upstream()
        await upstream.say(said)
        await upstream.stream.send_eof()
        assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
        assert here.failures == [Failure.CONNECT]
        assert f"can't connect: {reason}" in heard.text


async def test_one_that_resets(tmp_path: Path, heard: pytest.LogCaptureFixture) -> None:
    async with lab(retries=0, target=target(tmp_path)) as here:
        client = here.client()
        await client.say(GET)
        upstream = await here.upstream()
        await upstream.hear_size(5)
        upstream.reset()
        assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
        assert "can't connect: the connection broke in the TLS handshake" in heard.text


async def test_one_that_says_nothing_has_its_time(
    tmp_path: Path, heard: pytest.LogCaptureFixture
) -> None:
    async with lab(upstreams=2, target=target(tmp_path)) as here:
        here.connect_timeout = 0.05
        client = here.client()
        await client.say(GET)
        silent = await here.upstream()
        here.connect_timeout = 3.0
        upstream = await here.upstream(1)
        await upstream.secure(server_context("localhost"))
        await upstream.say(SHORT)
        await client.hear(b"hello")
        assert here.failures == [Failure.CONNECT]
        assert "can't connect: no TLS handshake within 0.05 s; trying again" in heard.text
        await silent.hear_all()


async def test_a_client_that_leaves_takes_its_request_along(tmp_path: Path) -> None:
    async with lab(target=target(tmp_path)) as here:
        client = here.client()
        await client.say(GET)
        upstream, _ = await secured(here)
        await upstream.hear()
        client.reset()
        assert await upstream.hear_all() == b""
        assert not here.failures


# without TLS


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    async with lab(listeners=[listener]) as here:
        client, upstream, _ = await here.ask(GET)
        for _ in range(2):
            await upstream.say(SHORT)
            await client.hear(b"hello")
            await client.say(GET)
            await upstream.hear()


async def test_a_unix_socket_whose_queue_is_full(
    tmp_path: Path, heard: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(0)
    another = socket.create_server(("127.0.0.1", 0))
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(path)
        async with lab(listeners=[listener, another]) as here:
            client = here.client()
            await client.say(GET)
            upstream = await here.upstream(1)
            await upstream.say(SHORT)
            await client.hear(b"hello")
            assert here.failures == [Failure.CONNECT]
    assert "can't connect: its queue of new connections is full; trying again" in heard.text
