"""The demo app over the engine, in memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import trio
import trio.testing

from balancer.apps.demo import make_handler
from tests.http1.fakes import CUTS, answer_to, conversation

cut = pytest.mark.parametrize("piece", CUTS, ids=["whole", "bytewise"])


def request(method: str, target: str, more: str = "", body: bytes = b"") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode() + body


async def ask(data: bytes, piece: int = CUTS[0]) -> tuple[int, dict[str, str], bytes]:
    answer = await answer_to(make_handler(7), data, piece=piece)
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return int(status.split()[1]), dict(each.split(": ", 1) for each in fields), body


HELLO = f"Hello from worker 7 (pid {os.getpid()})\n".encode()


@cut
@pytest.mark.parametrize("target", ["/", "/?x=y", "http://b/", "http://b"])
async def test_hello(target: str, piece: int) -> None:
    status, fields, body = await ask(request("GET", target), piece)
    assert (status, body) == (200, HELLO)
    assert fields["Content-Length"] == str(len(HELLO))


@pytest.mark.parametrize("target", ["/", "/bytes/5", "/headers", "/sleep/0", "/block/0"])
async def test_head_is_get_without_a_body(target: str) -> None:
    status, fields, body = await ask(request("HEAD", target))
    got = await ask(request("GET", target))
    assert (status, body) == (200, b"")
    if target != "/headers":  # it shows the method
        assert fields == got[1]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "//", 404),
        ("GET", "/bytes", 404),
        ("GET", "/crash/1", 404),
        ("GET", "/%2f", 404),
        ("OPTIONS", "*", 404),
        ("POST", "/", 405),
        ("TRACE", "/", 405),
        ("GET", "/echo", 405),
        ("POST", "/crash", 405),
        ("GET", "/bytes/", 400),
        ("GET", "/bytes/-1", 400),
        ("GET", "/bytes/+1", 400),
        ("GET", "/bytes/1_0", 400),
        ("GET", "/bytes/1.5", 400),
        ("GET", "/bytes/x", 400),
        ("GET", "/bytes/1/2", 400),
        ("GET", "/bytes/" + "9" * 5000, 400),
        ("GET", "/bytes/9999999999999999", 400),
        ("GET", "/sleep/-1", 400),
        ("GET", "/sleep/nan", 400),
        ("GET", "/sleep/inf", 400),
        ("GET", "/sleep/1e9", 400),
        ("GET", "/sleep/", 400),
        ("GET", "/sleep/1s", 400),
        ("GET", "/block/-0.1", 400),
        ("GET", "/block/abc", 400),
    ],
)
async def test_refusals(method: str, target: str, status: int) -> None:
    answer = await ask(request(method, target))
    assert answer[0] == status
    assert answer[2].startswith(b"%d " % status)


async def test_405_says_what_is_allowed() -> None:
    assert (await ask(request("PUT", "/")))[1]["Allow"] == "GET, HEAD"
    assert (await ask(request("GET", "/echo")))[1]["Allow"] == "POST"


async def test_a_refused_post_keeps_the_connection() -> None:
    data = request("POST", "/", "Content-Length: 5\r\n", b"hello") + request("GET", "/")
    answer = await answer_to(make_handler(7), data)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.endswith(HELLO)


@pytest.mark.parametrize("size", [0, 1, 65536, 200_001])
async def test_bytes(size: int) -> None:
    status, fields, body = await ask(request("GET", f"/bytes/{size}"))
    assert (status, fields["Content-Length"]) == (200, str(size))
    assert body == bytes(size)


async def test_many_bytes_wait_for_the_client() -> None:
    async with conversation(make_handler(7), room=100_000) as talk:
        talk.say(request("GET", "/bytes/1000000000000"))
        await trio.testing.wait_all_tasks_blocked()
        assert len(talk.transport.sent) == 100_000


@cut
async def test_echo(piece: int) -> None:
    data = request("POST", "/echo", "Content-Length: 5\r\nContent-Type: x/y\r\n", b"hello")
    status, fields, body = await ask(data, piece)
    assert (status, body) == (200, b"hello")
    assert (fields["Content-Type"], fields["Content-Length"]) == ("x/y", "5")


async def test_echo_of_chunks() -> None:
    data = request("POST", "/echo", "Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n")
    status, fields, body = await ask(data)
    assert (status, fields["Transfer-Encoding"]) == (200, "chunked")
    assert body == b"5\r\nhello\r\n0\r\n\r\n"


async def test_echo_streams() -> None:
    async with conversation(make_handler(7)) as talk:
        talk.say(request("POST", "/echo", "Content-Length: 4\r\nExpect: 100-continue\r\n"))
        assert await talk.hear() == b"HTTP/1.1 100 Continue\r\n\r\n"
        talk.say(b"ab")
        assert (await talk.hear()).endswith(b"\r\n\r\nab")
        talk.say(b"cd")
        assert await talk.hear() == b"cd"


async def test_headers() -> None:
    status, fields, body = await ask(request("GET", "/headers?a=b", "X-Y: \xe9\r\nX-Y: 2\r\n"))
    assert (status, fields["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {
        "method": "GET",
        "target": "/headers?a=b",
        "version": "1.1",
        "headers": [["host", "a"], ["x-y", "Ã©"], ["x-y", "2"]],
    }


async def test_sleep(autojump_clock: trio.testing.MockClock) -> None:
    before = trio.current_time()
    status, _, body = await ask(request("GET", "/sleep/2.5"))
    assert status == 200
    assert body.startswith(b"slept 2.5 s")
    assert trio.current_time() - before == pytest.approx(2.5)
    assert autojump_clock.rate == 0.0


async def test_block() -> None:
    before = time.monotonic()
    status, _, body = await ask(request("GET", "/block/0.05"))
    assert status == 200
    assert body.startswith(b"blocked 0.05 s")
    assert time.monotonic() - before >= 0.05


def test_crash() -> None:
    script = """if True:
        import trio
        from balancer.apps.demo import make_handler
        from tests.http1.fakes import answer_to
        trio.run(answer_to, make_handler(7), b"GET /crash HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    """
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL
