"""`balancer proxy` from the command line to the servers behind it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.support import raw
from tests.support.certificates import server_context, trust
from tests.support.server import BalancerServer
from tests.support.tiny import read_request, tiny_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def answer(sock: socket.socket, text: bytes) -> None:
    while request := read_request(sock):
        body = text + b"\n" + request
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@contextmanager
def named(name: str) -> Iterator[str]:
    """A server that says its name and what it was asked; its address."""
    with tiny_server(lambda sock, _: answer(sock, name.encode())) as port:
        yield f"127.0.0.1:{port}"


def test_over_tls(tmp_path: Path) -> None:
    server_side = server_context("localhost")

    def handle(sock: socket.socket, _: int) -> None:
        with (
            suppress(OSError),  # who distrusts us hangs up
            server_side.wrap_socket(sock, server_side=True) as secured,
        ):
            answer(secured, b"secret")

    with tiny_server(handle) as port:
        upstream = f"https://127.0.0.1:{port}"
        named_right = f"https://localhost:{port}"
        flags = ("--upstream-ca", trust(tmp_path), "--probe", "off")
        with BalancerServer(*flags, workers=1, upstreams=[named_right]) as server:
            for _ in range(2):
                assert raw.get(server.port).body.startswith(b"secret\nGET / HTTP/1.1\r\n")
        with BalancerServer(*flags, workers=1, upstreams=[upstream]) as server:
            assert raw.get(server.port).status == 502
            server.wait_for_line("its certificate is for another host than 127.0.0.1")
        careless = ("--upstream-insecure", "--probe", "off")
        with BalancerServer(*careless, workers=1, upstreams=[upstream]) as server:
            assert raw.get(server.port).body.startswith(b"secret\n")


def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        stop = threading.Event()

        def serve() -> None:
            with suppress(OSError):
                while not stop.is_set():
                    sock, _ = listener.accept()
                    with sock:
                        answer(sock, b"by unix")

        thread = threading.Thread(target=serve)
        thread.start()
        with BalancerServer("--probe", "off", workers=1, upstreams=[f"unix:{path}"]) as server:
            assert raw.get(server.port).body.startswith(
                b"by unix\nGET / HTTP/1.1\r\nhost: test\r\n"
            )
            status = server.wait_for(lambda status: status["upstreams"][0]["requests"])
            (upstream,) = status["upstreams"]
            assert (upstream["address"], upstream["requests"]) == (f"unix:{path}", 1)
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_backups_probes_and_what_the_status_says_of_them() -> None:
    flags = ("--probe-interval", "100ms", "--probe-fall", "2")
    with named("spare") as spare, named("first") as first:
        gone = socket.create_server(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{gone.getsockname()[1]}"
        gone.close()
        upstreams = [first, f"{nobody},weight=3", f"{spare},backup"]
        with BalancerServer(*flags, workers=1, upstreams=upstreams) as server:
            server.wait_for_line(f"upstream {nobody} is down")
            for _ in range(4):
                assert raw.get(server.port).body.startswith(b"first\n")
            states = [
                (each["address"], each["state"], each["weight"], each["backup"])
                for each in server.status()["upstreams"]
            ]
            assert states == [
                (first, "ready", 1, False), (nobody, "down", 3, False), (spare, "ready", 1, True),
            ]  # fmt: skip


def test_the_access_log_says_where_a_request_went() -> None:
    with named("one") as one:
        gone = socket.create_server(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{gone.getsockname()[1]}"
        gone.close()
        format_ = ("--access-log", "--access-logformat", "to %(upstream)s in %(upstream_L)s s")
        flags = ("--probe", "off", "--upstream-policy", "first", *format_)
        with BalancerServer(*flags, workers=1, upstreams=[nobody, one]) as server:
            assert raw.get(server.port).status == 200
            server.wait_for_line(rf"to {nobody},{one} in 0\.\d{{6}} s")


def test_when_nobody_is_there() -> None:
    flags = ("--probe-interval", "100ms", "--probe-fall", "1", "--panic", "0")
    gone = socket.create_server(("127.0.0.1", 0))
    nobody = f"127.0.0.1:{gone.getsockname()[1]}"
    gone.close()
    format_ = ("--access-log", "--access-logformat", "access %(s)s %(id)s")
    with BalancerServer(*flags, *format_, workers=1, upstreams=[nobody]) as server:
        server.wait_for_line(f"upstream {nobody} is down")
        answer = raw.get(server.port)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "2"
        name = answer.headers["x-request-id"]
        text = f"503 Service Unavailable: no upstream is available (request {name})\n"
        assert answer.body.decode() == text
        server.wait_for_line(f"access 503 {name}$")


def test_a_cookie_brings_a_client_back() -> None:
    with named("one") as one, named("two") as two:
        flags = ("--sticky", "route", "--probe", "off")
        with BalancerServer(*flags, workers=2, upstreams=[one, two]) as server:
            seen = set()
            for _ in range(4):
                first = raw.get(server.port)
                cookie = first.headers["set-cookie"].partition(";")[0]
                who = first.body.partition(b"\n")[0]
                seen.add(who)
                line = f"Cookie: {cookie}\r\n"
                for _ in range(3):
                    sent = raw.request(headers=line, close=True)
                    again = raw.parse_response(raw.exchange(server.port, sent))
                    assert again.body.partition(b"\n")[0] == who
                    assert "set-cookie" not in again.headers
            assert seen == {b"one", b"two"}


def test_two_in_a_row_and_a_circle() -> None:
    with named("the server") as address:
        off = ("--probe", "off")
        with BalancerServer(*off, workers=1, upstreams=[address]) as inner:
            inside = f"127.0.0.1:{inner.port}"
            with BalancerServer(*off, workers=1, upstreams=[inside]) as edge:
                body = raw.get(edge.port).body
        assert body.startswith(b"the server\n")
        assert len(set(re.findall(rb"1\.1 balancer-[0-9a-f]{8}", body))) == 2
    with socket.create_server(("127.0.0.1", 0)) as free:
        own = f"127.0.0.1:{free.getsockname()[1]}"
    with BalancerServer(*off, workers=1, upstreams=[own], binds=(own,)) as circle:
        assert raw.get(circle.port).status == 508


@pytest.mark.parametrize(
    ("args", "env", "says"),
    [
        (("nosuch.invalid:80",), {}, "UPSTREAM nosuch.invalid:80: the name nosuch.invalid can't"),
        (("127.0.0.1:1,weight=0",), {}, "UPSTREAM 127.0.0.1:1,weight=0: weight must be a whole"),
        (("tcp://a:1",), {}, "UPSTREAM tcp://a:1: there are no tcp:// upstreams yet"),
        (("a:1", "--upstream-policy", "hash"), {}, "--upstream-policy hash: hash needs a key"),
        (("a:1", "--upstream-policy", "fair"), {}, "--upstream-policy fair: must be one of round"),
        ((), {"BALANCER_UPSTREAMS": "a:1 http://b/c"}, "BALANCER_UPSTREAMS=a:1 http://b/c: an ups"),
        ((), {}, "UPSTREAM: name at least one server to stand in front of"),
        (
            ("https://127.0.0.1:1", "--upstream-ca", "/nowhere"),
            {},
            "--upstream-ca /nowhere: can't read it: No such file or directory",
        ),
    ],
)
def test_bad_input(args: tuple[str, ...], env: dict[str, str], says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        # a port that is taken: what is said first shows that it wasn't bound
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "balancer", "proxy", *args, "--no-control", "-b", bind],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, **env},
        )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"balancer: error: {says}"), done.stderr
    assert done.stderr.count("\n") == 1
