"""Listeners of an old master in the hands of a new one."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from balancer.core.upgrade import Use
from balancer.master.passing import offer_listeners, take_listeners
from balancer.master.ports import Ports
from balancer.net.upgrade import Heritage
from balancer.settings import Bind, Settings, TcpBind, UnixBind

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

TCP = TcpBind("127.0.0.1", 0)


def _pass(ports: Ports, *binds: Bind) -> Heritage:
    link: Any = None
    heritage = Heritage(link, 0)
    for offered, listener in offer_listeners(binds, ports.listeners, ports.shards):
        copy = socket.socket(fileno=os.dup(listener.fileno()))
        heritage.sockets[offered.number] = (offered, copy)
    return heritage


def test_what_is_lent_leaves_no_trace(tmp_path: Path) -> None:
    """Neither the file nor the port goes with the heir, as long as it isn't the server."""
    path = tmp_path / "web.sock"
    binds = (TCP, UnixBind(str(path)))
    old = Ports(Settings(bind=binds))
    new = Ports(Settings(bind=binds), take_listeners(_pass(old, *binds), binds))
    assert new.addresses == old.addresses
    assert new.held
    assert new.lent
    new.close_at_once()
    assert path.exists()
    with socket.create_connection(old.listeners[0].sock.getsockname()):
        pass
    old.close_at_once()
    assert not path.exists()


def test_another_path_by_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative one, after ``--chdir`` has changed."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    bind = UnixBind("web.sock")
    monkeypatch.chdir(tmp_path / "one")
    old = Ports(Settings(bind=(bind,)))
    heritage = _pass(old, bind)
    monkeypatch.chdir(tmp_path / "two")
    assert take_listeners(heritage, (bind,)).taken == []
    heritage.close()
    monkeypatch.chdir(tmp_path / "one")
    old.close_at_once()


def test_shards_go_with_their_lane() -> None:
    settings = Settings(bind=(TCP,), policy="reuseport")
    old = Ports(settings)
    for slot in (1, 2, 3):
        old.add_slot(slot)
    heritage = _pass(old, TCP)
    assert [each.use for each in heritage.offered] == [Use.LANE, Use.SHARD, Use.SHARD]
    new = Ports(settings, take_listeners(heritage, (TCP,)))
    assert new.ready_slots == 3
    for slot in (1, 2):
        new.add_slot(slot)
    assert new.ready_slots == 2
    assert {each.sock.getsockname() for each in [*new.listeners, *new.shards]} == {
        old.listeners[0].sock.getsockname()
    }
    new.close_at_once()
    old.close_at_once()


def test_for_another_policy_they_are_plain_listeners() -> None:
    old = Ports(Settings(bind=(TCP,), policy="reuseport"))
    for slot in (1, 2):
        old.add_slot(slot)
    new = Ports(Settings(bind=(TCP,)), take_listeners(_pass(old, TCP), (TCP,)))
    new.add_slot(1)
    new.add_slot(2)
    assert new.inherited(2, new.lanes) == []
    assert len(new.shards) == 1, "spare: nobody opened one more"
    new.close_at_once()
    old.close_at_once()
