"""Connections on their way, with real listeners and pairs, and workers that the test plays."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import time
from array import array
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import pytest
import trio
import trio.testing

from balancer.core.pacing import LEAD, Lead
from balancer.core.policy import KERNEL_POLICIES
from balancer.master.dispatcher import Dispatcher
from balancer.master.doors import EXHAUSTED_PAUSE
from balancer.master.policies import find_policy
from balancer.master.pulse import Pulse
from balancer.net.handoff import AnswerKind, Handoff, HandoffReceiver, HandoffSender
from balancer.net.opening import open_listeners
from balancer.net.slots import ROW_WORDS, Word
from balancer.settings import Settings, TcpBind
from tests.net.children import count_fds, no_descriptors_left

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from balancer.net.listener import Listener

DEADLINE = 5.0
QUIET = 0.05
"""Seconds of watching that nothing happens."""


@final
class Worker:
    """A worker's end of the pair, and its row of the slots."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.sender = HandoffSender.pair()
        self.receiver = HandoffReceiver(socket.socket(fileno=os.dup(self.sender.receiving_end)))
        self.words = memoryview(array("Q", [0] * ROW_WORDS))
        self.serving: list[socket.socket] = []
        self.unanswered: dict[int, socket.socket] = {}

    def receive(self) -> Handoff | None:
        """What is there now."""
        try:
            handoff = self.receiver.receive()
        except BlockingIOError:
            return None
        assert handoff is not None
        assert handoff.fd is not None
        self.unanswered[handoff.number] = socket.socket(fileno=handoff.fd)
        return handoff

    async def next(self) -> Handoff:
        """The next connection, received and not answered."""
        with trio.fail_after(DEADLINE):
            while True:
                await trio.lowlevel.wait_readable(self.receiver.fileno())
                if (handoff := self.receive()) is not None:
                    return handoff

    def answer(self, handoff: Handoff, kind: AnswerKind = AnswerKind.ACK) -> None:
        """Take it, and keep it open to the end of the test; or refuse it."""
        connection = self.unanswered.pop(handoff.number)
        if kind is AnswerKind.ACK:
            self.serving.append(connection)
        else:
            connection.close()
        self.receiver.answer(kind, handoff.number)

    async def take(self) -> int:
        """Receive and acknowledge the next connection; its number."""
        handoff = await self.next()
        self.answer(handoff)
        return handoff.number

    def close_unanswered(self) -> None:
        """As its death does."""
        while self.unanswered:
            self.unanswered.popitem()[1].close()

    def beat(self) -> None:
        self.words[Word.HEARTBEAT] += 1

    def close(self) -> None:
        self.sender.close()
        self.receiver.close()
        for connection in (*self.serving, *self.unanswered.values()):
            connection.close()


@final
class Stage:
    """A running dispatcher and everybody around it."""

    def __init__(self, dispatcher: Dispatcher, listeners: list[Listener]) -> None:
        self.dispatcher = dispatcher
        self.listeners = listeners
        self.workers: list[Worker] = []
        self.clients: list[socket.socket] = []
        self.turns = 0
        turn = dispatcher._turn

        def counted(patience: float) -> bool:
            self.turns += 1
            return turn(patience)

        dispatcher._turn = counted  # type: ignore[method-assign]

    def add(self, count: int = 1) -> list[Worker]:
        """More workers, ready for connections."""
        added = [Worker(len(self.workers) + 1 + index) for index in range(count)]
        self.workers += added
        for worker in added:
            self.dispatcher.add(worker.number, worker.sender, worker.words, worker.number)
        return added

    def connect(self, count: int = 1, lane: int = 0) -> list[socket.socket]:
        """More clients; the kernel answers them at once."""
        address = self.listeners[lane].sock.getsockname()
        made = [socket.create_connection(address) for _ in range(count)]
        for client in made:
            client.settimeout(DEADLINE)
        self.clients += made
        return made

    async def quiet(self, seconds: float = QUIET) -> int:
        """Let time pass; how often the dispatcher turned meanwhile."""
        await trio.sleep(seconds)
        before = self.turns
        await trio.sleep(seconds)
        return self.turns - before

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        for client in self.clients:
            client.close()
        for listener in self.listeners:
            listener.close()


