"""The master of one worker process on asyncio: the test has the master's ends, and the clients'."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, final

import trio

from balancer.core.messages import Ready, Spawn, WorkerConfig, WorkerMessage
from balancer.net.channel import Channel
from balancer.net.handoff import AnswerKind, HandoffSender
from balancer.net.slots import SlotTable
from balancer.worker import entry
from tests.net.children import exit_code, run_child
from tests.worker.test_worker import DEADLINE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

__all__ = ["ADDRESS", "APPS", "KINDS", "Client", "Master", "booting", "worker"]

APPS = "tests.worker.aio.apps"
KINDS = {"uvloop and httptools": (), "asyncio and h11": ("uvloop", "httptools")}
"""What uvicorn finds, and what must not be installed for that."""
LINE = "TEST_WORKER_LINE"
ADDRESS = "unix:/here"
"""Of the one lane."""


@final
class Client:
    """The other end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))

    async def ask(self, request: bytes) -> bytes:
        """Send, and read one whole response, which has a length or no body."""
        await self.send(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = await self.receive()
            assert piece, f"the end after {answer!r}"
            answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        missing = int(length[1]) - len(body) if length else 0
        return answer + (await self.exactly(missing) if missing else b"")

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def receive(self, most: int = 65536) -> bytes:
        """What comes next; b"" at the end."""
        with trio.fail_after(DEADLINE):
            return bytes(await self._stream.receive_some(most))

    async def exactly(self, size: int) -> bytes:
        """That much of what comes next."""
        data = b""
        while len(data) < size:
            piece = await self.receive(size - len(data))
            assert piece, f"the end after {data!r}"
            data += piece
        return data

    async def at_eof(self) -> bool:
        try:
            return await self.receive() == b""
        except trio.BrokenResourceError:
            return True

    async def aclose(self) -> None:
        await self._stream.aclose()


@final
class Master:
    """The master's ends of a worker that runs in a child process."""

    def __init__(
        self, config: WorkerConfig, missing: tuple[str, ...], listeners: list[socket.socket]
    ) -> None:
        self.sender = HandoffSender.pair()
        near, far = Channel.pair()
        self.line, theirs = socket.socketpair()
        self.table = SlotTable.create()
        self.words = self.table.row(1)
        self.clients: list[Client] = []
        self.sent = 0

        def be_worker() -> None:
            near.close()
            self.line.close()
            end = os.dup(self.sender.receiving_end)
            self.sender.close()
            os.environ[LINE] = str(theirs.fileno())
            _forget(missing)
            warnings.resetwarnings()
            # what old uvicorns say of old websockets is theirs
            warnings.filterwarnings("error", module=r"balancer\.|tests\.")
            # as in the fork server
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            fds = [end, far.detach(), self.table.fd, *(sock.detach() for sock in listeners)]
            spawn = Spawn(
                worker=7, slot=1, row=1, families=(int(socket.AF_UNIX),), addresses=(ADDRESS,)
            )
            os._exit(entry.main(config, spawn, fds))

        self.pid = run_child(be_worker)
        far.close()
        theirs.close()
        for sock in listeners:
            sock.close()
        self.channel = Channel[WorkerMessage](near, WorkerMessage)
        self.messages: AsyncGenerator[WorkerMessage, None] = self.channel.messages()
        self._code: int | None = None

    async def hear(self) -> WorkerMessage:
        with trio.fail_after(DEADLINE):
            return await anext(self.messages)

    def hand_off(self, *, keep: bool = False) -> Client:
        """Send a connection; ``keep`` our copy of it."""
        ours, theirs = socket.socketpair()
        self.sent += 1
        self.sender.send(self.sent, 0, theirs.fileno())
        if keep:
            self.clients.append(Client(theirs))
        else:
            theirs.close()
        self.clients.append(Client(ours))
        return self.clients[-1]

    async def answer(self) -> tuple[int, int]:
        with trio.fail_after(DEADLINE):
            while (answer := self.sender.answer()) is None:
                await trio.lowlevel.wait_readable(self.sender.fileno())
        return answer

    async def connect(self) -> Client:
        """Hand over a connection that is taken."""
        client = self.hand_off()
        assert await self.answer() == (AnswerKind.ACK, self.sent)
        return client

    async def tell(self) -> bytes:
        """What the app says on its line to the test."""
        with trio.fail_after(DEADLINE):
            await trio.lowlevel.wait_readable(self.line)
            return self.line.recv(100)

    async def vanish(self) -> None:
        """Die, as a master does."""
        await self.messages.aclose()
        self.channel.close()
        self.sender.close()

    async def wait_ended(self, seconds: float = DEADLINE) -> int:
        """The exit code."""
        if self._code is None:
            fd = os.pidfd_open(self.pid)
            try:
                with trio.fail_after(seconds):
                    await trio.lowlevel.wait_readable(fd)
            finally:
                os.close(fd)
            self._code = exit_code(self.pid)
        return self._code

    async def aclose(self) -> None:
        await self.vanish()
        for client in self.clients:
            await client.aclose()
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            await self.wait_ended()
        self.line.close()
        self.words.release()
        self.table.close()


def _forget(missing: tuple[str, ...]) -> None:
    """In the child: some packages aren't installed, and nobody has looked for them yet."""
    for name in list(sys.modules):
        if missing and name.startswith(("uvicorn", "balancer.apps.uvicorn", "balancer.worker.aio")):
            del sys.modules[name]
    for name in missing:
        sys.modules[name] = None  # type: ignore[assignment]


@asynccontextmanager
async def booting(
    kind: str,
    listeners: list[socket.socket] | None = None,
    *,
    app: str = f"{APPS}:app",
    **settings: Any,  # noqa: ANN401 - of the config
) -> AsyncIterator[Master]:
    """A worker from its first instruction."""
    config = WorkerConfig(
        app=app,
        engine="uvicorn",
        log_level="critical",
        forwarded_allow_ips=("unix:",),
        **settings,
    )
    master = Master(config, KINDS[kind], listeners or [])
    try:
        yield master
    finally:
        with trio.CancelScope(shield=True):
            await master.aclose()


@asynccontextmanager
async def worker(
    kind: str,
    listeners: list[socket.socket] | None = None,
    **settings: Any,  # noqa: ANN401 - of the config
) -> AsyncIterator[Master]:
    """A worker that is ready."""
    async with booting(kind, listeners, **settings) as master:
        assert await master.hear() == Ready()
        yield master
