"""A whole worker in this process: the test is its master and its clients."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, final

import pytest
import trio
import trio.testing

from balancer.core.liveness import TICK
from balancer.core.messages import (
    Drain,
    Drained,
    Leaving,
    Quit,
    Ready,
    Resume,
    Resumed,
    SetLogLevel,
    WorkerConfig,
    WorkerMessage,
    encode_frame,
)
from balancer.net.channel import Channel
from balancer.net.handoff import AnswerKind, HandoffReceiver, HandoffSender
from balancer.net.opening import open_listeners
from balancer.net.slots import SlotTable, SlotWriter, Word
from balancer.settings import Interface, TcpBind
from balancer.worker.app import App
from balancer.worker.services import make_service
from balancer.worker.worker import Worker
from tests.net.children import no_descriptors_left
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

DEADLINE = 5.0
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LONG_REQUEST = b"GET /sleep/60 HTTP/1.1\r\nHost: x\r\n\r\n"


@final
class Client:
    """The other end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))

    async def ask(self, request: bytes = REQUEST) -> bytes:
        """Send, and read what comes at once."""
        with trio.fail_after(DEADLINE):
            await self._stream.send_all(request)
            return bytes(await self._stream.receive_some())

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def at_eof(self) -> bool:
        with trio.fail_after(DEADLINE):
            try:
                return await self._stream.receive_some() == b""
            except trio.BrokenResourceError:
                return True

    async def aclose(self) -> None:
        await self._stream.aclose()


@final
class Master:
    """The master's ends of a worker that runs in this process."""

    def __init__(self) -> None:
        self.sender = HandoffSender.pair()
        copy = socket.socket(fileno=os.dup(self.sender.receiving_end))
        self.receiver = HandoffReceiver(copy)
        near, self.far = Channel.pair()
        self.near = near.fileno()
        self.channel = Channel[WorkerMessage](near, WorkerMessage)
        self.messages: AsyncGenerator[WorkerMessage, None] = self.channel.messages()
        self.table = SlotTable.create(rows=2)
        self.words = self.table.row(1)
        self.ended = trio.Event()
        self.clients: list[Client] = []
        self.sent = 0

    async def run_worker(
        self, config: WorkerConfig, listeners: list[socket.socket], app: App | None
    ) -> None:
        slot = SlotWriter(self.words)
        families = (int(socket.AF_UNIX),)
        make = partial(make_service, config, app, 7)
        worker = Worker(config, make, self.receiver, self.far, slot, families, listeners)
        await worker.run()
        self.ended.set()

    async def hear(self) -> WorkerMessage:
        with trio.fail_after(DEADLINE):
            return await anext(self.messages)

    def hand_off(self) -> Client:
        ours, theirs = socket.socketpair()
        self.sent += 1
        with theirs:
            self.sender.send(self.sent, 0, theirs.fileno())
        self.clients.append(Client(ours))
        return self.clients[-1]

    async def answer(self) -> tuple[int, int]:
        with trio.fail_after(DEADLINE):
            while (answer := self.sender.answer()) is None:
                await trio.lowlevel.wait_readable(self.sender.fileno())
        return answer

    async def connect(self) -> Client:
        """Hand over a connection that is taken."""
        client = self.hand_off()
        assert await self.answer() == (AnswerKind.ACK, self.sent)
        return client

    async def wait_ended(self, seconds: float = DEADLINE) -> None:
        with trio.fail_after(seconds):
            await self.ended.wait()

    async def aclose(self) -> None:
        await self.messages.aclose()
        for client in self.clients:
            await client.aclose()
        self.sender.close()
        self.channel.close()
        self.far.close()
        self.receiver.close()
        self.words.release()
        self.table.close()


