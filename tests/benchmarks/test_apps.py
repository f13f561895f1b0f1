"""The app that all are measured with does the same under every event loop."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio

from benchmarks.apps import DOWNLOAD, HELLO, PIECE, app

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    Message = MutableMapping[str, Any]


async def _call(path: str, *pieces: bytes, query: bytes = b"") -> list[Message]:
    """The messages that the app sends for a request with this body."""
    left = [*pieces, b""]
    received: Iterable[Message] = iter(
        {"type": "http.request", "body": piece, "more_body": bool(piece)} for piece in left
    )
    sent: list[Message] = []

    async def receive() -> Message:
        return next(iter(received))

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "path": path, "query_string": query}, receive, send)
    return sent


def _body(sent: list[Message]) -> bytes:
    start, *bodies = sent
    body = b"".join(message["body"] for message in bodies)
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body)
    assert [bool(message.get("more_body")) for message in bodies] == [True] * (len(bodies) - 1) + [
        False
    ]
    return body


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_sleep_knows_who_runs_it(run: Any) -> None:  # noqa: ANN401 - two signatures
    calls = {asyncio.run: lambda: run(_call("/sleep/0")), trio.run: lambda: run(_call, "/sleep/0")}
    assert _body(calls[run]()) == f"slept 0 s in pid {os.getpid()}\n".encode()


async def test_hello_and_pid() -> None:
    assert _body(await _call("/")) == HELLO
    assert _body(await _call("/pid")) == f"answered in pid {os.getpid()}\n".encode()


async def test_sink_reads_all_of_it() -> None:
    assert _body(await _call("/sink", b"abc", b"defg")) == b"7\n"
    assert _body(await _call("/sink")) == b"0\n"


async def test_the_download_comes_in_pieces() -> None:
    sent = await _call("/download")
    assert len(_body(sent)) == DOWNLOAD == 10 * 2**20
    assert {len(message["body"]) for message in sent[1:]} == {len(PIECE)} == {65536}


async def _timed(path: str, query: str) -> tuple[str, float, float]:
    """The answer, the seconds it took and the CPU seconds."""
    since, cpu = time.monotonic(), time.thread_time()
    body = _body(await _call(path, query=query.encode()))
    return body.decode(), time.monotonic() - since, time.thread_time() - cpu


async def test_block_waits_and_burn_computes() -> None:
    answer, took, cpu = await _timed("/block/0.05", "")
    assert answer == f"blocked 0.05 s in pid {os.getpid()}\n"
    assert took >= 0.05 > 2 * cpu
    answer, took, cpu = await _timed("/burn/0.05", "")
    assert answer == f"burned 0.05 s in pid {os.getpid()}\n"
    assert took >= 0.05 <= cpu
    assert (await _timed("/block/0", ""))[0] == f"blocked 0 s in pid {os.getpid()}\n"


@pytest.mark.parametrize("page", ["block", "burn"])
async def test_one_process_is_slow_and_another_is_not(page: str) -> None:
    answer, took, _ = await _timed(f"/{page}/0.01", f"slow={os.getpid()}&times=5")
    assert answer.endswith(f"ed 0.01 s in pid {os.getpid()}\n")
    assert took >= 0.05
    # A second for whoever is mistaken for the other: no pause of this machine is so long.
    assert (await _timed(f"/{page}/0.01", f"slow={os.getpid() + 1}&times=100"))[1] < 1.0


async def test_another_page_is_not_found() -> None:
    assert (await _call("/nothing"))[0]["status"] == 404


async def test_the_lifespan_ends_with_the_shutdown() -> None:
    events = iter(["lifespan.startup", "lifespan.shutdown"])
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": next(events)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "lifespan"}, receive, send)
    assert [m["type"] for m in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
