"""Who accepts from which listener, under every policy."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from balancer.errors import RunError
from balancer.master.dispatcher import Dispatcher
from balancer.master.policies import find_policy
from balancer.master.ports import Ports
from balancer.net.listener import accept_batch
from balancer.settings import Bind, FdBind, Settings, TcpBind, UnixBind
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
        dispatcher.shut_down()
    assert count_fds() == before


def inherited(made: Ports, slot: int) -> list[int]:
    """The descriptors that a worker in a slot accepts from by itself."""
    return [each.fileno() for each in made.inherited(slot, made.lanes)]


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
        made.slot_up(1, dispatcher, made.lanes)
        assert len(watched(dispatcher)) == 2
        made.slot_down(1, dispatcher)
        assert len(watched(dispatcher)) == 2
        assert inherited(made, 1) == []


def test_under_shared_all_workers_have_the_same_listener() -> None:
    with ports("shared") as (made, dispatcher):
        for slot in (1, 2):
            made.add_slot(slot)
        made.open(dispatcher)
        assert inherited(made, 1) == inherited(made, 2)
        assert len(inherited(made, 1)) == 1
        made.slot_up(1, dispatcher, made.lanes)
        assert watched(dispatcher) == set()


class TestReusePort:
    def test_every_slot_has_a_listener_of_its_own_on_one_port(self) -> None:
        with ports("reuseport") as (made, _dispatcher):
            for slot in (1, 2, 3):
                made.add_slot(slot)
            fds = [inherited(made, slot) for slot in (1, 2, 3)]
            assert len({fd for [fd] in fds}) == 3
            assert len(made.addresses) == 1

    def test_there_is_no_listener_that_nobody_accepts_from(self) -> None:
        with ports("reuseport") as (made, _dispatcher):
            for slot in (1, 2):
                made.add_slot(slot)
            clients = connect(made, 20)
            found = [fd for slot in (1, 2) for each in inherited(made, slot) for fd in take(each)]
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
            assert inherited(made, 2) == []

    def test_a_replacement_inherits_it(self) -> None:
        with ports("reuseport") as (made, dispatcher):
            made.add_slot(1)
            before = inherited(made, 1)
            made.slot_down(1, dispatcher)
            made.slot_up(1, dispatcher, made.lanes)
            assert inherited(made, 1) == before

    def test_the_master_stands_in_while_nobody_is_there(self) -> None:
        with ports("reuseport") as (made, dispatcher):
            for slot in (1, 2):
                made.add_slot(slot)
            made.slot_down(2, dispatcher)
            made.slot_down(2, dispatcher)
            assert watched(dispatcher) == set(inherited(made, 2))
            made.slot_up(2, dispatcher, made.lanes)
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
            assert len(inherited(made, 2)) == 1

    def test_a_unix_socket_is_shared_instead(self, tmp_path: Path) -> None:
        with ports("reuseport", UnixBind(str(tmp_path / "s")), LOCAL) as (made, _dispatcher):
            for slot in (1, 2):
                made.add_slot(slot)
            assert inherited(made, 1)[0] == inherited(made, 2)[0]
            assert inherited(made, 1)[1] != inherited(made, 2)[1]


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
        assert [made.family(lane) for lane in made.lanes] == [socket.AF_UNIX, socket.AF_INET]
        assert made.addresses[0] == f"unix:{path}"
        assert made.addresses[1].startswith("http://127.0.0.1:")
    assert not os.path.exists(path)


def test_the_error_names_the_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=f"^-b 127.0.0.1:{port}: address already in use"):
            Ports(Settings(bind=(TcpBind("127.0.0.1", port),)))


class TestChanging:
    """What a reload does: new binds beside the old ones, then in their place."""

    @staticmethod
    def changed(made: Ports, dispatcher: Dispatcher, *binds: Bind) -> dict[int, int]:
        lanes = made.prepare(Settings(workers=2, bind=binds), dispatcher)
        made.adopt(lanes, 2048)
        return lanes

    def test_what_stays_keeps_its_socket_wherever_it_stands(self, tmp_path: Path) -> None:
        path = UnixBind(str(tmp_path / "s"))
        with ports("round-robin", LOCAL, path) as (made, dispatcher):
            before = made.addresses
            assert self.changed(made, dispatcher, path, LOCAL) == {1: 0, 0: 1}
            assert made.addresses == before[::-1]
            assert made.close_unwanted(dispatcher) == {}

    def test_of_two_that_are_written_alike_one_stays(self) -> None:
        with ports("round-robin", LOCAL, LOCAL) as (made, dispatcher):
            [first, second] = made.addresses
            assert self.changed(made, dispatcher, LOCAL) == {0: 0}
            assert made.close_unwanted(dispatcher) == {1: second}
            assert made.addresses == [first]

    def test_numbers_are_never_used_again(self) -> None:
        with ports("round-robin") as (made, dispatcher):
            for lane in range(1, 4):
                lanes = self.changed(made, dispatcher, LOCAL, LOCAL)
                assert lanes == {0: 0, lane: 1}
                self.changed(made, dispatcher, LOCAL)
                assert list(made.close_unwanted(dispatcher)) == [lane]
                assert dispatcher.lanes.remove(lane) == 0

    def test_one_that_comes_back_before_it_has_left_has_never_gone(self, tmp_path: Path) -> None:
        path = UnixBind(str(tmp_path / "s"))
        with ports("round-robin", LOCAL, path) as (made, dispatcher):
            self.changed(made, dispatcher, LOCAL)
            assert self.changed(made, dispatcher, LOCAL, path) == {0: 0, 1: 1}
            assert made.close_unwanted(dispatcher) == {}

    def test_what_was_prepared_and_is_not_wanted_goes_again(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with ports("round-robin") as (made, dispatcher):
            before, fds = dict(made.lanes), count_fds()
            made.prepare(Settings(bind=(UnixBind(str(path)), LOCAL)), dispatcher)
            assert path.exists()
            made.drop(dispatcher)
            assert not path.exists()
            assert made.lanes == before
            assert count_fds() == fds
            made.drop(dispatcher)

    def test_a_mistake_opens_nothing(self, tmp_path: Path) -> None:
        missing = UnixBind(str(tmp_path / "none" / "s"))
        with ports("round-robin") as (made, dispatcher):
            fds = count_fds()
            with pytest.raises(RunError, match=f"^-b {missing}: no such directory$"):
                made.prepare(Settings(bind=(LOCAL, LOCAL, missing)), dispatcher)
            assert count_fds() == fds
            assert len(made.listeners) == 1

    @pytest.mark.parametrize("spare", [0, 1, 2])
    def test_without_descriptors_nothing_changes(self, spare: int) -> None:
        with ports("reuseport") as (made, dispatcher):
            for slot in (1, 2, 3):
                made.add_slot(slot)
            fds = count_fds()
            with (
                no_descriptors_left(spare=spare),
                pytest.raises(RunError, match=r"^-b.*open files"),
            ):
                made.prepare(Settings(bind=(LOCAL, LOCAL)), dispatcher)
            assert count_fds() == fds
            assert set(dispatcher._scheduler.lanes) == {0}

    def test_who_waits_where_nothing_is_wanted_any_more_is_queued(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s")
        with ports("round-robin", LOCAL, UnixBind(path)) as (made, dispatcher):
            made.open(dispatcher)
            self.changed(made, dispatcher, LOCAL)
            clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
            for client in clients:
                client.connect(path)
            assert list(made.close_unwanted(dispatcher)) == [1]
            assert not os.path.exists(path)
            assert dispatcher.pending() == 3
            assert dispatcher.lanes.remove(1) == 3
            for client in clients:
                assert client.recv(1) == b""
                client.close()

    def test_a_new_backlog_is_for_what_there_is_too(self) -> None:
        with ports("round-robin") as (made, dispatcher):
            made.adopt(made.lanes, 7)
            [listener] = made.listeners
            assert listening(listener.sock) == 7
            made.adopt(made.prepare(Settings(bind=(LOCAL, LOCAL), backlog=7), dispatcher), 7)
            assert [listening(each.sock) for each in made.listeners] == [7, 7]

    def test_one_that_was_given_is_closed_altogether(self) -> None:
        with ports("round-robin", LOCAL) as (made, dispatcher):
            given = socket.create_server(("127.0.0.1", 0))
            address = given.getsockname()
            self.changed(made, dispatcher, LOCAL, FdBind(given.detach()))
            self.changed(made, dispatcher, LOCAL)
            made.close_unwanted(dispatcher)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)

    def test_workers_inherit_what_they_know(self) -> None:
        with ports("shared") as (made, dispatcher):
            made.add_slot(1)
            old = made.lanes
            new = self.changed(made, dispatcher, LOCAL, LOCAL)
            assert [each.lane for each in made.inherited(1, old)] == [0]
            assert [each.lane for each in made.inherited(1, new)] == [0, 1]
            assert watched(dispatcher) == set()

    def test_the_master_stands_in_for_workers_that_do_not_know_a_shard(self) -> None:
        with ports("reuseport") as (made, dispatcher):
            for slot in (1, 2):
                made.add_slot(slot)
            old = made.lanes
            for slot in (1, 2):
                made.slot_up(slot, dispatcher, old)
            new = self.changed(made, dispatcher, TcpBind("localhost", 0), LOCAL)
            shards = {
                slot: {each.lane: each.fileno() for each in made.inherited(slot, [0, 1])}
                for slot in (1, 2)
            }
            assert new == {1: 0, 0: 1}
            assert watched(dispatcher) == {shards[1][1], shards[2][1]}
            made.slot_up(1, dispatcher, new)
            assert watched(dispatcher) == {shards[2][1]}
            self.changed(made, dispatcher, TcpBind("localhost", 0))
            made.slot_up(1, dispatcher, made.lanes)
            assert watched(dispatcher) == {shards[1][0], shards[2][1]}
            made.slot_up(2, dispatcher, made.lanes)
            assert watched(dispatcher) == {shards[1][0], shards[2][0]}
            assert list(made.close_unwanted(dispatcher)) == [0]
            assert watched(dispatcher) == set()


def listening(sock: socket.socket) -> int:
    """The backlog of a listener, as Linux has it in tcp_info."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int.from_bytes(info[28:32], sys.byteorder)  # tcpi_sacked


def test_what_is_said_of_a_lane_that_has_gone() -> None:
    """A worker of the edition before may still be on its way when its listener is closed."""
    ports = Ports(Settings(bind=(TcpBind("127.0.0.1", 0),)))
    assert (ports.family(0), ports.address(0)) != (0, "")
    assert (ports.family(7), ports.address(7)) == (0, "")
    ports.close_at_once()
