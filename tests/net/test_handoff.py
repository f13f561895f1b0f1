"""The hand-off pair with real descriptors: exactly once, whatever is full, stopped or dead."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import socket
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.net.handoff import (
    AnswerKind,
    Handoff,
    HandoffReceiver,
    HandoffSender,
    WindowFullError,
)
from tests.net.children import count_fds, exit_code, no_descriptors_left, run_child

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def pair() -> Iterator[tuple[HandoffSender, HandoffReceiver]]:
    """Both sides in one process; the receiver has a copy of its end, as a worker has."""
    sender = HandoffSender.pair()
    receiver = HandoffReceiver(socket.socket(fileno=os.dup(sender.receiving_end)))
    try:
        yield sender, receiver
    finally:
        sender.close()
        receiver.close()


@contextmanager
def connection() -> Iterator[int]:
    """A descriptor to hand over."""
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def receive(receiver: HandoffReceiver) -> Handoff:
    handoff = receiver.receive()
    assert handoff is not None
    return handoff


def receive_number(receiver: HandoffReceiver) -> int | None:
    """The number of the next connection, whose descriptor is closed; None: nothing there."""
    try:
        number, _lane, fd = receive(receiver)
    except BlockingIOError:
        return None
    assert fd is not None
    os.close(fd)
    return number


def fill(sender: HandoffSender, fd: int) -> int:
    """Send until nothing more fits; how many that were."""
    sent = 0
    with suppress(WindowFullError):
        while True:
            sender.send(sent, 0, fd)
            sent += 1
    return sent


def send_or_not(sender: HandoffSender, number: int, fd: int) -> bool:
    try:
        sender.send(number, 0, fd)
    except WindowFullError:
        return False
    return True


class TestHandingOver:
    def test_what_arrives_is_the_connection_itself(self) -> None:
        with pair() as (sender, receiver), ExitStack() as stack:
            ours, theirs = (stack.enter_context(s) for s in socket.socketpair())
            sender.send(7, 3, theirs.fileno())
            number, lane, fd = receive(receiver)
            assert (number, lane) == (7, 3)
            assert fd is not None
            with socket.socket(fileno=fd) as arrived:
                arrived.send(b"hello")
                assert ours.recv(10) == b"hello"

    def test_the_order_is_the_order_of_sending(self) -> None:
        with pair() as (sender, receiver), connection() as fd:
            for number in range(50):
                sender.send(number, 0, fd)
            assert [receive_number(receiver) for _ in range(51)] == [*range(50), None]

    def test_large_numbers_and_lanes_pass(self) -> None:
        with pair() as (sender, receiver), connection() as fd:
            sender.send(2**64 - 1, 2**16 - 1, fd)
            number, lane, received = receive(receiver)
            assert (number, lane) == (2**64 - 1, 2**16 - 1)
            assert received is not None
            os.close(received)

    def test_the_masters_copy_stays_its_own(self) -> None:
        with pair() as (sender, receiver), connection() as fd:
            sender.send(1, 0, fd)
            received = receive(receiver).fd
            assert received is not None
            os.close(received)
            os.fstat(fd)

    def test_a_received_descriptor_is_not_inherited(self) -> None:
        with pair() as (sender, receiver), connection() as fd:
            sender.send(1, 0, fd)
            received = receive(receiver).fd
            assert received is not None
            assert fcntl.fcntl(received, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
            os.close(received)

    def test_the_ends_are_not_inherited(self) -> None:
        with pair() as (sender, _receiver):
            for fd in (sender.fileno(), sender.receiving_end):
                assert not os.get_inheritable(fd)

    def test_both_holders_of_an_end_share_its_nonblocking_mode(self) -> None:
        """Why both must expect EAGAIN: the flag is the open file description's."""
        with pair() as (sender, receiver):
            flags = fcntl.fcntl(receiver.fileno(), fcntl.F_GETFL)
            fcntl.fcntl(receiver.fileno(), fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
            assert not fcntl.fcntl(sender.receiving_end, fcntl.F_GETFL) & os.O_NONBLOCK
            fcntl.fcntl(receiver.fileno(), fcntl.F_SETFL, flags)
            with pytest.raises(BlockingIOError):
                receiver.receive()

    def test_nothing_leaks(self) -> None:
        before = count_fds()
        with pair() as (sender, receiver), connection() as fd:
            for number in range(100):
                sender.send(number, 0, fd)
            for _ in range(30):
                receive_number(receiver)
            list(sender.recall_all())
            assert count_fds() == before + 4
        assert count_fds() == before

    def test_what_is_on_its_way_dies_with_the_pair(self) -> None:
        """The other end of a connection in the queue of a closed pair sees its end."""
        ours, theirs = socket.socketpair()
        with ours, pair() as (sender, receiver):
            with theirs:
                sender.send(1, 0, theirs.fileno())
            sender.close()
            receiver.close()
            assert ours.recv(1) == b""


class TestAnswers:
    @pytest.mark.parametrize("kind", AnswerKind)
    def test_every_answer_arrives(self, kind: AnswerKind) -> None:
        with pair() as (sender, receiver):
            assert sender.answer() is None
            receiver.answer(kind, 2**40)
            assert sender.answer() == (kind, 2**40)
            assert sender.answer() is None

    def test_the_last_words_of_a_dead_worker_are_heard(self) -> None:
        """It acked, left connections unread and died: what it acked must not go to another."""
        sender = HandoffSender.pair()

        def act() -> None:
            receiver = HandoffReceiver(socket.socket(fileno=os.dup(sender.receiving_end)))
            sender.close()
            number = receive_number(receiver)
            assert number is not None
            receiver.answer(AnswerKind.ACK, number)

        with connection() as fd:
            for number in (1, 2, 3):
                sender.send(number, 0, fd)
            assert exit_code(run_child(act)) == 0
            assert sender.answer() == (AnswerKind.ACK, 1)
            assert sender.answer() is None
            assert list(sender.recall_all()) == [2, 3]
            sender.close()

    def test_they_are_heard_without_the_masters_duplicate_too(self) -> None:
        """Then ECONNRESET comes before them, because packets were left unread."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.setblocking(False)
        far.setblocking(False)
        receiver = HandoffReceiver(far)
        with socket.socket() as unused, connection() as fd:
            sender = HandoffSender(near, unused)
            for number in (1, 2):
                sender.send(number, 0, fd)
            receive_number(receiver)
            receiver.answer(AnswerKind.ACK, 1)
            receiver.close()
            assert sender.answer() == (AnswerKind.ACK, 1)
            assert sender.answer() is None
            near.close()

    def test_an_ack_waits_for_a_master_that_does_not_read(self) -> None:
        with pair() as (sender, receiver):
            total = 0
            while True:
                try:
                    receiver._sock.send(b"\x01" + bytes(8))
                    total += 1
                except BlockingIOError:
                    break
            answered = threading.Event()

            def answer() -> None:
                receiver.answer(AnswerKind.ACK, 99)
                answered.set()

            worker = threading.Thread(target=answer)
            worker.start()
            assert not answered.wait(0.05)
            heard = [sender.answer() for _ in range(total)]
            assert answered.wait(5)
            worker.join()
            assert None not in heard
            assert sender.answer() == (AnswerKind.ACK, 99)

    def test_a_master_that_is_gone_is_not_told(self) -> None:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        receiver = HandoffReceiver(far)
        near.close()
        receiver.answer(AnswerKind.ACK, 1)
        receiver.close()


class TestTheMastersDeath:
    def test_a_worker_hears_of_it(self) -> None:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        receiver = HandoffReceiver(far)
        near.close()
        assert receiver.receive() is None
        receiver.close()

    def test_it_takes_what_was_on_its_way_before(self) -> None:
        """A master that died with acks unread: ECONNRESET comes before the connections."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        far.setblocking(False)
        receiver = HandoffReceiver(far)
        with socket.socket() as unused, connection() as fd:
            HandoffSender(near, unused).send(5, 0, fd)
            receiver.answer(AnswerKind.ACK, 4)
            near.close()
            assert receive_number(receiver) == 5
            assert receiver.receive() is None
        receiver.close()


class TestRecall:
    def test_it_takes_the_oldest_first(self) -> None:
        with pair() as (sender, receiver), connection() as fd:
            for number in (5, 6, 7):
                sender.send(number, 0, fd)
            assert sender.recall() == 5
            assert receive_number(receiver) == 6
            assert list(sender.recall_all()) == [7]
            assert sender.recall() is None

    def test_it_makes_no_descriptor(self) -> None:
        with pair() as (sender, _receiver), connection() as fd:
            sender.send(1, 0, fd)
            before = count_fds()
            assert sender.recall() == 1
            assert count_fds() == before

    def test_a_recalled_connection_is_still_the_masters(self) -> None:
        with pair() as (sender, _receiver), ExitStack() as stack:
            ours, theirs = (stack.enter_context(s) for s in socket.socketpair())
            sender.send(1, 0, theirs.fileno())
            sender.recall()
            theirs.send(b"x")
            assert ours.recv(1) == b"x"

    def test_it_works_on_a_stopped_worker(self) -> None:
        with pair() as (sender, receiver), connection() as fd:
            pid = run_child(signal.pause)
            try:
                os.kill(pid, signal.SIGSTOP)
                os.waitid(os.P_PID, pid, os.WSTOPPED)
                sender.send(1, 0, fd)
                assert sender.recall() == 1
                with pytest.raises(BlockingIOError):
                    receiver.receive()
            finally:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(["send", "receive", "recall", "refill"]), max_size=60))
    def test_every_connection_goes_to_exactly_one_and_in_order(self, steps: list[str]) -> None:
        with pair() as (sender, receiver), connection() as fd:
            sent, taken, back = 0, list[int](), list[int]()
            for step in steps:
                if step == "receive":
                    number = receive_number(receiver)
                    taken += [] if number is None else [number]
                elif step == "recall":
                    number = sender.recall()
                    back += [] if number is None else [number]
                else:
                    for _ in range(1 if step == "send" else 5):
                        sender.send(sent, 0, fd)
                        sent += 1
            left = list(sender.recall_all())
            assert sorted(taken + back + left) == list(range(sent))
            assert taken == sorted(taken)
            assert back == sorted(back)

    def test_a_race_between_two_processes_loses_and_doubles_nothing(self) -> None:
        """The child receives as fast as it can while the master sends and recalls."""
        with pair() as (sender, receiver), connection() as fd:
            got_r, got_w = os.pipe()

            def act() -> None:
                os.close(got_r)
                sender.close()
                while True:
                    select.select([receiver.fileno()], [], [])
                    try:
                        handoff = receiver.receive()
                    except BlockingIOError:  # the master was faster
                        continue
                    if handoff is None:
                        return
                    assert handoff.fd is not None
                    os.close(handoff.fd)
                    os.write(got_w, handoff.number.to_bytes(4, "big"))

            pid = run_child(act)
            os.close(got_w)
            recalled = list[int]()
            for number in range(5000):
                while not send_or_not(sender, number, fd):
                    pass
                if number % 3 and (back := sender.recall()) is not None:
                    recalled.append(back)
            sender.close()
            with open(got_r, "rb") as pipe:
                data = pipe.read()
            assert exit_code(pid) == 0
            received = [int.from_bytes(data[i : i + 4], "big") for i in range(0, len(data), 4)]
            assert sorted(received + recalled) == list(range(5000))
            assert received
            assert recalled


