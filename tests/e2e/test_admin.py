"""Health checks of a real server, whatever its workers do."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from time import monotonic
from typing import TYPE_CHECKING

from tests.faults.lab import ask, stopped, until
from tests.support import raw
from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from pathlib import Path

ADMIN = ("--admin", "127.0.0.1:0")


def port_of(server: BalancerServer) -> int:
    line = server.wait_for_line(r"health checks are answered at http://127\.0\.0\.1:\d+")
    return int(line.text.rpartition(":")[2])


def get(port: int, path: str) -> tuple[int, dict[str, object]]:
    response = raw.get(port, path)
    body = response.json
    assert isinstance(body, dict)
    return response.status, body


def test_ready_comes_with_the_first_worker() -> None:
    with BalancerServer(*ADMIN, workers=2) as server:
        port = port_of(server)
        code, body = get(port, "/readyz")
        assert (code, body["status"], body["ready"], body["workers"]) == (200, "ok", 2, 2)
        assert server.status()["master"]["admin"] == [f"http://127.0.0.1:{port}"]
        shown = server.command("status").stdout
        assert f"health checks: http://127.0.0.1:{port}\n" in shown


def test_stopped_workers_don_t_hold_up_a_health_check() -> None:
    with BalancerServer(*ADMIN, workers=2) as server, contextlib.ExitStack() as stack:
        port = port_of(server)
        with stopped(*server.workers.values()):
            for _ in range(20):
                stack.enter_context(ask(server.port))
            until(lambda: get(port, "/healthz")[1]["queued"])
            took = []
            for _ in range(5):
                start = monotonic()
                assert get(port, "/healthz")[0] == 200
                took.append(monotonic() - start)
            assert min(took) < 0.1
            until(lambda: get(port, "/readyz")[0] == 503)
            reason = get(port, "/readyz")[1]["reason"]
            assert reason == "no worker is ready (2 stalled)"
        until(lambda: get(port, "/readyz")[0] == 200)


def test_a_blocked_app_doesn_t_either() -> None:
    with BalancerServer(*ADMIN, workers=1) as server, ask(server.port, "/block/0.7") as client:
        until(lambda: server.status()["workers"][0]["active"] == 1)
        start = monotonic()
        assert get(port_of(server), "/healthz")[0] == 200
        assert get(port_of(server), "/readyz")[0] == 200
        assert monotonic() - start < 0.3
        assert client.receive_response().status == 200


def test_load_balancers_learn_of_the_stop_before_it() -> None:
    """During --drain-delay the server serves, lives, and wants no more clients."""
    with BalancerServer(*ADMIN, "--drain-delay", "0.7", workers=1) as server:
        port = port_of(server)
        server.signal(signal.SIGTERM)
        until(lambda: get(port, "/readyz")[0] == 503)
        assert get(port, "/readyz")[1]["reason"] == "the server is stopping"
        assert get(port, "/healthz")[0] == 200
        assert raw.get(server.port).status == 200
        assert server.process.wait(5) == 0


def test_a_proxy_without_an_upstream_is_not_ready() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        upstream = f"127.0.0.1:{nobody.getsockname()[1]}"
        probing = ("--probe-interval", "0.1", "--probe-fall", "1", "--probe-rise", "1")
        with BalancerServer(*ADMIN, *probing, upstreams=[upstream], workers=1) as server:
            port = port_of(server)
            until(lambda: get(port, "/readyz")[0] == 503)
            assert get(port, "/readyz")[1]["reason"] == "no upstream is ready (1 down)"
            assert get(port, "/healthz")[0] == 200
            nobody.listen()
            until(lambda: get(port, "/readyz")[0] == 200)


def test_at_a_path(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with BalancerServer("--admin", f"unix:{path}", workers=1) as server:
        server.wait_for_line(f"answered at {re.escape(f'unix:{path}')}$")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(path))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
    assert not path.exists()
