"""Health checks: every answer, and clients that behave badly."""

from __future__ import annotations

import json
import os
import socket
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from balancer.errors import RunError
from balancer.master import admin
from balancer.master.admin import MAX_CLIENTS, Admin
from balancer.net.unix import FileAccess
from balancer.settings import FdBind, Settings, TcpBind, UnixBind
from tests.master.watched import FakeWatch
from tests.net.children import count_fds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOOPBACK = TcpBind("127.0.0.1", 0)


class Lab:
    """An admin listener, and plain clients of it."""

    def __init__(self, made: Admin) -> None:
        self.admin = made
        self.watch = FakeWatch()
        self.port = int(made.addresses[0].rpartition(":")[2])

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def talk(self, data: bytes, *, slowly: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, header and body of the answer to these bytes."""
        async with await self.connect() as stream:
            for piece in [data[i : i + 1] for i in range(len(data))] if slowly else [data]:
                await stream.send_all(piece)
            with trio.fail_after(5):
                received = b"".join([chunk async for chunk in stream])
        head, _, body = received.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        return int(line.split()[1]), dict(each.split(": ", 1) for each in fields), body

    async def get(self, path: str, method: str = "GET") -> tuple[int, Any]:
        code, _, body = await self.talk(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return code, json.loads(body)


@asynccontextmanager
async def serving() -> AsyncIterator[Lab]:
    before = count_fds()
    lab = Lab(Admin(Settings(admin=LOOPBACK)))
    async with trio.open_nursery() as nursery:
        await nursery.start(lab.admin.run, lab.watch)
        yield lab
        lab.admin.close()
    lab.admin.close()
    assert count_fds() == before


async def test_a_healthy_master() -> None:
    async with serving() as lab:
        expected = {
            "status": "ok", "reason": None, "state": "running", "workers": 2, "ready": 2,
            "queued": 0, "uptime_s": 1.5,
        }  # fmt: skip
        assert await lab.get("/healthz") == (200, expected)
        assert await lab.get("/readyz?verbose") == (200, expected)
        assert lab.watch.beats == 1


async def test_the_head_of_an_answer() -> None:
    async with serving() as lab:
        request = b"HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
        code, fields, body = await lab.talk(request)
        assert (code, body) == (200, b"")
        _, same, body = await lab.talk(request.replace(b"HEAD", b"GET"))
        assert int(fields["Content-Length"]) == int(same["Content-Length"]) == len(body)
        assert fields["Content-Type"] == "application/json"
        assert (fields["Cache-Control"], fields["Connection"]) == ("no-store", "close")
        assert fields["Date"].endswith(" GMT")


async def test_not_ready_says_why() -> None:
    async with serving() as lab:
        lab.watch.reason = "the server is stopping"
        code, body = await lab.get("/readyz")
        assert code == 503
        assert (body["status"], body["reason"]) == ("unavailable", "the server is stopping")
        assert (await lab.get("/healthz"))[0] == 200


async def test_a_loop_that_is_stuck_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "STUCK", 0.02)
    async with serving() as lab:
        lab.watch.stuck = True
        code, body = await lab.get("/healthz")
        assert code == 503
        assert body["reason"] == "the loop that moves connections hasn't had a turn for 0.02 s"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /healthz/x HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 405),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),  # TLS
        (b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 10000, 431),
        (b"nonsense\r\n\r\n", 400),
    ],
)
async def test_what_it_says_to_others(data: bytes, code: int) -> None:
    async with serving() as lab:
        found, fields, body = await lab.talk(data, slowly=len(data) < 100)
        assert found == code
        assert json.loads(body)["status"] == ("ok" if code == 200 else "error")
        assert fields.get("Allow") == ("GET, HEAD" if code == 405 else None)


async def test_silent_clients_leave_room_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "PATIENCE", 0.3)
    async with serving() as lab:
        silent = [await lab.connect() for _ in range(MAX_CLIENTS)]
        with trio.fail_after(5):
            assert (await lab.get("/healthz"))[0] == 200
        for each in silent:
            assert await each.receive_some() == b""
            await each.aclose()


async def test_a_client_that_goes_away_harms_nothing() -> None:
    async with serving() as lab:
        for data in (b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"):
            stream = await lab.connect()
            await stream.send_all(data)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await stream.aclose()
        assert (await lab.get("/healthz"))[0] == 200


async def test_without_the_flag_there_is_nothing() -> None:
    nothing = Admin(Settings())
    assert nothing.addresses == []
    await nothing.run(FakeWatch())


async def test_a_successor_takes_the_listeners_over() -> None:
    first = Admin(Settings(admin=LOOPBACK))
    second = Admin(Settings(), first.listeners)
    lab = Lab(second)
    async with trio.open_nursery() as nursery:
        await nursery.start(second.run, lab.watch)
        assert (await lab.get("/healthz"))[0] == 200
        second.close()


def test_an_address_that_is_taken_is_an_error_with_the_flag() -> None:
    first = Admin(Settings(admin=LOOPBACK))
    port = int(first.addresses[0].rpartition(":")[2])
    with pytest.raises(RunError, match=rf"^--admin 127\.0\.0\.1:{port}: address already in use"):
        Admin(Settings(admin=TcpBind("127.0.0.1", port)))
    first.close()


def test_a_path_has_the_permissions_that_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    made = Admin(Settings(admin=UnixBind(str(path)), umask=0o007))
    assert made.addresses == [f"unix:{path}"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o770
    made.close()
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_is_given_but_a_link_is_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.touch()
    link.symlink_to(target)
    FileAccess(user=65534, group=65534).give(str(link))
    assert (target.stat().st_uid, link.lstat().st_uid) == (0, 65534)


def test_a_descriptor_is_no_address_of_health_checks() -> None:
    with pytest.raises(RunError, match="--admin fd://999: no such open file descriptor"):
        Admin(Settings(admin=FdBind(999)))
