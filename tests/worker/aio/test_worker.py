"""A worker on asyncio with uvicorn's protocols: the scenarios of the one on trio, and its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest
import trio

# warm: a child that finds these need not import them
import balancer.worker.aio.service
import balancer.worker.aio.worker  # noqa: F401
from balancer.core.liveness import TICK
from balancer.core.messages import (
    BootFailed,
    Drain,
    Drained,
    Leaving,
    Quit,
    Ready,
    Reopen,
    Resume,
    Resumed,
)
from balancer.net.handoff import AnswerKind
from balancer.net.slots import Word
from tests.faults.lab import limited_fds
from tests.support.wait import until
from tests.worker.aio.apps import SLOW
from tests.worker.aio.master import APPS, KINDS, Client, Master, booting, worker
from tests.worker.test_worker import (
    LAST_REQUEST,
    LONG_REQUEST,
    REQUEST,
    listening,
)

if TYPE_CHECKING:
    from pathlib import Path

SHORT_REQUEST = LONG_REQUEST.replace(b"60", b"0.3")
CLOSE = b"connection: close"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HI = b"\x81\x82\0\0\0\0hi"
"""A text frame, masked with nothing."""
RESTART = b"\x88\x02\x03\xf4"
"""A close frame: 1012."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def fastest() -> str:
    return next(iter(KINDS))


def dial(sock: socket.socket) -> Client:
    return Client(socket.create_connection(sock.getsockname()))


async def in_progress(master: Master, request: bytes) -> Client:
    """A connection whose request the app has."""
    client = await master.connect()
    await client.send(request)
    # The worker reads its sockets before it hears the next word: what came first is first.
    other = await master.connect()
    assert b"200 OK" in await other.ask(LAST_REQUEST)
    return client