@asynccontextmanager
async def worker(
    *,
    listeners: list[socket.socket] | None = None,
    worker_connections: int = 1000,
    max_requests: int = 0,
    shared_accept: bool = False,
    graceful_timeout: float = 30.0,
    keep_alive_requests: int = 1000,
    app: App | None = None,
) -> AsyncIterator[Master]:
    config = WorkerConfig(
        worker_connections=worker_connections,
        max_requests=max_requests,
        shared_accept=shared_accept,
        graceful_timeout=graceful_timeout,
        keep_alive_requests=keep_alive_requests,
    )
    master = Master()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(master.run_worker, config, listeners or [], app)
            assert await master.hear() == Ready()
            yield master
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await master.aclose()


class TestConnections:
    async def test_a_connection_is_acknowledged_and_served(self) -> None:
        async with worker() as master:
            client = await master.connect()
            assert b"Hello from worker 7" in await client.ask()

    async def test_the_ack_does_not_wait_for_the_client(self) -> None:
        async with worker() as master:
            for _ in range(3):
                await master.connect()  # and say nothing

    async def test_many_are_served_at_once(self) -> None:
        async with worker() as master:
            clients = [await master.connect() for _ in range(20)]
            for client in reversed(clients):
                assert b"200 OK" in await client.ask()

    async def test_a_full_worker_refuses_and_speaks_up_when_it_has_room(self) -> None:
        async with worker(worker_connections=2) as master:
            first, _second = await master.connect(), await master.connect()
            master.hand_off()
            master.hand_off()
            assert await master.answer() == (AnswerKind.FULL, 3)
            assert await master.answer() == (AnswerKind.FULL, 4)
            await first.ask(LAST_REQUEST)
            await first.aclose()
            assert (await master.answer())[0] == AnswerKind.ROOM
            await master.connect()

    async def test_one_that_arrives_without_its_descriptor_is_refused(self) -> None:
        async with worker() as master:
            await (await master.connect()).ask()
            client = master.hand_off()
            with no_descriptors_left():
                assert await master.answer() == (AnswerKind.NO_FDS, 2)
            await client.aclose()
            await master.connect()

    async def test_without_a_limit_of_requests_connections_are_kept(self) -> None:
        async with worker(keep_alive_requests=0) as master:
            client = await master.connect()
            for _ in range(2):
                assert b"Connection: close" not in await client.ask()

    async def test_the_slot_tells_what_it_does(self) -> None:
        async with worker() as master:
            client = await master.connect()
            await master.connect()
            assert (master.words[Word.ACTIVE], master.words[Word.ACCEPTED]) == (2, 2)
            await client.ask()
            await client.ask(LAST_REQUEST)
            assert await client.at_eof()
            await client.aclose()
            await until(lambda: master.words[Word.ACTIVE] == 1)
            assert master.words[Word.REQUESTS] == master.words[Word.CLASS_2XX] == 2

    async def test_its_heart_beats(self) -> None:
        async with worker() as master:
            before = master.words[Word.HEARTBEAT]
            await trio.sleep(1.5 * TICK)
            assert 1 <= master.words[Word.HEARTBEAT] - before <= 2

    async def test_its_heart_beats_under_load_too(self) -> None:
        async with worker() as master:
            before = master.words[Word.HEARTBEAT]
            until = trio.current_time() + 1.5 * TICK
            while trio.current_time() < until:
                client = await master.connect()
                await client.ask(LAST_REQUEST)
                await client.aclose()
            assert master.words[Word.HEARTBEAT] - before >= 1