class TestFull:
    def test_the_window_of_a_pair_ends_and_opens_again(self) -> None:
        with pair() as (sender, receiver), connection() as fd:
            sent = fill(sender, fd)
            assert 100 < sent < 1000
            with pytest.raises(WindowFullError):
                sender.send(sent, 0, fd)
            assert [receive_number(receiver) for _ in range(sent)] == list(range(sent))
            sender.send(sent, 0, fd)
            assert receive_number(receiver) == sent

    def test_a_full_pair_can_be_recalled(self) -> None:
        with pair() as (sender, _receiver), connection() as fd:
            sent = fill(sender, fd)
            assert list(sender.recall_all()) == list(range(sent))
            sender.send(0, 0, fd)

    def test_an_error_of_ours_is_not_taken_for_the_workers(self) -> None:
        with pair() as (sender, _receiver), connection() as fd:
            closed = os.dup(fd)
            os.close(closed)
            with pytest.raises(OSError, match="Bad file descriptor"):
                sender.send(1, 0, closed)


class TestWithoutDescriptors:
    def test_a_receiver_hears_the_number_all_the_same(self) -> None:
        with pair() as (sender, receiver), connection() as fd:
            for number in (3, 4):
                sender.send(number, 2, fd)

            def act() -> None:
                with no_descriptors_left():
                    assert receiver.receive() == (3, 2, None)
                    receiver.answer(AnswerKind.NO_FDS, 3)

            assert exit_code(run_child(act)) == 0
            assert sender.answer() == (AnswerKind.NO_FDS, 3)
            assert receive_number(receiver) == 4

    def test_a_recall_works(self) -> None:
        with pair() as (sender, _receiver), connection() as fd:
            for number in (3, 4):
                sender.send(number, 0, fd)

            def act() -> None:
                with no_descriptors_left():
                    assert list(sender.recall_all()) == [3, 4]

            assert exit_code(run_child(act)) == 0
            assert sender.recall() is None

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody with a limit")
    def test_too_many_in_flight_of_one_user_is_a_full_window(self) -> None:
        """ETOOMANYREFS: counted per user, against the sender's limit, and not for root."""
        with pair() as (sender, receiver), connection() as fd:

            def act() -> None:
                _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
                os.setresuid(54321, 54321, 54321)
                sent = fill(sender, fd)
                assert 0 < sent < 60
                receive_number(receiver)
                sender.send(sent, 0, fd)

            assert exit_code(run_child(act)) == 0


def test_closing_twice_is_closing_once() -> None:
    with pair() as (sender, receiver):
        for end in (sender, receiver):
            end.close()
            end.close()


def test_what_is_no_answer_is_skipped() -> None:
    with pair() as (sender, receiver):
        for junk in (b"print to the wrong descriptor\n", b"\x01", b"\x09" + bytes(8), bytes(9)):
            os.write(receiver.fileno(), junk)
        receiver.answer(AnswerKind.ACK, 7)
        os.write(receiver.fileno(), b"\x01" + bytes(9))
        assert sender.answer() == (AnswerKind.ACK, 7)
        assert sender.answer() is None