class TestConnections:
    async def test_a_connection_is_acknowledged_and_served(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            for _ in range(2):
                answer = await client.ask(REQUEST)
                assert answer.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
                assert answer.count(b"date:") == 1
                assert CLOSE not in answer

    async def test_the_ack_does_not_wait_for_the_client(self, kind: str) -> None:
        async with worker(kind) as master:
            for _ in range(3):
                await master.connect()  # and say nothing

    async def test_the_ack_comes_before_the_answer(self, kind: str) -> None:
        async with worker(kind) as master:
            client = master.hand_off()
            assert b"200 OK" in await client.ask(REQUEST)
            assert master.sender.answer() == (AnswerKind.ACK, 1)

    async def test_the_client_sees_the_end_although_the_master_has_a_copy(self, kind: str) -> None:
        async with worker(kind) as master:
            client = master.hand_off(keep=True)
            await client.ask(LAST_REQUEST)
            assert await client.at_eof()

    async def test_many_are_served_at_once(self, fastest: str) -> None:
        async with worker(fastest) as master:
            clients = [await master.connect() for _ in range(20)]
            for client in reversed(clients):
                assert b"200 OK" in await client.ask(REQUEST)

    async def test_a_full_worker_refuses_and_speaks_up_when_it_has_room(self, kind: str) -> None:
        async with worker(kind, worker_connections=2) as master:
            first, _second = await master.connect(), await master.connect()
            master.hand_off()
            master.hand_off()
            assert await master.answer() == (AnswerKind.FULL, 3)
            assert await master.answer() == (AnswerKind.FULL, 4)
            await first.ask(LAST_REQUEST)
            await first.aclose()
            assert (await master.answer())[0] == AnswerKind.ROOM
            await master.connect()

    async def test_one_that_arrives_without_its_descriptor_is_refused(self, fastest: str) -> None:
        async with worker(fastest) as master:
            with limited_fds(master.pid, 0):
                client = master.hand_off()
                assert await master.answer() == (AnswerKind.NO_FDS, 1)
            await client.aclose()
            assert b"200 OK" in await (await master.connect()).ask(REQUEST)

    async def test_the_slot_tells_what_it_does(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            await master.connect()
            assert (master.words[Word.ACTIVE], master.words[Word.ACCEPTED]) == (2, 2)
            await client.ask(REQUEST)
            await client.ask(LAST_REQUEST)
            await until(lambda: master.words[Word.ACTIVE] == 1)
            failures = b""
            for failing in (b"/raise ", b"/silent "):
                client = await master.connect()
                answer = await client.ask(REQUEST.replace(b"/ ", failing))
                assert b" 500 " in answer
                failures += answer.partition(b"\r\n\r\n")[2]
            await until(lambda: master.words[Word.ACTIVE] == 1)
            assert master.words[Word.CLASS_2XX] == 2
            assert master.words[Word.CLASS_5XX] == 2
            assert master.words[Word.BYTES_OUT] == 2 * len("None http") + len(failures)
            assert master.words[Word.REQUESTS] == 4

    async def test_who_gives_up_before_the_answer_is_counted_without_a_status(
        self, kind: str
    ) -> None:
        async with worker(kind) as master:
            client = await in_progress(master, SHORT_REQUEST)
            await client.aclose()
            await until(lambda: master.words[Word.REQUESTS] == 2)
            await until(lambda: master.words[Word.ACTIVE] == 0)

    async def test_a_trusted_proxy_is_believed(self, kind: str) -> None:
        fields = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n"
        async with worker(kind) as master:
            answer = await (await master.connect()).ask(
                REQUEST.replace(b"\r\n\r\n", b"\r\n" + fields)
            )
            assert answer.endswith(b"('192.0.2.1', 0) https")

    async def test_requests_are_counted_while_their_connection_stays(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            for _ in range(3):
                await client.ask(REQUEST)
            await until(lambda: master.words[Word.REQUESTS] == 3)
            assert master.words[Word.ACTIVE] == 1

    async def test_pipelined_requests_are_answered_and_counted_one_by_one(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            await client.send(SHORT_REQUEST + 2 * REQUEST + LAST_REQUEST)
            answers = b""
            while piece := await client.receive():
                answers += piece
            assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"None http") == 4
            await until(lambda: master.words[Word.REQUESTS] == 4)

    async def test_its_heart_beats(self, kind: str) -> None:
        async with worker(kind) as master:
            before, began = master.words[Word.HEARTBEAT], trio.current_time()
            await until(lambda: master.words[Word.HEARTBEAT] - before >= 3)
            assert trio.current_time() - began > 1.5 * TICK


class TestLimits:
    async def test_the_last_of_so_many_requests_says_so(self, kind: str) -> None:
        async with worker(kind, keep_alive_requests=2) as master:
            client = await master.connect()
            assert CLOSE not in await client.ask(REQUEST)
            assert CLOSE in await client.ask(REQUEST)
            assert await client.at_eof()

    async def test_without_a_limit_of_requests_connections_are_kept(self, fastest: str) -> None:
        async with worker(fastest, keep_alive_requests=0) as master:
            client = await master.connect()
            for _ in range(2):
                assert CLOSE not in await client.ask(REQUEST)

    @pytest.mark.parametrize("said", [b"", b"GET / HT"])
    async def test_a_head_has_its_time(self, kind: str, said: bytes) -> None:
        async with worker(kind, header_timeout=0.3) as master:
            client = await master.connect()
            await client.send(said)
            assert await client.at_eof()

    async def test_so_has_one_on_a_connection_that_was_kept(self, kind: str) -> None:
        async with worker(kind, header_timeout=0.3) as master:
            client = await master.connect()
            await client.ask(REQUEST)
            await trio.sleep(0.4)
            await client.ask(REQUEST)
            await client.send(b"GET / HT")
            assert await client.at_eof()

    async def test_a_head_has_its_size(self, kind: str) -> None:
        async with worker(kind, limit_request_head=1000) as master:
            client = await master.connect()
            fields = b"X: " + 300 * b"x" + b"\r\n"
            await client.send(REQUEST[:-2] + 2 * fields)
            assert b"400 Bad Request" in await client.ask(3 * fields)

    async def test_a_body_nobody_reads_is_no_head(self, kind: str) -> None:
        post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        async with worker(kind, limit_request_head=64) as master:
            client = await master.connect()
            assert b"200 OK" in await client.ask(post)
            await client.send(50 * b"x")
            await client.send(50 * b"x")
            assert b"200 OK" in await client.ask(REQUEST)


class TestFailures:
    @pytest.mark.parametrize("how", [b"/raise", b"/silent"])
    async def test_a_500_names_its_request(self, kind: str, how: bytes) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            answer = await client.ask(REQUEST.replace(b"/ ", how + b" "))
            assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
            named = re.search(rb"x-request-id: (\S+)\r\n", answer)
            assert named is not None
            assert answer.endswith(
                b"500 Internal Server Error: the server failed to answer this request "
                b"(request %b)\n" % named[1]
            )
            assert await client.at_eof()

    async def test_a_trusted_proxys_name_is_kept(self, kind: str) -> None:
        asked = REQUEST.replace(b"/ ", b"/raise ")[:-2] + b"X-Request-ID: theirs\r\n\r\n"
        async with worker(kind) as master:
            assert b"(request theirs)\n" in await (await master.connect()).ask(asked)

    async def test_the_app_knows_the_name(self, kind: str) -> None:
        asked = REQUEST.replace(b"/ ", b"/id ")[:-2] + b"X-Request-ID: theirs\r\n\r\n"
        async with worker(kind) as master:
            client = await master.connect()
            assert (await client.ask(asked)).endswith(b"\r\n\r\ntheirs")
            ours = [await client.ask(REQUEST.replace(b"/ ", b"/id ")) for _ in range(2)]
            names = [answer.rpartition(b"\r\n")[2] for answer in ours]
            assert re.fullmatch(rb"[a-z0-9]{8}-7-1 [a-z0-9]{8}-7-2", b" ".join(names))

    async def test_one_that_raises_in_the_middle_is_cut_visibly(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            await client.send(REQUEST.replace(b"/ ", b"/break "))
            answer = b""
            while piece := await client.receive():
                answer += piece
            assert b"200 OK" in answer
            assert answer.endswith(b"\r\nNo")
            await until(lambda: master.words[Word.CLASS_2XX] == 1)

    async def test_one_that_fails_when_it_has_answered_keeps_its_connection(
        self, kind: str
    ) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            for _ in range(2):
                assert b"200 OK" in await client.ask(REQUEST.replace(b"/ ", b"/fail-late "))
            await until(lambda: master.words[Word.REQUESTS] == 2)

    @pytest.mark.parametrize("word", [b"/sleep/9", b"/begin/9"])
    async def test_one_that_takes_too_long_is_cancelled(self, kind: str, word: bytes) -> None:
        async with worker(kind, request_timeout=0.2) as master:
            client = await master.connect()
            assert b"200 OK" in await client.ask(REQUEST)
            await client.send(REQUEST.replace(b"/ ", word + b" "))
            answer = b""
            while piece := await client.receive():
                answer += piece
            assert answer.startswith(b"HTTP/1.1 504 " if b"sleep" in word else b"HTTP/1.1 200 ")
            assert not answer.endswith(b"None http")

    async def test_one_that_answers_when_it_is_cancelled_has_answered(self, kind: str) -> None:
        async with worker(kind, request_timeout=0.1) as master:
            client = await master.connect()
            assert b"200 OK" in await client.ask(REQUEST.replace(b"/ ", b"/late "))

    async def test_what_was_only_announced_is_not_counted(self, kind: str) -> None:
        async with worker(kind) as master:
            for _ in range(2):
                client = await master.connect()
                length = b"Content-Length: 18446744073709551615\r\n\r\n"
                answer = await client.ask(REQUEST.replace(b"\r\n\r\n", b"\r\n" + length))
                assert b"200 OK" in answer
            await until(lambda: master.words[Word.REQUESTS] == 2)
            assert master.words[Word.BYTES_IN] == 0
            beats = master.words[Word.HEARTBEAT]
            await until(lambda: master.words[Word.HEARTBEAT] > beats + 1)

    async def test_what_is_no_status_is_counted_as_none(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            await client.send(REQUEST.replace(b"/ ", b"/text "))
            assert await client.at_eof()
            beats = master.words[Word.HEARTBEAT]
            await until(lambda: master.words[Word.HEARTBEAT] > beats + 1)
            assert (master.words[Word.REQUESTS], master.words[Word.ACTIVE]) == (1, 0)

    async def test_a_length_of_many_digits_is_a_length(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            length = b"Content-Length: " + bytes(4999).replace(b"\0", b"0") + b"\r\n\r\n"
            answer = await client.ask(REQUEST.replace(b"\r\n\r\n", b"\r\n" + length))
            assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))

    async def test_what_comes_after_the_response_has_its_time(self, kind: str) -> None:
        async with worker(kind, request_timeout=0.1) as master:
            client = await master.connect()
            await client.ask(REQUEST.replace(b"/ ", b"/after/0.3 "))
            assert await master.tell() == b"after"


def logging_worker(
    kind: str, path: Path, text: str
) -> contextlib.AbstractAsyncContextManager[Master]:
    return worker(kind, access_logfile=str(path), access_logformat=text)


class TestAccessLog:
    FORMAT = "%(m)s %(U)s?%(q)s %(s)s %(B)s %(X)s %(id)s %(h)s %({x-app}o)s %({x-id}i)s"

    async def lines(self, path: Path, count: int) -> list[str]:
        found: list[str] = []

        def all_there() -> bool:
            found[:] = path.read_text().splitlines()
            return len(found) >= count

        await until(all_there)
        return found

    async def test_every_response_has_a_line(self, kind: str, tmp_path: Path) -> None:
        log = tmp_path / "log"
        async with logging_worker(kind, log, self.FORMAT) as master:
            client = await master.connect()
            await client.ask(REQUEST.replace(b"/ ", b"/x%20y?a=b ")[:-2] + b"X-ID: 1\r\n\r\n")
            await client.send(LAST_REQUEST.replace(b"GET", b"HEAD"))
            assert (await client.receive()).endswith(b"\r\n\r\n")
            failed = await (await master.connect()).ask(REQUEST.replace(b"/ ", b"/raise "))
            gone = await in_progress(master, SHORT_REQUEST)
            await gone.aclose()
            broken = await master.connect()
            await broken.send(REQUEST.replace(b"/ ", b"/break "))
            assert b"200" in await broken.receive()
            refused = await master.connect()
            assert b"400 Bad" in await refused.ask(b"GET nothing\r\n\r\n")
            found = await self.lines(log, 7)
        named = re.search(rb"request (\S+)\)\n$", failed)
        assert named is not None
        size = len(failed.partition(b"\r\n\r\n")[2])
        by_path = {line.split()[1] + line.split()[2]: line for line in found}
        hexdigits = r"[a-z0-9]{8}-7-[0-9a-f]+"
        expected = [
            rf"GET /x\\x20y\?a=b 200 9 \+ {hexdigits} - app 1",
            rf"HEAD /\? 200 0 - {hexdigits} - app -",
            rf"GET /raise\? 500 {size} - {named[1].decode()} - - -",
            rf"GET /\? 200 9 - {hexdigits} - app -",
            rf"GET /sleep/0.3\? 499 0 X {hexdigits} - - -",
            rf"GET /break\? 200 2 X {hexdigits} - app -",
            rf"- -\?- 400 \d+ - {hexdigits} - - -",
        ]
        for form in expected:
            assert [line for line in found if re.fullmatch(form, line)], (form, by_path)

    async def test_a_websocket_has_one_at_its_end(self, kind: str, tmp_path: Path) -> None:
        log = tmp_path / "log"
        async with logging_worker(kind, log, self.FORMAT) as master:
            client = await master.connect()
            assert b"101 Switching" in await client.ask(UPGRADE)
            await master.channel.send(Drain(0.1))
            await master.wait_ended()
        assert re.match(r"GET /ws\? 101 0 - \S+ - - -\n$", log.read_text())

    async def test_told_to_it_goes_on_in_a_new_file(self, fastest: str, tmp_path: Path) -> None:
        log = tmp_path / "log"
        async with logging_worker(fastest, log, "%(U)s") as master:
            client = await master.connect()
            await client.ask(REQUEST.replace(b"/ ", b"/before "))
            log.rename(tmp_path / "old")
            await master.channel.send(Reopen())
            await until(log.exists)
            await client.ask(REQUEST.replace(b"/ ", b"/after "))
            assert await self.lines(log, 1) == ["/after"]
        assert (tmp_path / "old").read_text() == "/before\n"

    async def test_the_last_lines_are_written_at_the_end(self, kind: str, tmp_path: Path) -> None:
        log = tmp_path / "log"
        async with logging_worker(kind, log, "%(U)s") as master:
            await in_progress(master, LONG_REQUEST)
            await master.channel.send(Quit())
            await master.wait_ended()
        assert sorted(log.read_text().splitlines()) == ["/", "/sleep/60"]


class TestDraining:
    async def test_an_idle_worker_leaves_at_once(self, kind: str) -> None:
        async with worker(kind) as master:
            await master.channel.send(Drain(30.0))
            assert await master.wait_ended(1.0) == 0
            assert await master.tell() == b"stopped"

    @pytest.mark.parametrize("request_", [b"/sleep/0.3", b"/begin/0.3"])
    async def test_a_request_may_finish(self, kind: str, request_: bytes) -> None:
        async with worker(kind) as master:
            client = await in_progress(master, REQUEST.replace(b"/ ", request_ + b" "))
            await master.channel.send(Drain(30.0))
            answer = await client.ask(b"")
            assert answer.endswith(b"None http")
            assert (CLOSE in answer) == (request_ == b"/sleep/0.3")
            assert await client.at_eof()
            await master.wait_ended()

    async def test_an_idle_connection_may_bring_one_more(self, kind: str) -> None:
        async with worker(kind) as master:
            idle, fresh = await master.connect(), await master.connect()
            await idle.ask(REQUEST)
            await master.channel.send(Drain(30.0))
            for client in (idle, fresh):
                await trio.sleep(0.1)  # of the second that it has
                assert CLOSE in await client.ask(REQUEST)
                assert await client.at_eof()
            await master.wait_ended()

    async def test_one_that_brings_none_is_closed_after_a_second(self, kind: str) -> None:
        async with worker(kind) as master:
            idle, _fresh = await master.connect(), await master.connect()
            await idle.ask(REQUEST)
            began = trio.current_time()
            await master.channel.send(Drain(30.0))
            assert await idle.at_eof()
            assert 0.9 < trio.current_time() - began < 2
            await master.wait_ended()

    async def test_a_head_that_has_begun_is_waited_for(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            await client.ask(REQUEST)
            await client.send(REQUEST[:10])
            await master.channel.send(Drain(30.0))
            await trio.sleep(1.5)
            assert CLOSE in await client.ask(REQUEST[10:])
            await master.wait_ended()

    async def test_one_that_takes_too_long_is_cut(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await in_progress(master, LONG_REQUEST)
            began = trio.current_time()
            await master.channel.send(Drain(0.1))
            assert await client.at_eof()
            await master.wait_ended()
            assert 0.1 <= trio.current_time() - began < 2

    async def test_what_comes_too_late_is_refused(self, fastest: str) -> None:
        async with worker(fastest) as master:
            await in_progress(master, LONG_REQUEST)
            await master.channel.send(Drain(30.0, leave=False))
            await trio.sleep(0.1)
            master.hand_off()
            assert await master.answer() == (AnswerKind.DRAINING, master.sent)

    async def test_a_call_that_outlives_its_connection_is_waited_for(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            await client.ask(LAST_REQUEST.replace(b"/ ", b"/after/0.5 "))
            assert await client.at_eof()
            await master.channel.send(Drain(30.0))
            assert (await master.tell()).startswith(b"after")
            assert await master.wait_ended() == 0

    async def test_told_to_stay_it_says_when_it_is_drained_and_stays(self, fastest: str) -> None:
        async with worker(fastest) as master:
            await master.channel.send(Drain(30.0, leave=False))
            assert await master.hear() == Drained()
            await master.channel.send(Drain(30.0))
            await master.wait_ended()

    async def test_put_back_it_serves_again_and_keeps_connections(self, fastest: str) -> None:
        async with worker(fastest) as master:
            for _ in range(2):
                await master.channel.send(Drain(30.0, leave=False))
                assert await master.hear() == Drained()
                await master.channel.send(Resume())
                assert await master.hear() == Resumed()
                client = await master.connect()
                for _ in range(2):
                    assert CLOSE not in await client.ask(REQUEST)
                await client.aclose()

    async def test_put_back_before_it_was_idle_it_says_only_that(self, fastest: str) -> None:
        async with worker(fastest) as master:
            client = await in_progress(master, SHORT_REQUEST)
            await master.channel.send(Drain(30.0, leave=False))
            await master.channel.send(Resume())
            assert await master.hear() == Resumed()
            assert b"200 OK" in await client.ask(b"")
            await master.channel.send(Drain(30.0, leave=False))
            await client.aclose()
            assert await master.hear() == Drained()

    @pytest.mark.parametrize("first", [True, False])
    async def test_told_to_leave_and_to_stay_it_leaves_when_it_is_drained(
        self, fastest: str, first: bool
    ) -> None:
        async with worker(fastest) as master:
            client = await in_progress(master, SHORT_REQUEST)
            for leave in (first, not first):
                await master.channel.send(Drain(30.0, leave=leave))
            assert b"200 OK" in await client.ask(b"")
            await master.wait_ended()


class TestWebSockets:
    async def test_one_outlives_a_drain_until_its_time_is_over(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            assert b"101 Switching" in await client.ask(UPGRADE)
            await master.channel.send(Drain(2.5))
            await trio.sleep(1.3)  # more than the second that an idle connection has
            await client.send(HI)
            assert await client.exactly(4) == b"\x81\x02hi"
            assert await client.exactly(4) == RESTART
            assert await client.at_eof()
            assert await master.wait_ended() == 0
            assert master.words[Word.CLASS_1XX] == 1

    async def test_a_server_that_stops_closes_it_at_once(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            await client.ask(UPGRADE)
            await master.channel.send(Drain(30.0, closing=True))
            assert await client.exactly(4) == RESTART
            await master.wait_ended(2.0)

    async def test_one_may_live_longer_than_a_request(self, kind: str) -> None:
        async with worker(kind, request_timeout=0.1) as master:
            client = await master.connect()
            assert b"101 Switching" in await client.ask(UPGRADE)
            await trio.sleep(0.3)  # three times the limit
            await client.send(HI)
            assert await client.exactly(4) == b"\x81\x02hi"

    async def test_a_handshake_during_a_drain_says_nothing_of_closing(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await master.connect()
            await master.channel.send(Drain(1.0))
            await trio.sleep(0.1)
            answer = await client.ask(UPGRADE)
            assert b"101 Switching" in answer
            assert CLOSE not in answer.lower()
            assert await client.exactly(4) == RESTART


class TestLeaving:
    async def test_quit_cuts_everything(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await in_progress(master, LONG_REQUEST)
            websocket = await master.connect()
            await websocket.ask(UPGRADE)
            await master.channel.send(Quit())
            assert await master.wait_ended(2.0) == 0
            assert await client.at_eof()

    async def test_the_masters_death_drains_it(self, kind: str) -> None:
        async with worker(kind) as master:
            client = await in_progress(master, SHORT_REQUEST)
            await master.vanish()
            assert b"200 OK" in await client.ask(b"")
            assert await client.at_eof()
            assert await master.wait_ended() == 0

    async def test_so_does_the_death_of_one_that_had_acks_to_read(self, fastest: str) -> None:
        async with worker(fastest) as master:
            client = master.hand_off()
            assert b"200 OK" in await client.ask(REQUEST)  # and its ack is not read
            await master.vanish()
            await master.wait_ended()

    async def test_after_its_death_the_graceful_timeout_holds(self, fastest: str) -> None:
        async with worker(fastest, graceful_timeout=0.1) as master:
            await in_progress(master, LONG_REQUEST)
            await master.vanish()
            await master.wait_ended(2.0)

    async def test_on_term_it_asks_to_leave_and_goes_on(self, kind: str) -> None:
        async with worker(kind) as master:
            os.kill(master.pid, signal.SIGTERM)
            assert await master.hear() == Leaving("SIGTERM")
            client = await master.connect()
            assert b"200 OK" in await client.ask(REQUEST)

    async def test_after_enough_requests_it_asks_once_and_goes_on(self, fastest: str) -> None:
        async with worker(fastest, max_requests=2) as master:
            client = await master.connect()
            for _ in range(5):
                await client.ask(REQUEST)
            assert await master.hear() == Leaving("max-requests", replace_first=True)
            with contextlib.suppress(trio.TooSlowError), trio.fail_after(0.05):
                pytest.fail(f"it said {await anext(master.messages)}")


class TestAsWorker:
    """``current_worker()`` in an app on asyncio."""

    async def test_it_can_ask_to_leave(self, fastest: str) -> None:
        async with worker(fastest) as master:
            client = await master.connect()
            await client.ask(REQUEST.replace(b"/ ", b"/ask/leave "))
            assert await master.hear() == Leaving("disconnect")

    async def test_it_can_close_an_address_and_listen_again(self, fastest: str) -> None:
        async with worker(fastest) as master:
            client = await master.connect()
            await client.ask(REQUEST.replace(b"/ ", b"/ask/close "))
            assert await master.answer() == (AnswerKind.CLOSED, 0)
            master.hand_off()
            assert await master.answer() == (AnswerKind.SHUT, 2)
            await client.ask(REQUEST.replace(b"/ ", b"/ask/listen "))
            assert await master.answer() == (AnswerKind.OPENED, 0)
            await master.connect()

    @pytest.mark.parametrize("what", [b"send", b"messages"])
    async def test_messages_are_for_the_other_engine(self, fastest: str, what: bytes) -> None:
        async with worker(fastest) as master:
            client = await master.connect()
            answer = await client.ask(REQUEST.replace(b"/ ", b"/ask/%b " % what))
            assert answer.endswith(
                b"\r\n\r\nmessages need the trio engine; --engine uvicorn "
                b"neither sends nor receives any"
            )


class TestStarting:
    async def test_an_app_that_does_not_start_is_reported(self, kind: str) -> None:
        async with booting(kind, app=f"{APPS}:failing") as master:
            name = f"{APPS}:failing"
            text = f"app {name}: start-up failed: no database"
            assert await master.hear() == BootFailed(text, app=True)
            assert await master.wait_ended() == 4

    async def test_one_that_is_no_asgi_app_is_refused(self, fastest: str) -> None:
        async with booting(fastest, app=f"{APPS}:wsgi") as master:
            message = await master.hear()
            assert isinstance(message, BootFailed)
            assert "--engine uvicorn serves ASGI apps, and this one is wsgi" in message.text
            assert await master.wait_ended() == 4

    @pytest.mark.parametrize("why", ["quit", "eof"])
    async def test_one_that_starts_is_not_waited_for(self, kind: str, why: str) -> None:
        async with booting(kind, app=f"{APPS}:slow_to_start") as master:
            assert await master.tell() == b"start"
            if why == "quit":
                await master.channel.send(Quit())
            else:
                await master.vanish()
            assert await master.wait_ended(SLOW - 0.5) == 0

    async def test_term_while_it_starts_is_kept_until_it_is_ready(self, fastest: str) -> None:
        async with booting(fastest, app=f"{APPS}:slow_to_start") as master:
            assert await master.tell() == b"start"
            os.kill(master.pid, signal.SIGTERM)
            assert await master.hear() == Ready()
            assert await master.hear() == Leaving("SIGTERM")


class TestAcceptingByItself:
    @pytest.mark.parametrize("shared", [True, False])
    async def test_it_serves_what_it_accepts(self, kind: str, shared: bool) -> None:
        with listening() as sock, sock.dup() as address:
            async with worker(kind, [sock], shared_accept=shared) as master:
                master.clients += [dial(address) for _ in range(5)]
                for client in master.clients:
                    assert b"200 OK" in await client.ask(REQUEST)
                assert master.words[Word.ACCEPTED] == 5

    async def test_without_descriptors_it_waits_for_some(self, kind: str) -> None:
        with listening() as sock, sock.dup() as address:
            async with worker(kind, [sock]) as master:
                with limited_fds(master.pid, 0):
                    master.clients.append(dial(address))
                    await trio.sleep(0.2)
                    assert master.words[Word.ACCEPTED] == 0
                assert b"200 OK" in await master.clients[0].ask(REQUEST)

    async def test_a_full_worker_leaves_connections_to_others(self, kind: str) -> None:
        with listening() as sock, sock.dup() as address:
            async with worker(kind, [sock], worker_connections=2) as master:
                master.clients += [dial(address) for _ in range(3)]
                first, second, third = master.clients
                await first.ask(REQUEST)
                await second.ask(REQUEST)
                await trio.sleep(0.05)  # many times what an accept takes
                assert master.words[Word.ACCEPTED] == 2
                await first.ask(LAST_REQUEST)
                await first.aclose()
                assert b"200 OK" in await third.ask(REQUEST)

    @pytest.mark.parametrize("closing", [True, False])
    async def test_who_waits_when_it_drains(self, kind: str, closing: bool) -> None:
        """Is served by it when the server stops, and else left to its successor."""
        with listening() as sock, sock.dup() as address:
            async with worker(kind, [sock], worker_connections=1) as master:
                master.clients.append(dial(address))
                await master.clients[0].send(LONG_REQUEST)
                await until(lambda: master.words[Word.ACCEPTED] == 1)
                master.clients.append(dial(address))
                await master.channel.send(Drain(30.0, closing=closing))
                await trio.sleep(0.1)
                assert master.words[Word.ACCEPTED] == 1
                await master.channel.send(Quit())
                await master.wait_ended()
