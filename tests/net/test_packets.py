"""Packets with descriptors beside them."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from balancer.net.packets import MAX_FDS, packet_pair, recv_packet, send_packet
from tests.net.children import count_fds, no_descriptors_left

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = packet_pair()
    with near, far:
        yield near, far


def close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def fill(sock: socket.socket) -> None:
    while send_packet(sock, b"x"):
        pass


def test_packets_stay_apart() -> None:
    with pair() as (near, far):
        for packet in (b"one", b"two", b"x" * 50_000):
            assert send_packet(near, packet)
        assert [recv_packet(far) for _ in range(3)] == [
            (b"one", []),
            (b"two", []),
            (b"x" * 50_000, []),
        ]


@pytest.mark.parametrize("count", [0, 1, 2, MAX_FDS])
def test_descriptors_come_with_their_packet(count: int) -> None:
    with pair() as (near, far):
        before = count_fds()
        read, write = os.pipe()
        send_packet(near, b"fds", [write] * count)
        send_packet(near, b"none")
        packet, fds = recv_packet(far)
        assert (packet, len(fds)) == (b"fds", count)
        assert not any(map(os.get_inheritable, fds))
        for fd in fds:
            os.write(fd, b"x")
        os.close(write)
        close_all(fds)
        with open(read, "rb") as pipe:
            assert pipe.read() == b"x" * count
        assert recv_packet(far) == (b"none", [])
        assert count_fds() == before


def test_the_end_is_an_empty_packet() -> None:
    with pair() as (near, far):
        send_packet(near, b"last")
        near.close()
        assert recv_packet(far) == (b"last", [])
        assert recv_packet(far) == (b"", [])


def test_last_words_are_heard_of_one_who_died_with_packets_unread() -> None:
    """On SEQPACKET the error comes before them."""
    with pair() as (near, far):
        send_packet(far, b"never read")
        send_packet(near, b"one")
        send_packet(near, b"two")
        near.close()
        assert [recv_packet(far)[0] for _ in range(3)] == [b"one", b"two", b""]


def test_a_dead_end_is_not_told() -> None:
    with pair() as (near, far):
        far.close()
        assert not send_packet(near, b"hello?")


def test_a_full_end_says_so() -> None:
    with pair() as (near, _far):
        near.setblocking(False)
        with pytest.raises(BlockingIOError):
            fill(near)


@pytest.mark.parametrize("spare", [0, 1])
def test_without_room_for_all_descriptors_none_is_kept(spare: int) -> None:
    with pair() as (near, far), open(os.devnull) as file:
        send_packet(near, b"three", [file.fileno()] * 3)
        before = count_fds()
        with no_descriptors_left(spare), pytest.raises(OSError) as caught:  # noqa: PT011 (errno is looked at)
            recv_packet(far)
        assert caught.value.errno == errno.EMFILE
        assert count_fds() == before
