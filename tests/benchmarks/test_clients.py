"""Clients that stay are counted, and so is everyone who was let down."""

from __future__ import annotations

import resource

import pytest

from benchmarks.clients import IdleClients, raise_fd_limit
from benchmarks.loads import LoadError
from tests.benchmarks.servers import OneByOne


def test_clients_stay_and_can_ask_again() -> None:
    with OneByOne() as server, IdleClients(server.port) as clients:
        clients.open(100)
        clients.drop_ended()
        clients.ask(30)
        assert (len(clients), clients.errors) == (100, 0)


def test_whom_the_server_left_is_an_error() -> None:
    with OneByOne(requests_each=2) as server, IdleClients(server.port) as clients:
        clients.open(10)
        clients.ask(4)
        assert (len(clients), clients.errors) == (10, 0)
        clients.ask(10)  # four find that it has gone
        assert (len(clients), clients.errors) == (6, 4)


def test_who_ended_meanwhile_is_found_without_asking() -> None:
    with OneByOne() as server:
        clients = IdleClients(server.port)
        clients.open(3)
    with clients:  # the server has closed its ends
        clients.drop_ended()
        assert (len(clients), clients.errors) == (0, 3)


def test_a_bad_answer_is_an_error() -> None:
    bad = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    with OneByOne(bad) as server, IdleClients(server.port) as clients:
        clients.open(2)
        assert (len(clients), clients.errors) == (0, 2)


def test_nobody_there_is_an_error_each() -> None:
    with OneByOne() as server:
        port = server.port
    with IdleClients(port) as clients:
        clients.open(3)
        assert (len(clients), clients.errors) == (0, 3)


def test_a_limit_that_can_not_be_raised_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    with pytest.raises(LoadError, match=r"ulimit -n.*--connections"):
        raise_fd_limit(10**9)