class TestLeaving:
    async def test_an_idle_worker_leaves_at_once(self) -> None:
        async with worker() as master:
            await master.channel.send(Drain(30.0))
            await master.wait_ended(1.0)

    async def test_a_request_may_finish(self) -> None:
        async with worker() as master:
            client = await master.connect()
            await client.send(LONG_REQUEST.replace(b"60", b"0.2"))
            await trio.testing.wait_all_tasks_blocked()
            await master.channel.send(Drain(30.0))
            assert b"200 OK" in await client.ask(b"")
            assert await client.at_eof()
            await client.aclose()
            await master.wait_ended()

    async def test_one_that_takes_too_long_is_cut(self) -> None:
        async with worker() as master:
            client = await master.connect()
            await client.send(LONG_REQUEST)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            await master.channel.send(Drain(0.1))
            assert await client.at_eof()
            await master.wait_ended()
            assert 0.1 <= trio.current_time() - began < 2

    async def test_what_comes_too_late_is_refused(self) -> None:
        async with worker() as master:
            client = await master.connect()
            await client.send(LONG_REQUEST)
            await trio.testing.wait_all_tasks_blocked()
            await master.channel.send(Drain(30.0))
            await trio.testing.wait_all_tasks_blocked()
            master.hand_off()
            assert await master.answer() == (AnswerKind.DRAINING, 2)

    async def test_told_to_stay_it_says_when_it_is_drained_and_stays(self) -> None:
        async with worker() as master:
            await master.channel.send(Drain(30.0, leave=False))
            assert await master.hear() == Drained()
            await trio.testing.wait_all_tasks_blocked()
            assert not master.ended.is_set()
            await master.channel.send(Drain(30.0))
            await master.wait_ended()

    async def test_put_back_it_serves_again_and_keeps_connections(self) -> None:
        async with worker() as master:
            for _ in range(2):
                await master.channel.send(Drain(30.0, leave=False))
                assert await master.hear() == Drained()
                master.hand_off()
                assert await master.answer() == (AnswerKind.DRAINING, master.sent)
                await master.channel.send(Resume())
                assert await master.hear() == Resumed()
                client = await master.connect()
                for _ in range(2):
                    assert b"connection: close" not in (await client.ask()).lower()
                await client.aclose()

    async def test_put_back_before_it_was_idle_it_says_only_that(self) -> None:
        async with worker() as master:
            client = await master.connect()
            await client.send(LONG_REQUEST.replace(b"60", b"0.2"))
            await trio.testing.wait_all_tasks_blocked()
            await master.channel.send(Drain(30.0, leave=False))
            await master.channel.send(Resume())
            assert await master.hear() == Resumed()
            assert b"200 OK" in await client.ask(b"")
            await master.channel.send(Drain(30.0, leave=False))
            await client.aclose()
            assert await master.hear() == Drained()

    async def test_drained_and_put_back_in_one_breath(self) -> None:
        async with worker() as master:
            frames = encode_frame(Drain(30.0, leave=False)) + encode_frame(Resume())
            assert os.write(master.near, frames) == len(frames)
            assert await master.hear() == Resumed()
            await trio.testing.wait_all_tasks_blocked()
            await master.connect()
            await master.channel.send(Resume())  # it is in service: nothing to say
            await master.channel.send(Drain(30.0))

    async def test_who_is_leaving_is_not_put_back(self) -> None:
        async with worker() as master:
            client = await master.connect()
            await client.send(LONG_REQUEST.replace(b"60", b"0.2"))
            await trio.testing.wait_all_tasks_blocked()
            for message in (Drain(30.0, leave=False), Drain(30.0), Resume()):
                await master.channel.send(message)
            await trio.testing.wait_all_tasks_blocked()
            master.hand_off()
            assert await master.answer() == (AnswerKind.DRAINING, master.sent)
            await master.wait_ended()

    async def test_one_that_was_full_speaks_up_when_it_is_put_back(self) -> None:
        async with worker(worker_connections=1) as master:
            client = await master.connect()
            master.hand_off()
            assert await master.answer() == (AnswerKind.FULL, master.sent)
            await master.channel.send(Drain(30.0, leave=False))
            await client.aclose()
            assert await master.hear() == Drained()
            await master.channel.send(Resume())
            assert await master.hear() == Resumed()
            assert (await master.answer())[0] == AnswerKind.ROOM

    async def test_the_log_level_can_be_changed(self) -> None:
        before = logging.getLogger("balancer").level
        try:
            async with worker() as master:
                await master.channel.send(SetLogLevel("critical"))
                await trio.testing.wait_all_tasks_blocked()
                assert logging.getLogger("balancer").level == logging.CRITICAL
        finally:
            logging.getLogger("balancer").setLevel(before)

    @pytest.mark.parametrize("first", [True, False])
    async def test_told_to_leave_and_to_stay_it_leaves_when_it_is_drained(
        self, first: bool
    ) -> None:
        """Whatever comes first: a worker that is leaving must not wait for its deadline."""
        async with worker() as master:
            client = await master.connect()
            await client.send(LONG_REQUEST.replace(b"60", b"0.2"))
            await trio.testing.wait_all_tasks_blocked()
            for leave in (first, not first):
                await master.channel.send(Drain(30.0, leave=leave))
            assert b"200 OK" in await client.ask(b"")
            assert await client.at_eof()
            await client.aclose()
            await master.wait_ended()

    async def test_quit_cuts_everything(self) -> None:
        async with worker() as master:
            client = await master.connect()
            await client.send(LONG_REQUEST)
            await trio.testing.wait_all_tasks_blocked()
            await master.channel.send(Quit())
            await master.wait_ended(1.0)
            assert await client.at_eof()

    async def test_the_masters_death_drains_it(self) -> None:
        async with worker() as master:
            client = await master.connect()
            await client.send(LONG_REQUEST.replace(b"60", b"0.2"))
            await trio.testing.wait_all_tasks_blocked()
            await master.messages.aclose()
            master.channel.close()
            master.sender.close()
            assert b"200 OK" in await client.ask(b"")
            assert await client.at_eof()
            await client.aclose()
            await master.wait_ended()

    async def test_so_does_the_death_of_one_that_had_acks_to_read(self) -> None:
        async with worker() as master:
            client = master.hand_off()
            assert b"200 OK" in await client.ask()  # and its ack is not read
            await master.messages.aclose()
            master.sender.close()
            await trio.testing.wait_all_tasks_blocked()
            assert b"200 OK" in await client.ask()
            master.channel.close()
            await client.aclose()
            await master.wait_ended()

    async def test_after_its_death_the_graceful_timeout_holds(self) -> None:
        async with worker(graceful_timeout=0.1) as master:
            client = await master.connect()
            await client.send(LONG_REQUEST)
            await trio.testing.wait_all_tasks_blocked()
            await master.messages.aclose()
            master.channel.close()
            await master.wait_ended(2.0)

    async def test_on_term_it_asks_to_leave_and_goes_on(self) -> None:
        async with worker() as master:
            os.kill(os.getpid(), signal.SIGTERM)
            assert await master.hear() == Leaving("SIGTERM")
            client = await master.connect()
            assert b"200 OK" in await client.ask()

    async def test_after_enough_requests_it_asks_once_and_goes_on(self) -> None:
        async with worker(max_requests=2) as master:
            client = await master.connect()
            for _ in range(5):
                await client.ask()
            assert await master.hear() == Leaving("max-requests", replace_first=True)
            with suppress(trio.TooSlowError), trio.fail_after(0.05):
                pytest.fail(f"it said {await anext(master.messages)}")


