"""Apps for the tests of the library; the workers import this file.

``app`` answers every request with its worker's id, ``/hold`` only when the worker is told to (it
says ``held`` when it has one), and does what messages say: ``{"do": …}``.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import trio

from balancer import current_worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from balancer import CurrentWorker, Mail

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

AT_IMPORT = current_worker()
RELEASED: list[trio.Event] = []


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """An ASGI app."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    worker = current_worker()
    if scope["path"] == "/hold":
        RELEASED.append(trio.Event())
        event = RELEASED[-1]
        assert worker is not None
        await worker.send("held")
        await event.wait()
    body = b"none" if worker is None else b"%d" % worker.id
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def other(_scope: Message, _receive: Receive, send: Send) -> None:
    """Another app, for another port."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"other"})


class Greeter:
    """Apps that are instances."""

    def __init__(self, word: str) -> None:
        self.word = word

    async def __call__(self, _scope: Message, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.word.encode()})


greeter = Greeter("an instance")


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    worker = current_worker()
    assert worker is not None
    assert AT_IMPORT in {None, worker}  # None: it was preloaded
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_obey, worker, nursery)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        nursery.cancel_scope.cancel()
    await send({"type": "lifespan.shutdown.complete"})


async def _obey(worker: CurrentWorker, nursery: trio.Nursery) -> None:
    async for mail in worker.messages():
        nursery.start_soon(_do, worker, mail)


async def _do(worker: CurrentWorker, mail: Mail) -> None:
    assert isinstance(mail.data, dict)
    words: dict[str, Any] = mail.data
    await DEEDS[words.pop("do")](worker, mail, **words)
    mail.drop()


async def _echo(worker: CurrentWorker, mail: Mail, **words: object) -> None:
    await worker.send(words, mail.sockets)


async def _about(worker: CurrentWorker, _mail: Mail) -> None:
    await worker.send(
        {
            "id": worker.id,
            "slot": worker.slot,
            "pid": os.getpid(),
            "uid": os.geteuid(),
            "groups": os.getgroups(),
            "env": dict(os.environ),
            "addresses": worker.addresses,
            "fds": len(os.listdir("/proc/self/fd")),
            "argv": sys.argv,
        }
    )


async def _release(_worker: CurrentWorker, _mail: Mail) -> None:
    for event in RELEASED:
        event.set()


async def _flood(worker: CurrentWorker, _mail: Mail, count: int, size: int) -> None:
    """Many messages, each with a socket whose other end was told the number."""
    for number in range(count):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(b"%d" % number)
            assert await worker.send({"number": number, "pad": "x" * size}, [theirs])


async def _exit(_worker: CurrentWorker, _mail: Mail, code: int) -> None:
    os._exit(code)


async def _spin(_worker: CurrentWorker, _mail: Mail) -> None:
    while True:
        pass


async def _block(worker: CurrentWorker, _mail: Mail, seconds: float, close: str = "") -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - it is to block
    if close:
        worker.close(close)


async def _say_and_exit(worker: CurrentWorker, _mail: Mail, count: int) -> None:
    for number in range(count):
        await worker.send(number)
    os.kill(os.getpid(), signal.SIGKILL)


async def _disconnect(worker: CurrentWorker, _mail: Mail) -> None:
    await worker.disconnect()


async def _close(worker: CurrentWorker, _mail: Mail, address: str) -> None:
    worker.close(address)
    await worker.send("closed")


async def _listen(worker: CurrentWorker, _mail: Mail, address: str) -> None:
    worker.listen(address)


async def _print(_worker: CurrentWorker, _mail: Mail, out: str, err: str) -> None:
    print(out)
    print(err, file=sys.stderr)


DEEDS: dict[str, Any] = {
    "about": _about,
    "block": _block,
    "close": _close,
    "disconnect": _disconnect,
    "echo": _echo,
    "exit": _exit,
    "flood": _flood,
    "listen": _listen,
    "print": _print,
    "release": _release,
    "say and exit": _say_and_exit,
    "spin": _spin,
}