@asynccontextmanager
async def stage(
    *,
    lanes: int = 1,
    policy: str = "round-robin",
    window: int = 1,
    queue: int = 1024,
    recall: float | None = 0.1,
    lead: Lead | None = LEAD,
) -> AsyncIterator[Stage]:
    before = count_fds()
    listeners = open_listeners((TcpBind("127.0.0.1", 0),) * lanes, backlog=100)
    dispatcher = Dispatcher(
        lanes,
        policy=find_policy(Settings(policy=policy)),
        window=window,
        queue=queue,
        recall=recall,
        lead=lead,
    )
    set_up = Stage(dispatcher, listeners)
    for listener in listeners:
        dispatcher.watch(listener)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dispatcher.run)
            yield set_up
            for worker in set_up.workers:
                dispatcher.remove(worker.number)
            dispatcher.abandon()
            nursery.cancel_scope.cancel()
    finally:
        set_up.close()
        dispatcher.shut_down()
    assert count_fds() == before


def is_open(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


class TestRotation:
    async def test_an_idle_system_rotates(self) -> None:
        async with stage() as s:
            workers = s.add(3)
            for number in range(1, 10):
                s.connect()
                assert await workers[(number - 1) % 3].take() == number

    async def test_a_connection_arrives_whole(self) -> None:
        async with stage() as s:
            [worker] = s.add()
            [client] = s.connect()
            client.sendall(b"hello")
            await worker.take()
            assert worker.serving[0].recv(10) == b"hello"
            worker.serving[0].sendall(b"world")
            assert client.recv(10) == b"world"

    async def test_the_masters_copy_goes_with_the_ack(self) -> None:
        """The worker's close is the client's EOF: nobody else holds the connection open."""
        async with stage() as s:
            [worker] = s.add()
            [client] = s.connect()
            await worker.take()
            worker.serving.pop().close()
            await trio.to_thread.run_sync(lambda: client.recv(1) == b"")

    async def test_connections_before_the_first_worker_wait_in_the_kernel(self) -> None:
        async with stage() as s:
            s.connect(3)
            assert await s.quiet() == 0
            assert s.dispatcher.lane(0).accepted == 0
            [worker] = s.add()
            assert [await worker.take() for _ in range(3)] == [1, 2, 3]

    async def test_lanes_rotate_apart(self) -> None:
        async with stage(lanes=2) as s:
            first, second = s.add(2)
            s.connect(lane=0)
            await first.take()
            s.connect(lane=1)
            assert (await first.next()).lane == 1
            s.connect(lane=0)
            assert (await second.next()).lane == 0

    async def test_a_window_is_spread_first(self) -> None:
        async with stage(window=2, recall=None) as s:
            workers = s.add(2)
            s.connect(5)
            for worker in (*workers, *workers):
                await worker.next()
            await trio.sleep(QUIET)  # here and below: to see nothing happen
            assert [worker.receive() for worker in workers] == [None, None]
            assert s.dispatcher.pending() == 5

    async def test_least_connections_reads_the_slots(self) -> None:
        async with stage(policy="least-connections") as s:
            busy, idle = s.add(2)
            busy.words[Word.ACTIVE] = 5
            s.dispatcher.look()
            for _ in range(3):
                s.connect()
                await idle.take()

    @pytest.mark.parametrize("policy", sorted(KERNEL_POLICIES))
    async def test_under_a_kernels_policy_the_few_of_the_master_rotate(self, policy: str) -> None:
        async with stage(policy=policy) as s:
            workers = s.add(2)
            for worker in (*workers, *workers):
                s.connect()
                await worker.take()


class TestRecall:
    async def test_a_connection_of_a_blocked_worker_goes_to_another_in_time(self) -> None:
        async with stage() as s:
            blocked, free = s.add(2)
            began = time.monotonic()
            s.connect()
            assert await free.take() == 1
            assert 0.09 <= time.monotonic() - began < 0.25
            assert blocked.receive() is None
            assert s.dispatcher.lane(0).recalled == 1

    async def test_a_blocked_worker_gets_nothing_more_until_its_heart_beats(self) -> None:
        async with stage() as s:
            blocked, free = s.add(2)
            s.connect()
            await free.take()
            s.dispatcher.look()
            for _ in range(3):
                s.connect()
                await free.take()
            assert s.dispatcher.lane(0).recalled == 1  # nothing was sent to it meanwhile
            blocked.beat()
            s.dispatcher.look()
            s.connect(2)
            await free.take()
            await blocked.take()

    async def test_a_late_ack_brings_it_back_too(self) -> None:
        async with stage() as s:
            slow, free = s.add(2)
            s.connect()
            received = await slow.next()
            await trio.sleep(0.15)  # overdue, but it can't be recalled any more
            s.connect()
            await free.take()
            assert slow.receive() is None
            slow.answer(received)
            s.connect(2)
            await free.take()
            await slow.take()

    async def test_it_waits_for_somebody_who_is_free(self) -> None:
        async with stage() as s:
            blocked, busy = s.add(2)
            s.connect(2)
            handoff = await busy.next()
            await trio.sleep(0.15)  # longer than it may wait, if anybody were free
            assert s.dispatcher.lane(0).recalled == 0
            busy.answer(handoff)
            assert await busy.take() == 1
            assert blocked.receive() is None

    async def test_when_it_is_off_the_connection_waits_as_nodes_does(self) -> None:
        async with stage(recall=None) as s:
            blocked, free = s.add(2)
            s.connect(2)
            await free.take()
            await trio.sleep(0.25)  # longer than it would wait by default
            assert free.receive() is None
            assert await blocked.take() == 1

    async def test_a_cool_down_does_not_delay_it(self) -> None:
        """The clock sleeps through cool-downs of seconds, and must not sleep through this."""
        async with stage() as s:
            [poor] = s.add()
            s.connect()
            for _ in range(3):  # the rest after the third takes 0.4 s
                poor.answer(await poor.next(), AnswerKind.NO_FDS)
            await trio.sleep(0.15)  # into the rest
            _blocked, free = s.add(2)
            began = time.monotonic()
            assert await free.take() == 1
            assert time.monotonic() - began < 0.24


class TestLead:
    async def test_who_is_ahead_waits_for_the_others(self) -> None:
        async with stage(recall=None, lead=Lead(age=DEADLINE, patience=DEADLINE)) as s:
            quick, other = s.add(2)
            s.connect(5)
            theirs = await other.next()
            assert [await quick.take(), await quick.take()] == [1, 3]
            with trio.move_on_after(QUIET):
                await quick.next()
                pytest.fail("two more than the other, who may answer any moment")
            other.answer(theirs)
            assert {await quick.take(), await other.take()} == {4, 5}

    async def test_it_goes_on_in_time_without_them(self) -> None:
        """Nothing else happens that would wake the master."""
        async with stage(recall=None) as s:
            quick, blocked = s.add(2)
            s.connect(8)
            await blocked.next()
            began = time.monotonic()
            assert [await quick.take() for _ in range(7)] == [1, 3, 4, 5, 6, 7, 8]
            # the clock's longest nap, at whose end it would go on too, is 0.1 s
            assert LEAD.age / 2 < time.monotonic() - began < 0.09

    async def test_while_it_waits_the_master_sleeps(self) -> None:
        async with stage(recall=None) as s:
            quick, blocked = s.add(2)
            s.connect(3)
            await blocked.next()
            await quick.take()
            await quick.take()
            s.connect(3)
            before = s.turns
            await quick.next()
            assert s.turns - before < 10

    async def test_least_connections_counts_each_once(self) -> None:
        """What the worker counts before the master has read the ack is no second connection."""
        async with stage(policy="least-connections") as s:
            first, second = s.add(2)
            order = []
            for worker in (first, second) * 3:
                s.connect()
                handoff = await worker.next()
                worker.words[Word.ACCEPTED] += 1
                worker.words[Word.ACTIVE] += 1
                s.dispatcher.look()
                worker.answer(handoff)
                order.append(worker.number)
            assert order == [1, 2] * 3


class TestRefusals:
    async def test_a_full_worker_is_left_alone_until_it_has_room(self) -> None:
        async with stage() as s:
            full, other = s.add(2)
            s.connect()
            full.answer(await full.next(), AnswerKind.FULL)
            assert await other.take() == 1
            s.connect()
            assert await other.take() == 2
            full.receiver.answer(AnswerKind.ROOM)
            await trio.testing.wait_all_tasks_blocked()
            s.connect(2)
            assert {await other.take(), await full.take()} == {3, 4}

    async def test_when_all_are_full_nothing_moves(self) -> None:
        """Node: 9,000 messages a second.  Here: no turn, no message, and the kernel queues."""
        async with stage() as s:
            workers = s.add(2)
            s.connect()
            for worker in workers:
                worker.answer(await worker.next(), AnswerKind.FULL)
            await s.quiet()
            s.connect(3)
            assert await s.quiet(0.15) == 0
            assert s.dispatcher.lane(0).accepted == 1
            assert [worker.receive() for worker in workers] == [None, None]
            workers[1].receiver.answer(AnswerKind.ROOM)
            assert [await workers[1].take() for _ in range(4)] == [1, 2, 3, 4]

    async def test_a_worker_without_descriptors_rests_and_is_used_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with stage() as s:
            [worker] = s.add()
            s.connect()
            began = time.monotonic()
            worker.answer(await worker.next(), AnswerKind.NO_FDS)
            assert await worker.take() == 1
            assert 0.09 <= time.monotonic() - began < 0.5
            warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
            assert warnings == ["worker 1: no file descriptors left; its connections go to others"]

    async def test_a_draining_worker_gets_nothing_more(self) -> None:
        async with stage() as s:
            draining, other = s.add(2)
            s.connect()
            draining.answer(await draining.next(), AnswerKind.DRAINING)
            for number in (1, 2, 3):
                assert await other.take() == number
                s.connect()

    async def test_a_full_pair_rests_until_an_ack(self) -> None:
        """The window is larger than what the kernel takes."""
        async with stage(window=256, recall=None) as s:
            [worker] = s.add()
            worker.sender._near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            s.connect(20)
            assert [await worker.take() for _ in range(20)] == list(range(1, 21))


class TestWithoutDescriptors:
    async def test_accepting_pauses_and_resumes(self, caplog: pytest.LogCaptureFixture) -> None:
        async with stage() as s:
            s.connect(3)
            worker = Worker(1)
            s.workers.append(worker)
            with no_descriptors_left():
                s.dispatcher.add(1, worker.sender, worker.words, 1)
                await trio.sleep(2.5 * EXHAUSTED_PAUSE)
                assert s.dispatcher.lane(0).accepted == 0
                assert s.turns < 20
            numbers = [await worker.take() for _ in range(3)]
            assert numbers == [1, 2, 3]
            [warning] = caplog.records
            assert warning.message == (
                f"can't accept: {os.strerror(errno.EMFILE)}; "
                "the kernel queues connections until descriptors are free"
            )

    async def test_what_was_accepted_before_is_handed_out(self) -> None:
        async with stage(window=2) as s:
            s.connect(3)
            worker = Worker(1)
            s.workers.append(worker)
            with no_descriptors_left(spare=1):
                s.dispatcher.add(1, worker.sender, worker.words, 1)
                await trio.lowlevel.wait_readable(worker.receiver.fileno())
            assert [await worker.take() for _ in range(3)] == [1, 2, 3]


class TestTheQueue:
    async def test_when_it_is_full_the_kernel_queues(self) -> None:
        async with stage(queue=2, recall=None) as s:
            [worker] = s.add()
            s.connect(8)
            held = await worker.next()
            assert await s.quiet() == 0
            assert s.dispatcher.lane(0).accepted == 3
            assert s.dispatcher.pending() == 3
            worker.answer(held)
            assert [await worker.take() for _ in range(7)] == list(range(2, 9))

    async def test_connections_are_served_in_the_order_of_their_coming(self) -> None:
        async with stage() as s:
            [worker] = s.add()
            clients = s.connect(10)
            for index, client in enumerate(clients):
                client.sendall(bytes([index]))
            order: list[int] = []
            for _ in clients:
                await worker.take()
                order += worker.serving[-1].recv(1)
            assert order == list(range(10))


class TestDeath:
    async def test_what_it_did_not_acknowledge_goes_to_others_in_order(self) -> None:
        async with stage(window=3, recall=None) as s:
            dead, *_ = s.add(1)
            s.connect(4)
            assert await dead.take() == 1
            await dead.next()  # and not answered
            await trio.testing.wait_all_tasks_blocked()
            assert s.dispatcher.remove(1) == 3
            [other] = s.add()
            assert [await other.take() for _ in range(3)] == [2, 3, 4]

    async def test_an_ack_that_nobody_had_read_yet_counts(self) -> None:
        async with stage() as s:
            dead, other = s.add(2)
            s.connect()
            handoff = await dead.next()
            dead.answer(handoff)
            assert s.dispatcher.remove(dead.number) == 0
            await trio.sleep(QUIET)
            assert other.receive() is None
            assert is_open(s.clients[0])

    async def test_three_deaths_with_it_in_hand_are_the_end_of_a_connection(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with stage() as s:
            [client] = s.connect()
            for handed_on in (1, 1, 0):
                [worker] = s.add()
                await worker.next()
                worker.close_unanswered()
                assert s.dispatcher.remove(worker.number) == handed_on
            assert not is_open(client)
            assert s.dispatcher.lane(0).dropped == 1
            assert "gave up 1 connection(s)" in caplog.text

    async def test_who_was_never_ready_leaves_nothing(self) -> None:
        async with stage() as s:
            assert s.dispatcher.remove(99) == 0

    async def test_the_port_never_refuses(self) -> None:
        async with stage() as s:
            [worker] = s.add()
            s.dispatcher.remove(worker.number)
            clients = s.connect(5)
            assert all(map(is_open, clients))
            [other] = s.add()
            assert [await other.take() for _ in range(5)] == [1, 2, 3, 4, 5]


class TestClosing:
    async def test_what_is_on_its_way_to_a_closed_worker_is_recalled_at_once(self) -> None:
        async with stage(window=2, recall=None) as s:
            closing, other = s.add(2)
            s.connect(4)
            received = await closing.next()
            s.dispatcher.close(closing.number)
            closing.answer(received)
            numbers = sorted([await other.take() for _ in range(3)])
            assert sorted([received.number, *numbers]) == [1, 2, 3, 4]
            s.connect(2)
            for _ in range(2):
                await other.take()
            assert closing.receive() is None

    async def test_unknown_workers_are_ignored(self) -> None:
        async with stage() as s:
            s.dispatcher.close(7)
            s.dispatcher.hold(7)
            s.dispatcher.beat(7)

    async def test_a_silent_worker_is_held_until_it_beats(self) -> None:
        async with stage() as s:
            silent, other = s.add(2)
            s.dispatcher.hold(silent.number)
            for _ in range(3):
                s.connect()
                await other.take()
            s.dispatcher.beat(silent.number)
            s.connect(2)
            await other.take()
            await silent.take()

    async def test_settled_is_when_nothing_is_on_its_way(self) -> None:
        async with stage(recall=None) as s:
            with trio.fail_after(1):
                await s.dispatcher.lanes.settled()
            [worker] = s.add()
            s.connect(2)
            handoff = await worker.next()
            with trio.move_on_after(QUIET):
                await s.dispatcher.lanes.settled()
                pytest.fail("one is in flight and one is queued")
            with trio.fail_after(DEADLINE):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(s.dispatcher.lanes.settled)
                    worker.answer(handoff)
                    await worker.take()

    async def test_a_finished_listener_refuses_and_loses_nobody(self) -> None:
        async with stage(queue=2, recall=None) as s:
            [worker] = s.add()
            s.connect(8)
            held = await worker.next()
            address = s.listeners[0].sock.getsockname()
            s.dispatcher.finish(s.listeners[0])
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            assert s.dispatcher.pending() == 8
            worker.answer(held)
            assert [await worker.take() for _ in range(7)] == list(range(2, 9))
            assert all(map(is_open, s.clients))

    async def test_what_is_abandoned_is_closed_and_counted(self) -> None:
        async with stage() as s:
            clients = s.connect(3)
            s.dispatcher.finish(s.listeners[0])
            assert s.dispatcher.abandon() == 3
            assert not any(map(is_open, clients))
            assert s.dispatcher.pending() == 0


class TestDoors:
    async def test_an_unwatched_listener_is_left_to_others(self) -> None:
        async with stage() as s:
            s.add()
            s.dispatcher.unwatch(s.listeners[0])
            s.dispatcher.unwatch(s.listeners[0])
            s.connect()
            assert await s.quiet() == 0
            assert s.dispatcher.lane(0).accepted == 0

    async def test_watching_twice_is_watching_once(self) -> None:
        async with stage() as s:
            [worker] = s.add()
            s.dispatcher.watch(s.listeners[0])
            s.connect()
            assert await worker.take() == 1

    async def test_an_idle_dispatcher_sleeps(self) -> None:
        async with stage() as s:
            [worker] = s.add()
            s.connect()
            await worker.take()
            assert await s.quiet(0.15) == 0


async def test_a_thousand_connections_are_each_taken_once() -> None:
    async with stage(window=4) as s:
        workers = s.add(3)
        numbers, taken = trio.open_memory_channel[int](1000)

        async def work(worker: Worker) -> None:
            while True:
                await trio.lowlevel.wait_readable(worker.receiver.fileno())
                while (handoff := worker.receive()) is not None:
                    worker.answer(handoff)
                    worker.serving.pop().close()
                    numbers.send_nowait(handoff.number)

        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(work, worker)
            seen = []
            with trio.fail_after(DEADLINE):
                for _ in range(20):
                    for client in s.connect(50):  # no more than the backlog holds
                        client.close()
                    seen += [await taken.receive() for _ in range(50)]
            nursery.cancel_scope.cancel()
        assert sorted(seen) == list(range(1, 1001))
        assert s.dispatcher.pending() == 0


async def test_an_answer_for_anothers_connection_is_no_answer() -> None:
    async with stage(recall=None) as it:
        forger, owner = it.add(2)
        it.connect(2)
        await forger.take()
        handoff = await owner.next()
        for kind in (AnswerKind.ACK, AnswerKind.FULL, AnswerKind.DRAINING):
            forger.receiver.answer(kind, handoff.number)
        await it.quiet()
        owner.close_unanswered()
        assert it.dispatcher.remove(owner.number) == 1  # still the owner's, so it is handed on
        assert await forger.take() == handoff.number


async def test_the_pulse_goes_through_the_loop_and_takes_everybody_who_waits() -> None:
    async with stage() as made:
        with trio.fail_after(5):
            for _ in range(3):
                await made.dispatcher.pulse.beat()
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(made.dispatcher.pulse.beat)


async def test_without_the_loop_there_is_no_pulse() -> None:
    with select.epoll() as epoll:
        pulse = Pulse(epoll)
        with trio.move_on_after(0.05) as scope:
            await pulse.beat()
        assert scope.cancelled_caught
        pulse.close()