def listening() -> socket.socket:
    [lane] = open_listeners((TcpBind("127.0.0.1", 0),), backlog=16)
    return lane.sock


async def accepted(master: Master, count: int) -> None:
    """Wait until the worker has so many connections."""
    await until(lambda: master.words[Word.ACCEPTED] == count)


async def dial(sock: socket.socket) -> Client:
    made = socket.create_connection(sock.getsockname())
    return Client(made)


class TestAcceptingByItself:
    @pytest.mark.parametrize("shared", [True, False])
    async def test_it_serves_what_it_accepts(self, shared: bool) -> None:
        with listening() as sock:
            address = sock.dup()
            async with worker(listeners=[sock], shared_accept=shared) as master:
                with address:
                    master.clients += [await dial(address) for _ in range(5)]
                for client in master.clients:
                    assert b"200 OK" in await client.ask()
                assert master.words[Word.ACCEPTED] == 5

    async def test_a_full_worker_leaves_connections_to_others(self) -> None:
        with listening() as sock, sock.dup() as address:
            async with worker(listeners=[sock], worker_connections=2) as master:
                master.clients += [await dial(address) for _ in range(3)]
                first, second, third = master.clients
                await first.ask()
                await second.ask()
                await trio.testing.wait_all_tasks_blocked()
                assert master.words[Word.ACCEPTED] == 2
                await first.ask(LAST_REQUEST)
                await first.aclose()
                assert b"200 OK" in await third.ask()

    async def test_a_draining_one_accepts_no_more(self) -> None:
        with listening() as sock, sock.dup() as address:
            async with worker(listeners=[sock]) as master:
                master.clients.append(await dial(address))
                await master.clients[0].send(LONG_REQUEST)
                await accepted(master, 1)
                await master.channel.send(Drain(30.0))
                await trio.testing.wait_all_tasks_blocked()
                master.clients.append(await dial(address))
                await trio.testing.wait_all_tasks_blocked()
                assert master.words[Word.ACCEPTED] == 1
                await master.channel.send(Quit())
                await master.wait_ended()

    async def test_a_drained_one_accepts_again_when_it_is_put_back(self) -> None:
        with listening() as sock, sock.dup() as address:
            async with worker(listeners=[sock]) as master:
                await master.channel.send(Drain(30.0, leave=False))
                assert await master.hear() == Drained()
                client = await dial(address)
                master.clients.append(client)
                await client.send(REQUEST)
                await trio.testing.wait_all_tasks_blocked()
                assert master.words[Word.ACCEPTED] == 0
                await master.channel.send(Resume())
                assert await master.hear() == Resumed()
                assert b"200 OK" in await client.ask(b"")
                await master.channel.send(Quit())
                await master.wait_ended()


