"""Who accepts from which listener, under every policy."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from balancer.errors import RunError
from balancer.master.dispatcher import Dispatcher
from balancer.master.policies import find_policy
from balancer.master.ports import Ports
from balancer.net.listener import accept_batch
from balancer.settings import Bind, Settings, TcpBind, UnixBind
from tests.net.children import count_fds, no_descriptors_left

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCAL = TcpBind("127.0.0.1", 0)


@contextmanager
def ports(policy: str, *binds: Bind) -> Iterator[tuple[Ports, Dispatcher]]:
    before = count_fds()
    settings = Settings(workers=2, bind=binds or (LOCAL,), policy=policy)
    made = Ports(settings)
    dispatcher = Dispatcher(
        len(made.addresses), policy=find_policy(settings), window=1, queue=100, recall=0.1
    )
    try:
        yield made, dispatcher
    finally:
        made.close_at_once()
        dispatcher.abandon()
        dispatcher._epoll.close()
    assert count_fds() == before


def watched(dispatcher: Dispatcher) -> set[int]:
    """The listeners that the master accepts from when somebody is ready."""
    return set(dispatcher._doors._doors)


def connect(made: Ports, count: int = 1) -> list[socket.socket]:
    port = int(made.addresses[0].rpartition(":")[2])
    return [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]


def take(listener: int) -> list[int]:
    with socket.socket(fileno=os.dup(listener)) as sock:
        return accept_batch(sock, 100).fds


@pytest.mark.parametrize("policy", ["round-robin", "least-connections"])
def test_under_the_masters_policies_the_master_accepts(policy: str) -> None:
    with ports(policy, LOCAL, LOCAL) as (made, dispatcher):
        for slot in (1, 2):
            made.add_slot(slot)
        made.open(dispatcher)
        made.slot_up(1, dispatcher)
        assert len(watched(dispatcher)) == 2
        made.slot_down(1, dispatcher)
        assert len(watched(dispatcher)) == 2
        assert made.inherited(1) == []


def test_under_shared_all_workers_have_the_same_listener() -> None:
    with ports("shared") as (made, dispatcher):
        for slot in (1, 2):
            made.add_slot(slot)
        made.open(dispatcher)
        assert made.inherited(1) == made.inherited(2)
        assert len(made.inherited(1)) == 1
        made.slot_up(1, dispatcher)
        assert watched(dispatcher) == set()


class TestReusePort:
    def test_every_slot_has_a_listener_of_its_own_on_one_port(self) -> None:
        with ports("reuseport") as (made, _dispatcher):
            for slot in (1, 2, 3):
                made.add_slot(slot)
            fds = [made.inherited(slot) for slot in (1, 2, 3)]
            assert len({fd for [fd] in fds}) == 3
            assert len(made.addresses) == 1

    def test_there_is_no_listener_that_nobody_accepts_from(self) -> None:
        with ports("reuseport") as (made, _dispatcher):
            for slot in (1, 2):
                made.add_slot(slot)
            clients = connect(made, 20)
            found = [fd for slot in (1, 2) for each in made.inherited(slot) for fd in take(each)]
            assert len(found) == 20
            for fd in found:
                os.close(fd)
            for client in clients:
                client.close()

    def test_a_slot_without_descriptors_for_its_listeners_is_none(self) -> None:
        with ports("reuseport", LOCAL, LOCAL) as (made, _dispatcher):
            made.add_slot(1)
            before = count_fds()
            with no_descriptors_left(spare=1), pytest.raises(RunError, match="slot 2"):
                made.add_slot(2)
            assert count_fds() == before
            assert made.inherited(2) == []

    def test_a_replacement_inherits_it(self) -> None:
        with ports("reuseport") as (made, dispatcher):
            made.add_slot(1)
            before = made.inherited(1)
            made.slot_down(1, dispatcher)
            made.slot_up(1, dispatcher)
            assert made.inherited(1) == before

    def test_the_master_stands_in_while_nobody_is_there(self) -> None:
        with ports("reuseport") as (made, dispatcher):
            for slot in (1, 2):
                made.add_slot(slot)
            made.slot_down(2, dispatcher)
            made.slot_down(2, dispatcher)
            assert watched(dispatcher) == set(made.inherited(2))
            made.slot_up(2, dispatcher)
            assert watched(dispatcher) == set()

    def test_a_slot_that_is_gone_loses_nobody_who_waited(self) -> None:
        with ports("reuseport") as (made, dispatcher):
            for slot in (1, 2):
                made.add_slot(slot)
            clients = connect(made, 20)
            made.finish(made.retire_slot(2, dispatcher), dispatcher)
            moved = dispatcher.pending()
            assert moved > 0
            made.close(dispatcher)
            assert dispatcher.pending() == 20
            for client in clients:
                client.close()

    def test_it_can_come_back(self) -> None:
        with ports("reuseport") as (made, dispatcher):
            for slot in (1, 2):
                made.add_slot(slot)
            made.finish(made.retire_slot(2, dispatcher), dispatcher)
            made.add_slot(2)
            assert len(made.inherited(2)) == 1

    def test_a_unix_socket_is_shared_instead(self, tmp_path: Path) -> None:
        with ports("reuseport", UnixBind(str(tmp_path / "s")), LOCAL) as (made, _dispatcher):
            for slot in (1, 2):
                made.add_slot(slot)
            assert made.inherited(1)[0] == made.inherited(2)[0]
            assert made.inherited(1)[1] != made.inherited(2)[1]


@pytest.mark.parametrize("policy", ["round-robin", "shared", "reuseport"])
def test_closing_takes_who_has_come_and_refuses_the_next(policy: str) -> None:
    with ports(policy) as (made, dispatcher):
        for slot in (1, 2):
            made.add_slot(slot)
        made.open(dispatcher)
        clients = connect(made, 5)
        made.close(dispatcher)
        assert dispatcher.pending() == 5
        with pytest.raises(ConnectionRefusedError):
            connect(made)
        made.close(dispatcher)
        for client in clients:
            client.close()


def test_the_families_and_addresses_are_by_lane(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with ports("round-robin", UnixBind(path), LOCAL) as (made, _dispatcher):
        assert made.families == (socket.AF_UNIX, socket.AF_INET)
        assert made.addresses[0] == f"unix:{path}"
        assert made.addresses[1].startswith("http://127.0.0.1:")
    assert not os.path.exists(path)


def test_the_error_names_the_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=f"^-b 127.0.0.1:{port}: address already in use"):
            Ports(Settings(bind=(TcpBind("127.0.0.1", port),)))
