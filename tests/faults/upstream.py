"""An HTTP server to stand in front of, which can be told to behave badly.

`python -m tests.faults.upstream PORT NAME` prints "listening on PORT" and answers every request
with "Hello from worker NAME (pid PID)", after a delay.  What it does to a request is what it was
told last, by `POST /mood/MOOD/N` to itself (not through a proxy): the next N are treated so.

TERM is a graceful stop: no new connections, answers for what has come, then it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Self, final

from benchmarks.process import ServerProcess

if TYPE_CHECKING:
    from types import TracebackType

DELAY = 0.01
"""Seconds for an answer, so that some are always in progress."""


@final
class Behaviour:
    """What all connections of a server share."""

    def __init__(self, name: str) -> None:
        self.body = f"Hello from worker {name} (pid {os.getpid()})\n".encode()
        self.mood = "good"
        self.left = 0
        self.served = 0
        self.busy = 0
        self.peak = 0
        self.stopping = False
        self.connections: set[Connection] = set()
        self.lost = asyncio.Event()

    def begin(self) -> None:
        self.busy += 1
        self.peak = max(self.peak, self.busy)

    def next_mood(self) -> str:
        self.served += 1
        if not self.left:
            return "good"
        self.left -= 1
        return self.mood


@final
class Connection(asyncio.Protocol):
    """One client; requests without bodies, one at a time."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._shared = behaviour
        self._buffer = b""
        self._busy = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._shared.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._shared.connections.discard(self)
        self._shared.lost.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def close_if_idle(self) -> None:
        if not self._busy:
            self._transport.close()

    def _next(self) -> None:
        if self._busy or b"\r\n\r\n" not in self._buffer:
            return
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        target = head.split(b" ", 2)[1].decode()
        if target.startswith("/mood/"):
            _, _, self._shared.mood, number = target.split("/")
            self._shared.left = int(number)
            self._answer(200, b"done\n")
            return
        if target in {"/served", "/peak"}:
            self._answer(200, b"%d\n" % getattr(self._shared, target[1:]))
            self._shared.peak = self._shared.busy
            return
        self._busy = True
        self._shared.begin()
        asyncio.get_running_loop().call_later(DELAY, self._do, self._shared.next_mood())

    def _do(self, mood: str) -> None:
        self._busy = False
        self._shared.busy -= 1
        if self._transport.is_closing():
            return
        if mood == "reset":
            self._reset()
        elif mood == "half":
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + self._shared.body
            )
            asyncio.get_running_loop().call_later(DELAY, self._reset)
        elif mood == "error":
            self._answer(500, b"no\n")
        else:
            self._answer(200, self._shared.body)
        self._next()

    def _answer(self, status: int, body: bytes) -> None:
        close = b"Connection: close\r\n" if self._shared.stopping else b""
        self._transport.write(
            b"HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\n%b\r\n%b"
            % (status, len(body), close, body)
        )
        if self._shared.stopping:
            self._transport.close()

    def _reset(self) -> None:
        sock = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._transport.abort()


async def serve(port: int, name: str) -> None:
    loop = asyncio.get_running_loop()
    shared = Behaviour(name)
    told = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    server = await loop.create_server(
        lambda: Connection(shared), "127.0.0.1", port, backlog=1024, reuse_address=True
    )
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    await told.wait()
    shared.stopping = True
    server.close()
    for connection in list(shared.connections):
        connection.close_if_idle()
    while shared.connections:
        shared.lost.clear()
        await shared.lost.wait()


@final
class Upstream:
    """Such a server in a process of its own; `start` again after it has gone, on the same port."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.process: ServerProcess

    def start(self) -> None:
        argv = [sys.executable, "-m", "tests.faults.upstream", str(self.port), self.name]
        self.process = ServerProcess(argv)
        self.process.start()
        line = self.process.wait_for_line(r"listening on (\d+)", deadline=10.0)
        self.port = int(line.text.rpartition(" ")[2])

    def stop(self) -> None:
        """Gracefully."""
        assert self.process.stop(signal.SIGTERM, deadline=5.0) == 0
        self.process.close()

    def kill(self) -> None:
        self.process.stop(signal.SIGKILL, deadline=5.0)
        self.process.close()

    def behave(self, mood: str, number: int) -> None:
        """Treat the next requests so."""
        self._ask(f"/mood/{mood}/{number}")

    def served(self) -> int:
        """How many requests have come, however they were treated."""
        return int(self._ask("/served"))

    def peak(self) -> int:
        """How many were in progress at the same time, at most, since this was last asked."""
        return int(self._ask("/peak"))

    def _ask(self, target: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("POST", target)
            return connection.getresponse().read()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.process.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
