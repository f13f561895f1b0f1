"""Requests through the proxy: what each side sees when the other does this or that."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from balancer.core.retry import Failure
from balancer.http1.transport import SocketTransport
from balancer.settings.policy import KeySource, PolicyChoice
from balancer.upstream.handshake import open_transport
from tests.apps.proxy.lab import lab

if TYPE_CHECKING:
    from balancer.http1.transport import Transport

GET = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\n"
SHORT = OK + b"Content-Length: 5\r\n\r\nhello"
VIA = b"Via: 1.1 balancer\r\n"


async def test_a_request_and_its_answer() -> None:
    async with lab() as here:
        client, upstream, head = await here.ask(GET)
        assert head.startswith(b"GET /a?b HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 127.0.0.1\r\n")
        assert b"\r\nx-request-id: " in head
        await upstream.say(SHORT)
        answer = await client.hear(b"hello")
        assert answer == OK + VIA + b"Content-Length: 5\r\n\r\nhello"
        assert here.statuses == [200]


async def test_the_connection_is_used_again() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        for _ in range(3):
            await upstream.say(SHORT)
            await client.hear(b"hello")
            await client.say(GET)
            await upstream.hear()
        assert here.leases == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
        SHORT + b"and more",
    ],
)
async def test_or_is_not(answer: bytes) -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        await upstream.say(answer)
        await client.hear(b"hello")
        await upstream.hear_all()
        assert not len(here.pool)


async def test_the_last_hop_answers_for_the_server() -> None:
    async with lab() as here:
        client, upstream, head = await here.ask(
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\n\r\n"
        )
        assert b"\r\nmax-forwards: 0\r\n" in head
        await upstream.say(SHORT)
        await client.hear(b"hello")
        await client.say(head)
        assert (await client.hear()).startswith(b"HTTP/1.1 508 ")
        client = here.client()
        await client.say(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
        assert (await client.hear()).startswith(b"HTTP/1.1 200 ")
        assert here.leases == 1


async def test_a_nul_in_a_path_is_refused() -> None:
    async with lab() as here:
        client = here.client()
        await client.say(GET.replace(b"/a", b"/a%00b"))
        assert (await client.hear()).startswith(b"HTTP/1.1 400 ")
        _, _, head = await here.ask(GET.replace(b"?b", b"?b=%00"))
        assert head.startswith(b"GET /a?b=%00 ")
        assert here.leases == 1


@pytest.mark.parametrize("scheme", [b"NTLM", b"negotiate", b"Basic"])
async def test_one_that_a_client_has_logged_in_by_is_nobody_elses(scheme: bytes) -> None:
    async with lab() as here:
        login = GET[:-2] + b"Authorization: %b abc=\r\n\r\n" % scheme
        client, upstream, head = await here.ask(login)
        assert b"\r\nauthorization: %b abc=\r\n" % scheme in head
        await upstream.say(SHORT)
        await client.hear(b"hello")
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.pool) == (scheme == b"Basic")


# requests with a body


@pytest.mark.parametrize("together", [True, False])
async def test_a_body_with_a_length(together: bool) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
    async with lab() as here:
        client, upstream, seen = await here.ask(head + (b"hello" if together else b"he"))
        if not together:
            await client.say(b"l", b"lo")
        assert b"\r\ncontent-length: 5\r\n" in seen
        assert await upstream.hear_size(5) == b"hello"
        await upstream.say(SHORT)
        await client.hear(b"hello")


async def test_chunks_are_made_anew() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with lab() as here:
        client, upstream, seen = await here.ask(head + b"005;ext=1\r\nhello\r\n")
        assert b"\r\ntransfer-encoding: chunked\r\n" in seen
        assert await upstream.hear(b"hello\r\n") == b"5\r\nhello\r\n"
        await client.say(b"1\r\n!\r\n0\r\nX: y\r\n\r\n")
        assert await upstream.hear() == b"1\r\n!\r\n0\r\nx: y\r\n\r\n"
        await upstream.say(SHORT)
        await client.hear(b"hello")


async def test_an_answer_before_the_end_of_the_body() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    async with lab() as here:
        client, upstream, _ = await here.ask(head + b"x")
        await upstream.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        answer = await client.hear()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close\r\n" in answer
        assert not len(here.pool)


async def test_an_answer_before_all_of_the_body_was_sent() -> None:
    """What comes next on such a connection would be read as the rest of the body."""
    small = 4096
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, small)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    size = 50_000
    async with lab(listeners=[listener]) as here:
        client, upstream, _ = await here.ask(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
        )
        transport = here.busy[0].transport
        assert isinstance(transport, SocketTransport)
        transport._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, small)
        await client.say(bytes(size))
        await trio.testing.wait_all_tasks_blocked(0.01)
        await upstream.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        assert (await client.hear()).startswith(b"HTTP/1.1 413 ")
        await client.say(GET)
        other = await here.upstream()
        assert (await other.hear()).startswith(b"GET /a?b ")
        assert len(await upstream.hear_all()) < size


async def test_an_answer_of_one_that_dies_over_the_body() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n"
    async with lab() as here:
        client, upstream, _ = await here.ask(head)
        await upstream.say(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        await upstream.stream.aclose()
        await client.say(bytes(10_000))
        assert (await client.hear(b"\r\n\r\nno")).startswith(b"HTTP/1.1 403 ")


POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n"


async def test_one_that_dies_over_the_body_without_a_word() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(POST)
        upstream.reset()
        assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
        assert here.failures == [Failure.BROKEN]


async def test_an_answer_beside_the_body_that_is_none() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(POST)
        await upstream.say(b"SSH-2.0\r\n\r\n")
        assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
        assert here.failures == [Failure.MALFORMED]


async def test_a_malformed_body_is_the_clients_fault() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with lab() as here:
        client, upstream, _ = await here.ask(head)
        await client.say(b"nonsense\r\n")
        assert (await client.hear()).startswith(b"HTTP/1.1 400 ")
        await upstream.hear_all()
        assert not here.failures


async def test_a_body_that_begins_malformed_troubles_no_upstream() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with lab() as here:
        client = here.client()
        await client.say(head + b"nonsense\r\n")
        assert (await client.hear()).startswith(b"HTTP/1.1 400 ")
        assert here.leases == 0


async def test_a_client_that_leaves_its_body_unfinished() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(POST)
        client.reset()
        assert await upstream.hear_all() == b""
        assert not here.failures


async def test_one_that_does_not_take_the_body_is_a_504() -> None:
    async with lab(response_timeout=5) as here:
        here.server.tick(0.0)
        client, upstream, _ = await here.ask(POST)

        @here.nursery.start_soon
        async def _() -> None:
            with suppress(trio.BrokenResourceError):
                await client.say(bytes(50_000_000))

        await trio.testing.wait_all_tasks_blocked(0.01)
        for second in range(1, 7):
            here.server.tick(float(second))
            here.expire()
        assert (await client.hear()).startswith(b"HTTP/1.1 504 ")
        assert here.failures == [Failure.TIMEOUT]
        upstream.reset()


async def test_expect_is_answered_when_the_body_is_wanted() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    async with lab() as here:
        client, upstream, seen = await here.ask(head)
        assert b"expect" not in seen
        assert await client.hear() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await upstream.say(b"HTTP/1.1 100 Continue\r\n\r\n")  # one is enough
        await client.say(b"hello")
        assert await upstream.hear_size(5) == b"hello"
        await upstream.say(SHORT)
        await client.hear(b"hello")


async def test_a_switch_of_protocols_before_the_end_of_the_body() -> None:
    head = POST.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
    async with lab() as here:
        client, upstream, _ = await here.ask(head)
        await upstream.say(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
        assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
        assert here.failures == [Failure.MALFORMED]


# answers


async def test_chunks_of_an_answer() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        await upstream.say(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"3;a=b\r\nhel\r\n")
        head = await client.hear()
        assert b"Transfer-Encoding: chunked\r\n" in head
        assert await client.hear(b"hel\r\n") == b"3\r\nhel\r\n"
        await upstream.say(b"2\r\nlo\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n")
        assert await client.hear(b"\r\n\r\n") == b"2\r\nlo\r\n0\r\nx: y\r\n\r\n"
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.pool) == 1


async def test_chunks_for_a_client_of_http_1_0() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(b"GET / HTTP/1.0\r\n\r\n")
        await upstream.say(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        head, _, body = (await client.hear_all()).partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert body == b"hello"


async def test_an_answer_that_ends_with_its_connection() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        await upstream.say(b"HTTP/1.0 200 OK\r\n\r\nhello")
        await upstream.stream.aclose()
        assert (await client.hear(b"0\r\n\r\n")).endswith(b"5\r\nhello\r\n0\r\n\r\n")
        assert not len(here.pool)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (b"HEAD", OK + b"Content-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nDate: now\r\nContent-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n"),
    ],
)
async def test_an_answer_without_a_body(method: bytes, answer: bytes) -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET.replace(b"GET", method))
        await upstream.say(answer)
        head = await client.hear()
        assert (b"Content-Length: 5\r\n" in head) == (b"Content-Length: 5\r\n" in answer)
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.pool) == 1


async def test_a_large_answer() -> None:
    size = 5_000_000
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)

        @here.nursery.start_soon
        async def _() -> None:
            await upstream.say(OK + b"Content-Length: %d\r\n\r\n" % size, bytes(size))

        await client.hear()
        assert len(await client.hear_size(size)) == size
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.pool) == 1


async def test_a_slow_answer_has_its_time_for_each_piece() -> None:
    async with lab(response_timeout=5) as here:
        here.server.tick(0.0)
        client, upstream, _ = await here.ask(GET)
        await upstream.say(OK + b"Content-Length: 1000000\r\n\r\n")
        await client.hear()
        for second in range(1, 13):
            if second <= 6:
                await upstream.say(b"x")
                assert await client.hear_size(1) == b"x"
            here.server.tick(float(second))
            here.expire()
        with pytest.raises(trio.BrokenResourceError):
            await client.hear_all()
        assert here.failures == [Failure.TIMEOUT]


async def test_interim_answers() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        await upstream.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await client.hear() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await upstream.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        assert await client.hear() == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        await upstream.say(SHORT)
        await client.hear(b"hello")


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 10\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_seen_to(answer: bytes) -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        await upstream.say(answer)
        await client.hear(b"hello")
        await upstream.stream.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await client.hear_all()


async def test_so_is_one_with_a_malformed_chunk() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        await upstream.say(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await client.hear(b"hello")
        await upstream.say(b"nonsense\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await client.hear_all()


async def test_one_that_is_malformed_from_the_start_is_a_502() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        await upstream.say(OK + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
        await upstream.hear_all()


# failures


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"SSH-2.0\r\n\r\n", Failure.MALFORMED),
        (OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Failure.MALFORMED),
        (b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", Failure.MALFORMED),
    ],
)
async def test_what_is_no_answer_is_a_502(answer: bytes, failure: Failure) -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        await upstream.say(answer)
        assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
        await upstream.hear_all()
        assert here.failures == [failure]


async def test_one_that_has_begun_to_answer_is_not_asked_again() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        await upstream.say(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await client.hear()
        await upstream.stream.aclose()
        assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
        assert here.failures == [Failure.TRUNCATED]


async def test_an_idle_connection_that_has_closed_is_not_taken() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        await upstream.say(SHORT)
        await client.hear(b"hello")
        await upstream.stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not len(here.pool)
        await client.say(GET)
        again = await here.upstream()
        await again.say(SHORT)
        await client.hear(b"hello")
        assert not here.failures


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_one_that_closes_when_asked_again(method: bytes) -> None:
    """The race with an idle close: repeated where that is safe (RFC 9112 9.3.1)."""
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        await upstream.say(SHORT)
        await client.hear(b"hello")
        await client.say(GET.replace(b"GET", method))
        await upstream.hear()
        await upstream.stream.aclose()
        if method == b"GET":
            again = await here.upstream()
            await again.say(SHORT)
            await client.hear(b"hello")
        else:
            assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
        assert here.failures == [Failure.STALE]


async def test_after_a_stale_connection_comes_a_new_one() -> None:
    """Those that are idle beside it may be as old."""
    async with lab() as here:
        first, one, _ = await here.ask(GET)
        second, two, _ = await here.ask(GET)
        for client, upstream in ((first, one), (second, two)):
            await upstream.say(SHORT)
            await client.hear(b"hello")
        await first.say(GET)
        await two.hear()  # the newest of the idle
        await two.stream.aclose()
        new = await here.upstream()
        await new.hear()
        await new.say(SHORT)
        await first.hear(b"hello")
        assert here.failures == [Failure.STALE]


async def test_one_that_dies_before_it_answers() -> None:
    async with lab(upstreams=2) as here:
        client, upstream, _ = await here.ask(GET)
        upstream.reset()
        another = await here.upstream(1)
        await another.say(SHORT)
        await client.hear(b"hello")
        assert here.failures == [Failure.BROKEN]


async def test_nobody_listens() -> None:
    async with lab(upstreams=2) as here:
        here.listeners[0].close()
        client = here.client()
        await client.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        upstream = await here.upstream(1)
        await upstream.hear()
        assert await upstream.hear_size(5) == b"hello"
        await upstream.say(SHORT)
        await client.hear(b"hello")
        assert here.failures == [Failure.CONNECT]


async def test_retries_come_to_an_end() -> None:
    async with lab() as here:
        here.budget = False  # what found no connection needs none
        here.listeners[0].close()
        client = here.client()
        await client.say(GET)
        assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
        assert here.failures == [Failure.CONNECT] * 3


@pytest.mark.parametrize("budget", [True, False])
async def test_what_may_have_cost_something_needs_a_budget(budget: bool) -> None:
    async with lab() as here:
        here.budget = budget
        client, upstream, _ = await here.ask(GET)
        upstream.reset()
        if budget:
            upstream = await here.upstream()
            await upstream.hear()
            await upstream.say(SHORT)
            await client.hear(b"hello")
        else:
            assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
        assert here.failures == [Failure.BROKEN]


async def test_no_endpoint_is_a_503() -> None:
    async with lab(upstreams=0) as here:
        client = here.client()
        await client.say(GET)
        answer = await client.hear(b")\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 3\r\n" in answer
        assert b"no upstream is available (request " in answer


async def test_one_that_waits_for_room_gets_its_turn() -> None:
    async with lab() as here:
        here.full = True
        client = here.client()
        await client.say(GET)
        await here.waiting.wait()
        assert here.ticket is not None
        here.ticket.call()
        upstream = await here.upstream()
        await upstream.hear()
        await upstream.say(SHORT)
        await client.hear(b"hello")


async def test_one_that_leaves_while_it_waits_gives_its_place_up() -> None:
    async with lab() as here:
        here.full = True
        client = here.client()
        await client.say(GET)
        await here.waiting.wait()
        client.reset()
        await here.abandoned.wait()


async def test_a_key_and_a_cookie_decide() -> None:
    choice = PolicyChoice("hash", KeySource.HEADER, "x-user")
    async with lab(policy=choice, sticky=b"route") as here:
        client, upstream, _ = await here.ask(GET)
        for fields, wish, set_cookie in (
            (b"", (b"", b""), True),
            (b"X-User: me\r\nCookie: a=b; route=other\r\n", (b"me", b"other"), True),
            (b"X-User: me\r\nX-User: you\r\nCookie: route=token\r\n", (b"me,you", b"token"), False),
        ):
            if fields:
                await client.say(GET[:-2] + fields + b"\r\n")
                await upstream.hear()
            await upstream.say(SHORT)
            head = await client.hear()
            await client.hear(b"hello")
            assert here.wishes[-1] == wish
            line = b"Set-Cookie: route=token; Path=/; HttpOnly; SameSite=Lax\r\n"
            assert (line in head) is set_cookie


@pytest.mark.parametrize(
    ("choice", "key"),
    [
        (PolicyChoice("hash", KeySource.IP), b"203.0.113.7"),
        (PolicyChoice("hash", KeySource.URI), b"/a?b"),
        (PolicyChoice("hash", KeySource.COOKIE, "Route"), b"x=y"),
    ],
)
async def test_what_a_key_is_made_of(choice: PolicyChoice, key: bytes) -> None:
    async with lab(policy=choice, trusted=("127.0.0.1",)) as here:
        client = here.client()
        fields = b"X-Forwarded-For: 203.0.113.7\r\nCookie: route=no; Route=x=y; Route=z\r\n"
        await client.say(GET[:-2] + fields + b"\r\n")
        upstream = await here.upstream()
        await upstream.hear()
        await upstream.say(SHORT)
        await client.hear(b"hello")
        assert here.wishes == [(key, b"")]


async def test_one_that_never_answers_is_a_504() -> None:
    async with lab(response_timeout=5) as here:
        here.server.tick(0.0)
        client, upstream, _ = await here.ask(GET)
        await trio.testing.wait_all_tasks_blocked()
        for second in range(1, 7):
            here.server.tick(float(second))
            here.expire()
        assert (await client.hear()).startswith(b"HTTP/1.1 504 ")
        await upstream.hear_all()
        assert here.failures == [Failure.TIMEOUT]


async def test_a_circle_is_broken() -> None:
    async with lab() as here:
        client = here.client()
        await client.say(b"GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 balancer\r\n\r\n")
        assert (await client.hear()).startswith(b"HTTP/1.1 508 ")
        await client.say(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n")


# the client


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_client_that_leaves_takes_its_request_along(how: str) -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(GET)
        if how == "reset":
            client.reset()
        else:
            await client.stream.aclose()
        assert await upstream.hear_all() == b""
        assert not here.failures


async def test_a_client_that_leaves_before_there_is_a_connection_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connecting, go_on = trio.Event(), trio.Event()

    async def slowly(*args: Any) -> Transport:  # noqa: ANN401
        connecting.set()
        await go_on.wait()
        return await open_transport(*args)

    monkeypatch.setattr("tests.apps.proxy.lab.open_transport", slowly)
    async with lab() as here:
        client = here.client()
        await client.say(GET)
        await connecting.wait()
        client.reset()
        await trio.testing.wait_all_tasks_blocked(0.01)
        go_on.set()
        upstream = await here.upstream()
        with trio.fail_after(5):
            assert await upstream.hear_all() == b""
        assert not here.failures


async def test_a_client_that_has_pipelined_and_closed_its_side_gets_its_answers() -> None:
    async with lab() as here:
        client = here.client()
        await client.say(GET + GET)
        await client.stream.send_eof()
        upstream = await here.upstream()
        for _ in range(2):
            await upstream.hear()
            await upstream.say(SHORT)
        assert (await client.hear_all()).count(b"hello") == 2


# tunnels

UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"


async def test_a_tunnel() -> None:
    async with lab() as here:
        client, upstream, head = await here.ask(UPGRADE + b"early")
        assert b"connection: upgrade\r\nupgrade: chat\r\n" in head
        await upstream.say(SWITCH + b"late")
        assert await client.hear() == SWITCH[:-2] + VIA + b"\r\n"
        assert await client.hear(b"late") == b"late"
        assert await upstream.hear(b"early") == b"early"
        await client.say(b"ping")
        assert await upstream.hear(b"ping") == b"ping"
        await client.stream.send_eof()
        assert await upstream.hear_all() == b""
        await upstream.say(b"last words")
        await upstream.stream.aclose()
        assert await client.hear_all() == b"last words"


async def test_a_tunnel_of_who_is_brought_back() -> None:
    async with lab(sticky=b"route") as here:
        client, upstream, _ = await here.ask(UPGRADE)
        await upstream.say(SWITCH)
        assert b"Set-Cookie: route=token; Path=/" in await client.hear()
        await upstream.stream.aclose()
        await client.hear_all()


async def test_a_tunnel_that_was_not_offered() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(UPGRADE)
        await upstream.say(SWITCH.replace(b"chat", b"websocket"))
        assert (await client.hear()).startswith(b"HTTP/1.1 502 ")
        assert here.failures == [Failure.MALFORMED]


async def test_an_upgrade_that_is_refused() -> None:
    async with lab() as here:
        client, upstream, _ = await here.ask(UPGRADE)
        await upstream.say(SHORT)
        await client.hear(b"hello")
        assert here.statuses == [200]