class Gate:
    """A WSGI app whose requests to /wait end when it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.app = App("site:app", self._answer, Interface.WSGI, guessed=False)

    def _answer(
        self, environ: dict[str, str], start_response: Callable[..., object]
    ) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait":
            self._open.wait(DEADLINE)
        start_response("200 OK", [])
        return [b"ok"]

    def open(self) -> None:
        self._open.set()


WAIT = REQUEST.replace(b" / ", b" /wait ")


class TestThreads:
    """A worker whose threads are all busy takes no connections."""

    async def test_from_the_master(self) -> None:
        gate = Gate()
        async with worker(app=gate.app) as master:
            first = await master.connect()
            await first.send(WAIT)
            await trio.testing.wait_all_tasks_blocked()
            master.hand_off()
            assert await master.answer() == (AnswerKind.FULL, 2)
            gate.open()
            assert (await master.answer())[0] == AnswerKind.ROOM
            third = await master.connect()
            assert b"200 OK" in await third.ask()
            assert b"200 OK" in await first.ask(b"")

    async def test_who_is_here_already_waits(self) -> None:
        gate = Gate()
        async with worker(app=gate.app) as master:
            first, second = await master.connect(), await master.connect()
            await first.send(WAIT)
            await second.send(REQUEST)
            await trio.testing.wait_all_tasks_blocked()
            gate.open()
            assert b"200 OK" in await second.ask(b"")

    @pytest.mark.parametrize("shared", [True, False])
    async def test_from_the_kernel(self, shared: bool) -> None:
        gate = Gate()
        with listening() as sock, sock.dup() as address:
            # all of them wait before the worker looks for the first time
            clients = [await dial(address) for _ in range(5)]
            for client in clients:
                await client.send(WAIT)
            async with worker(listeners=[sock], shared_accept=shared, app=gate.app) as master:
                master.clients += clients
                await accepted(master, 1)
                await trio.testing.wait_all_tasks_blocked()
                assert master.words[Word.ACCEPTED] == 1
                gate.open()
                for client in clients:
                    assert b"200 OK" in await client.ask(b"")

    async def test_a_drain_waits_for_a_thread_whose_client_has_gone(self) -> None:
        gate = Gate()
        async with worker(app=gate.app) as master:
            client = await master.connect()
            await client.send(WAIT)
            await trio.testing.wait_all_tasks_blocked()
            await master.channel.send(Drain(30.0))
            await client.aclose()
            await trio.testing.wait_all_tasks_blocked()
            assert not master.ended.is_set()
            gate.open()
            await master.wait_ended()
