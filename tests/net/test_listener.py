"""Accepting: batches, errors, and who is heard."""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import ExitStack

import pytest

from balancer.net.listener import accept_batch, client_key, deafen
from balancer.settings import FdBind, TcpBind
from tests.net.children import exit_code, no_descriptors_left, run_child
from tests.net.listeners import LOCAL, accept, ipv6, listening, port_of, take


class TestAccept:
    def test_a_batch_has_a_limit(self) -> None:
        with listening(LOCAL) as [lane], ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(socket.create_connection(("127.0.0.1", port_of(lane))))
            sizes = []
            for limit in (0, -1, 2, 2, 2, 2):
                fds, exhausted = accept_batch(lane.sock, limit)
                assert exhausted is None
                sizes.append(len(fds))
                for fd in fds:
                    os.close(fd)
            assert sizes == [0, 0, 2, 2, 1, 0]

    def test_with_a_full_table_it_gives_what_it_got_and_says_why_it_stopped(self) -> None:
        with listening(LOCAL) as [lane], ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(socket.create_connection(("127.0.0.1", port_of(lane))))
            with no_descriptors_left(spare=3):
                fds, exhausted = accept_batch(lane.sock, 64)
            assert len(fds) == 3
            assert exhausted is not None
            assert exhausted.errno == errno.EMFILE
            for fd in fds:
                os.close(fd)
            assert len(accept(lane)) == 2  # nothing was lost

    def test_a_connection_that_was_reset_meanwhile_does_no_harm(self) -> None:
        with listening(LOCAL) as [lane]:
            with socket.create_connection(("127.0.0.1", port_of(lane))) as dead:
                dead.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with socket.create_connection(("127.0.0.1", port_of(lane))):
                assert len(accept(lane)) == 2  # Linux hands out the dead one too

    @pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.ECONNRESET, errno.ENOSR])
    def test_errors_of_one_connection_are_skipped(self, number: int) -> None:
        fds, exhausted = accept_batch(Scripted(number, 7, number, 8), 64)
        assert (fds, exhausted) == ([7, 8], None)

    def test_errors_without_end_hold_nobody_up(self) -> None:
        listener = Scripted(*[errno.EPROTO] * 100)
        assert accept_batch(listener, 64) == ([], None)
        assert len(listener._script) == 100 - 64

    @pytest.mark.parametrize("number", [errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
    def test_exhaustion_ends_a_batch(self, number: int) -> None:
        fds, exhausted = accept_batch(Scripted(7, number, 8), 64)
        assert fds == [7]
        assert exhausted is not None

    def test_anything_else_is_a_bug_and_raised(self) -> None:
        with listening(LOCAL) as [lane]:
            lane.sock.close()
            with pytest.raises(OSError, match="Bad file descriptor"):
                accept_batch(lane.sock, 1)

    def test_two_processes_share_one_listener(self) -> None:
        """What ``--policy shared`` rests on: nobody blocks on what the other took."""
        with (
            listening(LOCAL) as [lane],
            socket.create_connection(("127.0.0.1", port_of(lane))),
        ):
            assert exit_code(run_child(lambda: accept(lane))) == 0
            assert accept(lane) == []


class Scripted(socket.socket):
    """A listener whose accept gives descriptors and errors from a list."""

    def __init__(self, *script: int) -> None:
        super().__init__()
        self.close()
        self._script = list(script)

    def _accept(self) -> tuple[int, object]:
        if not self._script:
            raise BlockingIOError
        number = self._script.pop(0)
        if number > 10:
            raise OSError(number, os.strerror(number))
        return number, None


def test_who_waits_is_accepted_and_nobody_else_comes() -> None:
    with listening(LOCAL) as (lane,), socket.socket() as late:
        address = lane.sock.getsockname()
        with socket.create_connection(address) as early:
            deafen(lane.sock)
            late.setblocking(False)
            assert late.connect_ex(address) == errno.EINPROGRESS
            (fd,) = accept_batch(lane.sock, 16).fds
            assert not accept_batch(lane.sock, 16).fds
            with socket.socket(fileno=fd) as accepted:  # whose packets pass
                early.sendall(b"hello")
                assert accepted.recv(5) == b"hello"


def test_a_listener_that_was_given_to_us_goes_on_hearing() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as given,
        listening(FdBind(given.fileno())) as lanes,
    ):
        deafen(lanes[0].sock)
        with socket.create_connection(given.getsockname(), timeout=1):
            take(lanes[0]).close()


class TestKeys:
    @pytest.mark.parametrize(
        ("address", "key"),
        [
            (("192.0.2.7", 4711), b"192.0.2.7"),
            (("::ffff:192.0.2.7", 4711, 0, 0), b"192.0.2.7"),
            (("2001:db8::1", 4711, 0, 0), b"2001:db8::1"),
            (("::ffff:0:192.0.2.7", 4711, 0, 0), b"::ffff:0:192.0.2.7"),
            (("::ffff:1", 4711, 0, 0), b"::ffff:1"),
            (("fe80::1%eth0", 4711, 0, 2), b"fe80::1%eth0"),
            ("", b""),
            ("/run/client.sock", b""),
            (b"\0client", b""),
            (None, b""),
        ],
    )
    def test_all_connections_of_a_client_have_the_same(self, address: object, key: bytes) -> None:
        assert client_key(address) == key

    @ipv6
    def test_a_v4_client_is_the_same_on_a_dual_stack_listener(self) -> None:
        with listening(TcpBind("::", 0)) as [lane]:
            clients = [
                socket.create_connection((host, port_of(lane))) for host in ("127.0.0.1", "::1")
            ]
            keys: list[bytes] = []
            for fd in accept_batch(lane.sock, 64, keys).fds:
                os.close(fd)
            for client in clients:
                client.close()
            assert keys == [b"127.0.0.1", b"::1"]

    def test_there_is_one_for_each_that_was_accepted(self) -> None:
        keys: list[bytes] = []
        assert accept_batch(Scripted(7, errno.ECONNABORTED, 8), 64, keys).fds == [7, 8]
        assert keys == [b"", b""]
