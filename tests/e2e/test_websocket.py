"""WebSockets through real workers, with the `websockets` library as the client."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.faults.lab import until
from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = "tests.e2e.websocket_app:app"


def serve(*args: str, workers: int = 1, **more: Any) -> BalancerServer:  # noqa: ANN401
    return BalancerServer(*args, workers=workers, app=APP, **more)


@contextmanager
def client(server: BalancerServer, path: str = "/", **more: Any) -> Iterator[ClientConnection]:  # noqa: ANN401
    more.setdefault("ping_interval", None)
    with connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=5, **more) as socket:
        yield socket


def ask(socket: ClientConnection, message: str | bytes) -> str | bytes:
    socket.send(message)
    return socket.recv(timeout=5)


def closed(socket: ClientConnection, deadline: float = 5.0) -> tuple[int, str]:
    """Code and reason of the server's Close, which is waited for."""
    with pytest.raises(ConnectionClosed) as caught:
        socket.recv(timeout=deadline)
    assert caught.value.rcvd is not None, "the connection broke without a Close"
    return caught.value.rcvd.code, caught.value.rcvd.reason


def active(server: BalancerServer) -> int:
    return sum(each["active"] for each in server.status()["workers"])


@pytest.fixture(scope="module")
def server() -> Iterator[BalancerServer]:
    with serve("--ws-max-size", "4MiB", workers=2) as running:
        yield running


@pytest.mark.parametrize("compression", ["deflate", None])
def test_echo(server: BalancerServer, compression: str | None) -> None:
    with client(server, compression=compression, max_size=None) as socket:
        assert socket.response is not None
        extensions = socket.response.headers.get("Sec-WebSocket-Extensions", "")
        assert ("permessage-deflate" in extensions) == bool(compression)
        text = "grüße \U0001f600\r\n"
        for message in ("", "a", text, text * 10_000, b"", b"\0\xff", os.urandom(3 << 20)):
            assert ask(socket, message) == message
        socket.send(["a", "b", "c"])  # fragments
        assert socket.recv(timeout=5) == "abc"


def test_ping_and_its_pong(server: BalancerServer) -> None:
    with client(server) as socket:
        assert socket.ping().wait(5)


def test_a_subprotocol(server: BalancerServer) -> None:
    with client(server, subprotocols=["chat", "superchat"]) as socket:
        assert socket.subprotocol == "superchat"


@pytest.mark.parametrize(
    ("path", "status", "body", "why"),
    [("/refuse", 418, b"no coffee", "because"), ("/deny", 403, None, None)],
)
def test_a_rejection(
    server: BalancerServer, path: str, status: int, body: bytes | None, why: str | None
) -> None:
    with pytest.raises(InvalidStatus) as caught, client(server, path):
        pass
    response = caught.value.response
    assert response.status_code == status
    assert response.headers.get("x-why") == why
    assert body in (None, response.body)


def test_close_codes(server: BalancerServer) -> None:
    with client(server) as socket:
        socket.send("close 4321 grüße")
        assert closed(socket) == (4321, "grüße")
    with client(server) as socket:
        socket.close(4000, "enough")
        assert socket.close_code == 4000
    server.wait_for_line("disconnected: 4000 enough")
    with client(server) as socket:
        socket.send("raise")
        assert closed(socket) == (1011, "")
    server.wait_for_line("the app failed on WebSocket /")
    with client(server, max_size=None, compression=None) as socket:
        socket.send(bytes((4 << 20) + 1))
        assert closed(socket)[0] == 1009
    with client(server) as socket:  # a thousand times smaller on the wire
        socket.send(bytes((4 << 20) + 1))
        assert closed(socket)[0] == 1009
    until(lambda: active(server) == 0)


def test_connects_leave_nothing_behind(server: BalancerServer) -> None:
    connects(server, 200)


@pytest.mark.soak
def test_ten_thousand_connects_leave_nothing_behind(server: BalancerServer) -> None:
    connects(server, 10_000)


def connects(server: BalancerServer, count: int) -> None:
    """A third closes, a third leaves, a third is refused; then everything is as before."""
    for path in ("/", "/deny"):
        for _ in range(10):
            visit(server, 0, path)
    until(lambda: active(server) == 0)
    before, rss = descriptors(server), memory(server)
    for number in range(count):
        visit(server, number, "/deny" if number % 3 == 2 else "/")
    until(lambda: active(server) == 0)
    assert descriptors(server) == before
    if count > 1000:
        assert memory(server) < rss * 1.05


def visit(server: BalancerServer, number: int, path: str) -> None:
    if path == "/deny":
        with pytest.raises(InvalidStatus, match="403"), client(server, path):
            pass
        return
    with client(server, path, compression="deflate" if number % 2 else None) as socket:
        assert ask(socket, "a") == "a"
        if number % 3 == 1:
            socket.socket.close()


def descriptors(server: BalancerServer) -> list[int]:
    return [len(os.listdir(f"/proc/{pid}/fd")) for pid in server.workers.values()]


def memory(server: BalancerServer) -> int:
    return sum(each["rss_bytes"] for each in server.status()["workers"])


# servers that go


def test_a_rolling_restart_lets_them_live() -> None:
    with serve(workers=2) as server, ExitStack() as stack:
        sockets = [stack.enter_context(client(server)) for _ in range(4)]
        pids = [ask(each, "pid") for each in sockets]
        old = {str(pid) for pid in server.workers.values()}
        assert set(pids) == old
        server.signal(signal.SIGHUP)
        server.wait_for_line("reload: done")
        assert not old & {str(pid) for pid in server.workers.values()}
        assert [ask(each, "pid") for each in sockets] == pids
        assert {ask(each, "still here") for each in sockets} == {"still here"}
        with client(server) as new:
            assert ask(new, "pid") not in old
        for each in sockets:
            each.close()


def test_1012_when_the_drain_is_over() -> None:
    with serve("--drain-timeout", "1s") as server, client(server) as socket:
        [pid] = server.workers.values()
        server.signal(signal.SIGHUP)
        server.wait_for_line("reload: done")
        start = monotonic()
        assert closed(socket) == (1012, "service restart")
        assert monotonic() - start < 3
        server.wait_for_line("disconnected: 1012 service restart")
        until(lambda: not os.path.exists(f"/proc/{pid}"))
        with client(server) as new:
            assert ask(new, "back") == "back"


def test_a_stop_lets_them_finish() -> None:
    with serve("--graceful-timeout", "10") as server, client(server) as socket:
        assert ask(socket, "a") == "a"
        server.signal(signal.SIGTERM)
        server.wait_for_line("stopping")
        assert ask(socket, "b") == "b"
        socket.close()
        assert server.process.wait(5) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_says_close(number: signal.Signals) -> None:
    with serve("--graceful-timeout", "0.3") as server, client(server) as socket:
        assert ask(socket, "a") == "a"
        server.signal(number)
        assert closed(socket) == (1012, "service restart")
        assert server.process.wait(5) == 0


def test_settings_reach_the_workers() -> None:
    args = ("--no-ws-per-message-deflate", "--ws-ping-interval", "0.3", "--ws-ping-timeout", "0.3")
    with serve(*args, "--ws-max-size", "10") as server, client(server) as socket:
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
        socket.send("x" * 11)
        assert closed(socket)[0] == 1009
