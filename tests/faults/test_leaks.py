"""What many clients leave behind in a server: nothing.

After a warm-up, in which allocators and caches take what they need, memory stays where it is and
so do the descriptors, of every process: the workers serve, the master hands over.  The short runs
find what leaks with every request or connection; the long ones (`soak`) what leaks slowly.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import assert_fds_return, open_fds
from tests.support import raw
from tests.support.client import Outcome, Plan, run
from tests.support.server import BalancerServer, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

APP = "asgi:tests.faults.asgi_apps:app"
TOLERANCE = 0.05
PAGE = os.sysconf("SC_PAGE_SIZE")

HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# Frames of RFC 6455, 5.2.  A client's are masked, here with zeros, so that they can be read.
MASK = bytes(4)
TEXT = b"\x81\x82" + MASK + b"hi"
CLOSE = b"\x88\x82" + MASK + b"\x03\xe8"
ECHO = b"\x81\x02hi"
CLOSED = b"\x88\x02\x03\xe8"


def rss(pid: int) -> int:
    """Resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def _assert_nothing_left(
    server: BalancerServer, warm_up: Callable[[], None], load: Callable[[], None]
) -> None:
    """Run the load after the warm-up: memory and descriptors are what they were before it."""
    of_master = server.master_fds()  # before the first question, whose connection is one, too
    pids = sorted(server.process.family())
    workers = list(server.workers.values())
    warm_up()
    _until_quiet(server)
    memory = {pid: rss(pid) for pid in pids}
    fds = {pid: open_fds(pid) for pid in workers}
    load()
    _until_quiet(server)
    assert sorted(server.process.family()) == pids
    assert {pid: open_fds(pid) for pid in workers} == fds
    assert_fds_return(server, of_master)
    assert not list(_grown(memory))


def _until_quiet(server: BalancerServer) -> None:
    server.wait_for(lambda status: not any(each["active"] for each in status["workers"]))


def _grown(memory: dict[int, int]) -> Iterable[str]:
    for pid, before in memory.items():
        now = rss(pid)
        if abs(now - before) > TOLERANCE * before:
            yield f"{describe(pid)}: {before / 2**20:.1f} MB before, {now / 2**20:.1f} MB after"


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_requests_leave_nothing_behind(count: int) -> None:
    with BalancerServer(app=APP) as server:

        def ask(count: int) -> None:
            plan = Plan(
                port=server.port, keep_alive=True, concurrency=32, count=count, keep_records=False
            )
            assert run(plan).outcomes == {Outcome.OK: count}

        _assert_nothing_left(server, lambda: ask(count // 10), lambda: ask(count))


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.soak)])
def test_web_sockets_leave_nothing_behind(count: int) -> None:
    with BalancerServer(app=APP) as server:

        def greet(count: int) -> None:
            for _ in range(count):
                _echo_once(server.port)

        _assert_nothing_left(server, lambda: greet(count // 2), lambda: greet(count))


def _echo_once(port: int) -> None:
    with raw.RawConnection(port) as client:
        client.send(HANDSHAKE)
        assert client.receive_response().status == 101
        client.send(TEXT)
        client.send(CLOSE)
        assert client.receive_to_eof() == ECHO + CLOSED
