"""Listeners for tests, and how they are used there."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from balancer.errors import RunError
from balancer.net.listener import Listener, accept_batch
from balancer.net.opening import open_listeners
from balancer.settings import Bind, TcpBind
from tests.net.children import count_fds

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = TcpBind("127.0.0.1", 0)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


@contextmanager
def listening(*binds: Bind, reuseport: bool = False, backlog: int = 16) -> Iterator[list[Listener]]:
    lanes = open_listeners(binds, backlog=backlog, reuseport=reuseport)
    try:
        yield lanes
    finally:
        for lane in lanes:
            lane.close()


def port_of(listener: Listener) -> int:
    port = listener.sock.getsockname()[1]
    assert isinstance(port, int)
    return port


def take(listener: Listener) -> socket.socket:
    [fd], exhausted = accept_batch(listener.sock, 64)
    assert exhausted is None
    return socket.socket(fileno=fd)


def refusal(*binds: Bind, reuseport: bool = False) -> str:
    before = count_fds()
    with pytest.raises(RunError) as caught, listening(*binds, reuseport=reuseport):
        pass
    assert count_fds() == before
    return str(caught.value)


def accept(listener: Listener) -> list[int]:
    fds, _ = accept_batch(listener.sock, 1000)
    for fd in fds:
        os.close(fd)
    return fds
