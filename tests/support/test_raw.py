"""The raw client reads exactly one response at a time, however the bytes come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.raw import RawConnection, exchange, get, request
from tests.support.tiny import HELLO, read_request, reset, tiny_server

if TYPE_CHECKING:
    import socket

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


def test_pipelined_responses_are_read_one_by_one() -> None:
    def pipelined(sock: socket.socket, number: int) -> None:  # noqa: ARG001
        read_request(sock)
        sock.sendall(HELLO + CHUNKED + b"HTTP/1.1 204 No Content\r\n\r\n" + HELLO)

    with tiny_server(pipelined) as port, RawConnection(port) as connection:
        first = connection.get()
        assert (first.worker, first.pid, first.headers) == (1, 4321, {"content-length": "31"})
        assert connection.receive_response().body == b"abcde"
        assert connection.receive_response().status == 204
        assert connection.receive_response().worker == 1
        assert connection.closed_by_server()


def test_a_response_without_framing_ends_at_eof() -> None:
    def old(sock: socket.socket, number: int) -> None:  # noqa: ARG001
        read_request(sock)
        sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nabc")

    with tiny_server(old) as port:
        assert get(port).body == b"abc"


def test_a_cut_response_is_an_error_that_shows_it() -> None:
    def cut(sock: socket.socket, number: int) -> None:  # noqa: ARG001
        read_request(sock)
        sock.sendall(HELLO[:-1])

    with tiny_server(cut) as port, pytest.raises(EOFError, match="Hello"):
        get(port)


def test_silence_is_a_timeout() -> None:
    def silent(sock: socket.socket, number: int) -> None:  # noqa: ARG001
        sock.recv(1024)
        sock.recv(1)

    with tiny_server(silent) as port, pytest.raises(TimeoutError):
        get(port, deadline=0.05)


def test_exchange_returns_what_came_before_a_reset() -> None:
    def refuse(sock: socket.socket, number: int) -> None:  # noqa: ARG001
        sock.recv(1)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        reset(sock)

    with tiny_server(refuse) as port:
        assert exchange(port, b"x" * 10, slowly=True) in {b"HTTP/1.1 400 Bad Request\r\n\r\n", b""}


def test_bytes_arrive_one_by_one() -> None:
    pieces: list[bytes] = []

    def count(sock: socket.socket, number: int) -> None:  # noqa: ARG001
        pieces.append(read_request(sock))
        sock.sendall(HELLO)

    sent = request("/x", method="POST", headers="X: y\r\n")
    with tiny_server(count) as port:
        assert exchange(port, sent, slowly=True) == HELLO
    assert pieces == [sent]
